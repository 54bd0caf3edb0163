"""Writes four runs of the paper's training loop, step by step, for crates/training/tests/trajectory.rs.

Usage: python trajectory.py [OUTPUT] [--seed N] [--hidden N] [--layers N] [--batch N]
       (default OUTPUT: ../fixtures/trajectory; the test reads another one from CAPSMITH_TRAJECTORIES)

A tiny random ClipCap captioner is trained for 200 steps as the paper trains: captions cut at mean + 10 deviations and
padded to the longest of the data set, logits at every position, cross entropy without id 0, the AdamW that transformers
had until 4.x (epsilon before bias correction), transformers' linear schedule. The learning rate is the paper's times
100, so that such a small model changes. The four runs:

  plain        unchanged embeddings, no clipping
  clipped      embeddings divided by their L2 norms, gradients clipped to a total norm of 1
  custom       as clipped, with captions in words: a tokenizer trained on them by transformers' train_new_from_iterator,
               and GPT-2's embeddings resized to it
  prefix_only  ClipCap's transformer mapper with GPT-2 frozen and in eval mode

Dropout is 0 where GPT-2 is trained: its draws are libtorch's own. The frozen one's config has dropout, which eval mode
must silence.

  sizes.json                       of all this
  config.json, model.safetensors   GPT-2's config; the initial weights under ClipCap's names
  inputs.safetensors
    embeddings [49, 16]            image embeddings
    tokens     [1799]              all captions, one behind the other, uncut
    lengths    [245]               tokens of each
    images     [245]               row of each in the embeddings
    order      [200, 24]           the captions of each step; 10 batches an epoch, the partial one dropped
  captions.json, custom_inputs.safetensors
                                   the same as words, and what the trained tokenizer makes of them
  custom_gpt2.safetensors          GPT-2 before it is resized, under transformers' names
  prefix_only_mapper.safetensors   the transformer mapper
  plain.safetensors, clipped.safetensors, custom.safetensors, prefix_only.safetensors
    loss, norm, rate [200]         of each step; the norm is that before clipping
    final.NAME                     the weights after the last step
"""

import argparse
import copy
import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, GPT2TokenizerFast, get_linear_schedule_with_warmup

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
OPTIONS = argparse.ArgumentParser()
OPTIONS.add_argument("output", nargs="?", type=Path, default=FIXTURES / "trajectory")
OPTIONS.add_argument("--seed", type=int, default=0)
OPTIONS.add_argument("--hidden", type=int, default=24)
OPTIONS.add_argument("--layers", type=int, default=2)
OPTIONS.add_argument("--batch", type=int, default=24)
OPTIONS = OPTIONS.parse_args()

CLIP, PREFIX, HIDDEN, VOCABULARY = 16, 4, OPTIONS.hidden, 150
PRETRAINED_WORDS, CUSTOM_WORDS = 420, 380
CLIP_LENGTH, MAPPER_LAYERS, MAPPER_HEADS = 5, 3, 8
IMAGES, CAPTIONS_EACH, LONGEST = 49, 5, 40
BATCH, STEPS, WARMUP = OPTIONS.batch, 200, 50
LEARNING_RATE, BETA1, BETA2, EPSILON, MAX_NORM = 2e-3, 0.9, 0.999, 1e-6, 1.0


