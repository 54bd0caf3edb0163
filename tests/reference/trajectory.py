"""Two walks of the paper's training loop, step by step, for crates/training/tests/trajectory.rs.

Usage: python trajectory.py [OUTPUT]   (default: ../fixtures/trajectory)

A tiny random ClipCap captioner is trained for 200 steps as the paper trains: captions cut at mean + 10 deviations and
padded to the longest of the data set, logits at every position, cross entropy without id 0, the AdamW that transformers
had until 4.x (epsilon before bias correction), transformers' linear schedule. Dropout is 0: its draws are libtorch's
own. The way `plain` takes the embeddings as they are and does not clip; `clipped` divides them by their L2 norms and
clips gradients to a total norm of 1. The learning rate is the paper's times 100, so that so small a model moves.

  config.json, model.safetensors   GPT-2's config; the initial weights under ClipCap's names
  inputs.safetensors
    embeddings [49, 16]            image embeddings
    tokens     [1799]              all captions, one behind the other, uncut
    lengths    [245]               tokens of each
    images     [245]               row of each in the embeddings
    order      [200, 24]           the captions of each step; 10 batches an epoch, the partial one dropped
  plain.safetensors, clipped.safetensors
    loss, norm, rate [200]         of each step; the norm is that before clipping
    final.NAME                     the weights after the last step
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, get_linear_schedule_with_warmup

CLIP, PREFIX, HIDDEN, VOCABULARY = 16, 4, 24, 150
IMAGES, CAPTIONS_EACH, LONGEST = 49, 5, 40
BATCH, EPOCHS, STEPS, WARMUP = 24, 20, 200, 50
LEARNING_RATE, BETA1, BETA2, EPSILON, MAX_NORM = 2e-3, 0.9, 0.999, 1e-6, 1.0


class AdamW(torch.optim.Optimizer):
    """Of transformers 4.x, without weight decay."""

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


class Captioner(nn.Module):
    def __init__(self):
        super().__init__()
        config = GPT2Config(vocab_size=VOCABULARY, n_embd=HIDDEN, n_positions=PREFIX + LONGEST, n_layer=2, n_head=4,
                            bos_token_id=1, eos_token_id=1, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
                            initializer_range=0.05)
        config._attn_implementation = "eager"
        self.clip_project = Mapper()
        self.gpt = GPT2LMHeadModel(config)

    def loss(self, embeddings, tokens):
        """Captions are padded with -1."""
        real = tokens >= 0
        tokens = tokens.clamp_min(0)
        prefix = self.clip_project.model(embeddings).view(-1, PREFIX, HIDDEN)
        inputs = torch.cat([prefix, self.gpt.transformer.wte(tokens)], 1)
        mask = torch.cat([torch.ones(len(tokens), PREFIX, dtype=torch.bool), real], 1).float()
        logits = self.gpt(inputs_embeds=inputs, attention_mask=mask).logits[:, PREFIX - 1:-1]
        return nn.functional.cross_entropy(logits.reshape(-1, VOCABULARY), tokens.flatten(), ignore_index=0)


def random_captions(embeddings):
    """Frequent and rare tokens, half of them the picture's own; one caption is far longer than all others."""
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
    return torch.cat([torch.randperm(rows)[:batches * BATCH].view(batches, BATCH) for _ in range(EPOCHS)])


def walk(captioner, embeddings, tokens, images, order, max_norm):
    captioner.train()
    optimizer = AdamW(captioner.parameters(), LEARNING_RATE)
    schedule = get_linear_schedule_with_warmup(optimizer, WARMUP, STEPS)
    losses, norms, rates = [], [], []
    for batch in order:
        captioner.zero_grad()
        loss = captioner.loss(embeddings[images[batch]], tokens[batch])
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(captioner.parameters(), max_norm)
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        norms.append(norm.item())
    series = {"loss": losses, "norm": norms, "rate": rates}
    return {name: torch.tensor(values, dtype=torch.float64) for name, values in series.items()}


def weights(captioner):
    return {name: parameter.detach().clone() for name, parameter in captioner.named_parameters()}


def main():
    default = Path(__file__).resolve().parent.parent / "fixtures" / "trajectory"
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    root.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    torch.manual_seed(0)
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
    lengths = torch.tensor([len(caption) for caption in captions])
    inputs = {"tokens": torch.cat(captions), "lengths": lengths, "images": images, "order": order}
    inputs = {name: values.int().contiguous() for name, values in inputs.items()}
    save_file(inputs | {"embeddings": embeddings}, root / "inputs.safetensors")
    print(len(captions), "captions,", len(inputs["tokens"]), "tokens, cut at", tokens.shape[1])

    unit = embeddings / embeddings.norm(dim=1, keepdim=True)
    for way, seen, max_norm in [("plain", embeddings, float("inf")), ("clipped", unit, MAX_NORM)]:
        captioner.load_state_dict(initial, strict=False)
        series = walk(captioner, seen, tokens, images, order, max_norm)
        loss, norm = series["loss"], series["norm"]
        print(f"{way}: loss {loss[0]:.3f} to {loss[-20:].mean():.3f}, norm {norm.min():.2f} to {norm.max():.2f},",
              int((norm > MAX_NORM).sum()), "steps above", MAX_NORM)
        assert loss[-20:].mean() < loss[:20].mean() - 1, "something must be learnt"
        if way == "clipped":
            assert 50 < (norm > MAX_NORM).sum() < STEPS, "clipping must bite on some steps and spare others"
        final = {f"final.{name}": values for name, values in weights(captioner).items()}
        save_file(series | final, root / f"{way}.safetensors")


if __name__ == "__main__":
    main()
