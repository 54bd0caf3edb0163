"""Writes a tiny random ClipCap captioner with its loss, gradients and captions, for crates/networks/tests/prefix.rs.

Usage: python prefix_goldens.py [OUTPUT]   (default: ../fixtures/prefix)

The model is reimplemented here on transformers' GPT-2, as ClipCap trains and decodes: captions are padded with 0
to the longest of the data set, every position gets logits, id 0 is left out of the loss; decoding takes one image at a
time, without a cache.

  config.json, model.safetensors   GPT-2's config; all weights under ClipCap's names
  loss.safetensors
    embeddings [6, 16]             image embeddings
    tokens     [6, 19]             captions, shorter ones padded with 0; 19 is the data set's longest, not the batch's
    lengths    [6]                 real tokens of each, some of which are 0 too
    loss       []                  and grad.NAME
  captions.safetensors
    embeddings [32, 16]
    tokens     [32, 67]            what the loop writes until token 13 or the 67th, then -1
    stops      [97]                1 for tokens whose text is taken to contain a full stop, 13 among them
    lengths    [32]                tokens up to and including the first of those
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

CLIP, PREFIX, HIDDEN, VOCABULARY = 16, 3, 24, 97
LONGEST, FULL_STOP = 67, 13
STOPS = [FULL_STOP, 5, 40, 77]


class Mapper(nn.Module):
    def __init__(self):
        super().__init__()
        inner, outer = PREFIX * HIDDEN // 2, PREFIX * HIDDEN
        self.model = nn.Sequential(nn.Linear(CLIP, inner), nn.Tanh(), nn.Linear(inner, outer))


class Captioner(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.clip_project = Mapper()
        self.gpt = GPT2LMHeadModel(config)

    def prefix(self, embeddings):
        return self.clip_project.model(embeddings).view(-1, PREFIX, HIDDEN)


def random_captioner():
    config = GPT2Config(vocab_size=VOCABULARY, n_embd=HIDDEN, n_positions=PREFIX + LONGEST, n_layer=2, n_head=4,
                        bos_token_id=1, eos_token_id=1)
    config._attn_implementation = "eager"
    captioner = Captioner(config).eval()
    with torch.no_grad():
        for name, parameter in captioner.named_parameters():
            norm = ".ln_" in name and name.endswith("weight")
            parameter.normal_(1.0 if norm else 0.0, 0.4)
    return captioner


def loss_golden(captioner):
    lengths = torch.tensor([11, 4, 1, 7, 9, 2])
    tokens = torch.randint(1, VOCABULARY, (6, 19))
    real = torch.arange(19) < lengths.unsqueeze(1)
    tokens[0, 5] = tokens[3, 0] = tokens[4, 8] = 0
    tokens[~real] = 0
    embeddings = torch.randn(6, CLIP)
    inputs = torch.cat([captioner.prefix(embeddings), captioner.gpt.transformer.wte(tokens)], 1)
    mask = torch.cat([torch.ones(6, PREFIX, dtype=torch.bool), real], 1).long()
    logits = captioner.gpt(inputs_embeds=inputs, attention_mask=mask).logits[:, PREFIX - 1:-1]
    loss = nn.functional.cross_entropy(logits.flatten(0, 1), tokens.flatten(), ignore_index=0)
    loss.backward()
    gradients = {f"grad.{name}": parameter.grad for name, parameter in captioner.named_parameters()}
    return {"embeddings": embeddings, "tokens": tokens, "lengths": lengths, "loss": loss.detach()} | gradients


@torch.no_grad()
def decode(captioner, embedding, top_p=0.8):
    inputs, written, margin = captioner.prefix(embedding), [], float("inf")
    for _ in range(LONGEST):
        logits = captioner.gpt(inputs_embeds=inputs).logits[0, -1]
        values, order = logits.sort(descending=True)
        margin = min(margin, (values[0] - values[1]).item())
        # A token stays while the ones before it hold no more than top_p; the first always does.
        before = values.softmax(0).cumsum(0) - values.softmax(0)
        logits[order[before > top_p]] = -float("inf")
        token = logits.argmax()
        written.append(token.item())
        if token.item() == FULL_STOP:
            break
        inputs = torch.cat([inputs, captioner.gpt.transformer.wte(token.view(1, 1))], 1)
    return written, margin


def captions_golden(captioner):
    embeddings = torch.randn(32, CLIP) * 2
    tokens, lengths = torch.full((32, LONGEST), -1), []
    for row, embedding in enumerate(embeddings):
        written, margin = decode(captioner, embedding.unsqueeze(0))
        assert margin > 1e-3, f"row {row} hangs on rounding"
        tokens[row, :len(written)] = torch.tensor(written)
        lengths.append(next((place + 1 for place, token in enumerate(written) if token in STOPS), len(written)))
    written = (tokens >= 0).sum(1)
    print("captions: loop lengths", sorted(written.tolist()), "cut", sorted(lengths))
    print(len({tuple(row) for row in tokens.tolist()}), "different ones,", tokens.unique().numel() - 1, "tokens used")
    stops = torch.zeros(VOCABULARY, dtype=torch.uint8)
    stops[STOPS] = 1
    return {"embeddings": embeddings, "tokens": tokens, "stops": stops, "lengths": torch.tensor(lengths)}


def main():
    default = Path(__file__).resolve().parent.parent / "fixtures" / "prefix"
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    root.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    torch.manual_seed(1)  # of the first few, one whose captions are all different and of many lengths
    captioner = random_captioner()
    captioner.gpt.config.to_json_file(root / "config.json")
    weights = {name: parameter.detach() for name, parameter in captioner.named_parameters()}
    save_file(weights, root / "model.safetensors")
    save_file(loss_golden(captioner), root / "loss.safetensors")
    save_file(captions_golden(captioner), root / "captions.safetensors")


if __name__ == "__main__":
    main()