class AdamW(torch.optim.Optimizer):
    """AdamW of transformers 4.x, without weight decay."""

    def __init__(self, parameters, lr):
        super().__init__(parameters, {"lr": lr})
        self.steps = 0

    @torch.no_grad()
    def step(self):
        self.steps += 1
        correction = (1 - BETA2**self.steps) ** 0.5 / (1 - BETA1**self.steps)
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                if not state:
                    state["m"], state["v"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
                state["m"].mul_(BETA1).add_(parameter.grad, alpha=1 - BETA1)
                state["v"].mul_(BETA2).addcmul_(parameter.grad, parameter.grad, value=1 - BETA2)
                scaled = state["m"] / (state["v"].sqrt() + EPSILON)
                parameter.sub_(scaled, alpha=group["lr"] * correction)


class Mapper(nn.Module):
    def __init__(self):
        super().__init__()
        inner, outer = PREFIX * HIDDEN // 2, PREFIX * HIDDEN
        self.model = nn.Sequential(nn.Linear(CLIP, inner), nn.Tanh(), nn.Linear(inner, outer))


class MapperLayer(nn.Module):
    """Pre-norm block: no bias in queries, keys and values, relu, feed-forward of twice the width."""

    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(HIDDEN), nn.LayerNorm(HIDDEN)
        self.attn = nn.ModuleDict({
            "to_queries": nn.Linear(HIDDEN, HIDDEN, bias=False),
            "to_keys_values": nn.Linear(HIDDEN, 2 * HIDDEN, bias=False),
            "project": nn.Linear(HIDDEN, HIDDEN),
        })
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(HIDDEN, 2 * HIDDEN), "fc2": nn.Linear(2 * HIDDEN, HIDDEN)})

    def forward(self, states):
        batch, tokens, _ = states.shape
        normed = self.norm1(states)
        queries = self.attn["to_queries"](normed).view(batch, tokens, MAPPER_HEADS, -1)
        keys, values = self.attn["to_keys_values"](normed).view(batch, tokens, 2, MAPPER_HEADS, -1).unbind(2)
        weights = torch.einsum("bnhd,bmhd->bhnm", queries, keys) * queries.shape[-1] ** -0.5
        seen = torch.einsum("bhnm,bmhd->bnhd", weights.softmax(-1), values).reshape(batch, tokens, -1)
        states = states + self.attn["project"](seen)
        return states + self.mlp["fc2"](self.mlp["fc1"](self.norm2(states)).relu())


class TransformerMapper(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(CLIP, CLIP_LENGTH * HIDDEN)
        self.prefix_const = nn.Parameter(torch.randn(PREFIX, HIDDEN))
        self.transformer = nn.ModuleDict({"layers": nn.ModuleList(MapperLayer() for _ in range(MAPPER_LAYERS))})

    def model(self, embeddings):
        seen = self.linear(embeddings).view(-1, CLIP_LENGTH, HIDDEN)
        states = torch.cat([seen, self.prefix_const.expand(len(seen), -1, -1)], 1)
        for layer in self.transformer["layers"]:
            states = layer(states)
        return states[:, CLIP_LENGTH:]


class Captioner(nn.Module):
    def __init__(self, vocabulary=VOCABULARY):
        super().__init__()
        config = GPT2Config(vocab_size=vocabulary, n_embd=HIDDEN, n_positions=PREFIX + LONGEST, n_layer=OPTIONS.layers,
                            n_head=4, bos_token_id=1, eos_token_id=1, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
                            initializer_range=0.05)
        config._attn_implementation = "eager"
        self.clip_project = Mapper()
        self.gpt = GPT2LMHeadModel(config)

    def loss(self, embeddings, tokens):
        """Captions are padded with -1."""
        real = tokens >= 0
        tokens = tokens.clamp_min(0)
        prefix = self.clip_project.model(embeddings).reshape(-1, PREFIX, HIDDEN)
        inputs = torch.cat([prefix, self.gpt.transformer.wte(tokens)], 1)
        mask = torch.cat([torch.ones(len(tokens), PREFIX, dtype=torch.bool), real], 1).float()
        logits = self.gpt(inputs_embeds=inputs, attention_mask=mask).logits[:, PREFIX - 1:-1]
        return nn.functional.cross_entropy(logits.flatten(0, 1), tokens.flatten(), ignore_index=0)


def random_captions(embeddings):
    """Returns captions of frequent and rare tokens, half of them the picture's own; one is far longer than the others."""
    frequency = 1 / torch.arange(1, VOCABULARY + 1).float()
    captions, images = [], []
    for image in range(len(embeddings)):
        own = torch.randint(1, VOCABULARY, (4,))
        for _ in range(CAPTIONS_EACH):
            length = LONGEST if len(captions) == 100 else int(torch.randint(4, 11, ()))
            common = torch.multinomial(frequency, length, replacement=True)
            chosen = torch.where(torch.rand(length) < 0.5, own[torch.randint(4, (length,))], common)
            captions.append(chosen)
            images.append(image)
    return captions, torch.tensor(images)


def padded(captions):
    lengths = torch.tensor([len(caption) for caption in captions]).float()
    longest = min(int(lengths.mean() + lengths.std() * 10), int(lengths.max()))
    assert longest < LONGEST, "a caption must be cut"
    tokens = torch.full((len(captions), longest), -1)
    for row, caption in enumerate(captions):
        tokens[row, :min(longest, len(caption))] = caption[:longest]
    return tokens


def epochs_of_batches(rows):
    batches = rows // BATCH
    epochs = [torch.randperm(rows)[:batches * BATCH].view(batches, BATCH) for _ in range(STEPS // batches + 1)]
    return torch.cat(epochs)[:STEPS]


def walk(captioner, embeddings, tokens, images, order, max_norm, trained=None):
    trained = list((trained or captioner.train()).parameters())
    optimizer = AdamW(trained, LEARNING_RATE)
    schedule = get_linear_schedule_with_warmup(optimizer, WARMUP, STEPS)
    losses, norms, rates = [], [], []
    for batch in order:
        captioner.zero_grad()
        loss = captioner.loss(embeddings[images[batch]], tokens[batch])
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(trained, max_norm)
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        norms.append(norm.item())
    series = {"loss": losses, "norm": norms, "rate": rates}
    return {name: torch.tensor(values, dtype=torch.float64) for name, values in series.items()}


def weights(module, prefix=""):
    return {prefix + name: parameter.detach().clone() for name, parameter in module.named_parameters()}


def save_inputs(path, captions, images, order, **more):
    lengths = torch.tensor([len(caption) for caption in captions])
    inputs = {"tokens": torch.cat(captions), "lengths": lengths, "images": images, "order": order}
    save_file({name: values.int().contiguous() for name, values in inputs.items()} | more, path)


def save_walk(path, series, final):
    loss, norm = series["loss"], series["norm"]
    print(f"{path.stem}: loss {loss[0]:.3f} to {loss[-20:].mean():.3f}, norm {norm.min():.2f} to {norm.max():.2f},",
          int((norm > MAX_NORM).sum()), "steps above", MAX_NORM)
    assert loss[-20:].mean() < loss[:20].mean() - 0.1, "something must be learnt"
    save_file(series | {f"final.{name}": values for name, values in final.items()}, path)


def captions_in_words(root):
    """Takes the sentences of words_captions.py, some with unusual characters, and trains a tokenizer on them."""
    words = FIXTURES / "words"
    captions = [caption.lower() for caption in json.loads((words / "captions.json").read_text()) if caption.strip()]
    captions = [caption for caption in captions if 15 < len(caption) < 70][:IMAGES * CAPTIONS_EACH]
    (root / "captions.json").write_text(json.dumps(captions, ensure_ascii=False))
    tokenizer = GPT2TokenizerFast.from_pretrained(words / "gpt2").train_new_from_iterator(captions, CUSTOM_WORDS)
    return [torch.tensor(ids[:LONGEST]) for ids in tokenizer(captions)["input_ids"]], len(tokenizer)


def custom_way(root, mapper, unit, images, order):
    captions, words = captions_in_words(root)
    save_inputs(root / "custom_inputs.safetensors", captions, images, order)
    captioner = Captioner(PRETRAINED_WORDS)
    save_file(weights(captioner.gpt), root / "custom_gpt2.safetensors")
    captioner.clip_project.load_state_dict(mapper)
    captioner.gpt.resize_token_embeddings(words)
    assert words < PRETRAINED_WORDS and captioner.gpt.lm_head.weight is captioner.gpt.transformer.wte.weight
    longest = max(map(len, captions))
    tokens = torch.full((len(captions), longest), -1)
    for row, caption in enumerate(captions):
        tokens[row, :len(caption)] = caption
    series = walk(captioner, unit, tokens, images, order, MAX_NORM)
    save_walk(root / "custom.safetensors", series, weights(captioner))


def prefix_only_way(root, captioner, embeddings, tokens, images, order):
    """Chooses a mapper whose run is the same in float64: relu and Adam can amplify rounding."""
    for module in captioner.gpt.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.3
    captioner.eval()
    for seed in range(100):
        torch.manual_seed(OPTIONS.seed + seed)
        captioner.clip_project = mapper = TransformerMapper()
        initial = weights(mapper, "clip_project.")
        exact = copy.deepcopy(captioner).double()
        series = walk(captioner, embeddings, tokens, images, order, float("inf"), trained=mapper)
        twin = walk(exact, embeddings.double(), tokens, images, order, float("inf"), trained=exact.clip_project)
        off = max(((series[name] - twin[name]) / twin[name]).abs().max() for name in ["loss", "norm"])
        print(f"mapper {seed}: {off:.1e} from float64")
        if off < 1e-5:
            break
    else:
        raise AssertionError("every mapper hangs on rounding")
    save_file(initial, root / "prefix_only_mapper.safetensors")
    save_walk(root / "prefix_only.safetensors", series, weights(mapper, "clip_project."))


def main():
    root = OPTIONS.output
    root.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    torch.manual_seed(OPTIONS.seed)
    embeddings = torch.randn(IMAGES, CLIP) * 2
    captions, images = random_captions(embeddings)
    tokens = padded(captions)
    order = epochs_of_batches(len(captions))
    captioner = Captioner()
    initial = weights(captioner)
    assert order.shape == (STEPS, BATCH) and (tokens == 0).any()
    read = torch.zeros(len(captions), dtype=torch.bool)
    read[order.flatten()] = True
    assert read[100], "the cut caption must be seen"

    captioner.gpt.config.to_json_file(root / "config.json")
    save_file(initial, root / "model.safetensors")
    save_inputs(root / "inputs.safetensors", captions, images, order, embeddings=embeddings)
    sizes = {"clip_dim": CLIP, "prefix_length": PREFIX, "clip_length": CLIP_LENGTH, "mapper_layers": MAPPER_LAYERS,
             "custom_words": CUSTOM_WORDS, "pretrained_words": PRETRAINED_WORDS, "steps": STEPS, "warmup": WARMUP}
    (root / "sizes.json").write_text(json.dumps(sizes))
    print(len(captions), "captions,", sum(map(len, captions)), "tokens, cut at", tokens.shape[1])

    unit = embeddings / embeddings.norm(dim=1, keepdim=True)
    for way, seen, max_norm in [("plain", embeddings, float("inf")), ("clipped", unit, MAX_NORM)]:
        captioner.load_state_dict(initial, strict=False)
        series = walk(captioner, seen, tokens, images, order, max_norm)
        if way == "clipped":
            assert 50 < (series["norm"] > MAX_NORM).sum() < STEPS, "clipping must bite on some steps and spare others"
        save_walk(root / f"{way}.safetensors", series, weights(captioner))
    captioner.load_state_dict(initial, strict=False)
    mapper = {name.removeprefix("clip_project."): values for name, values in initial.items()
              if name.startswith("clip_project.")}
    custom_way(root, mapper, unit, images, order)
    prefix_only_way(root, captioner, embeddings, tokens, images, order)


if __name__ == "__main__":
    main()
