"""Writes tiny random GPT-2s with outputs of transformers, for crates/networks/tests/gpt2.rs.

Usage: python gpt2_goldens.py [OUTPUT]   (default: ../fixtures/gpt2)

Each folder is a Hugging Face model folder with one more file, expected.safetensors:

  ids             [3, 7]      token ids
  prefix          [3, 2, 24]  vectors put before their embeddings
  mask_right      [3, 9]      1 token, 0 padding, padding on the right
  mask_left       [3, 9]      the same on the left
  logits          [3, 9, V]   without a mask
  logits_right, logits_left   with them; values at padding are meaningless
  loss            []          cross entropy of the ids that mask_left keeps, each from the position before
  grad.prefix, grad.NAME      its gradients, by the names in model.safetensors
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel

VOCABULARY, HIDDEN, PREFIX, TOKENS = 97, 24, 2, 7
COMMON = dict(vocab_size=VOCABULARY, n_embd=HIDDEN, n_positions=40, bos_token_id=1, eos_token_id=1)
CONFIGS = {
    "gelu_new": dict(n_layer=2, n_head=4, activation_function="gelu_new"),
    "relu": dict(n_layer=3, n_head=2, n_inner=40, activation_function="relu", layer_norm_epsilon=1e-3),
    "bare": dict(n_layer=2, n_head=3, activation_function="gelu"),
}


def randomise(model):
    """Sets weights larger than a real initialisation, so that an error in any part shows in the result."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".ln_" in name and name.endswith("weight"):
                parameter.normal_(1.0, 0.2)
            else:
                parameter.normal_(0.0, 0.25)


def expected(model):
    ids = torch.randint(1, VOCABULARY, (3, TOKENS))
    prefix = torch.randn(3, PREFIX, HIDDEN).requires_grad_()
    inputs = torch.cat([prefix, model.transformer.wte(ids)], 1)
    lengths = torch.tensor([9, 6, 4]).unsqueeze(1)
    places = torch.arange(PREFIX + TOKENS).unsqueeze(0)
    right = (places < lengths).long()
    left = right.flip(1)
    logits = {mask: model(inputs_embeds=inputs, attention_mask=value).logits
              for mask, value in [("", None), ("_right", right), ("_left", left)]}
    # Predicted: ids whose own place and the place before are both real under the left padding.
    kept = (left[:, PREFIX:] * left[:, PREFIX - 1:-1]).bool()
    loss = torch.nn.functional.cross_entropy(logits["_left"][:, PREFIX - 1:-1][kept], ids[kept])
    loss.backward()
    result = {"ids": ids, "prefix": prefix.detach(), "mask_right": right, "mask_left": left,
              "loss": loss.detach(), "grad.prefix": prefix.grad}
    result |= {f"logits{mask}": value.detach() for mask, value in logits.items()}
    result |= {f"grad.{name}": parameter.grad for name, parameter in model.named_parameters()}
    return {name: tensor.contiguous() for name, tensor in result.items()}


def strip(folder, config):
    """Renames tensors as in the official `gpt2` upload: no `transformer.`, and causal masks of old versions."""
    file = folder / "model.safetensors"
    tensors = {name.removeprefix("transformer."): tensor for name, tensor in load_file(file).items()}
    size = config.n_positions
    for layer in range(config.n_layer):
        mask = torch.tril(torch.ones(size, size, dtype=torch.uint8)).view(1, 1, size, size)
        tensors[f"h.{layer}.attn.bias"] = mask
        tensors[f"h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
    tensors["lm_head.weight"] = tensors["wte.weight"].clone()
    save_file(tensors, file, metadata={"format": "pt"})


def main():
    default = Path(__file__).resolve().parent.parent / "fixtures" / "gpt2"
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    torch.set_num_threads(1)
    for seed, (name, settings) in enumerate(CONFIGS.items()):
        torch.manual_seed(seed)
        config = GPT2Config(**COMMON, **settings)
        config._attn_implementation = "eager"
        model = GPT2LMHeadModel(config).eval()
        randomise(model)
        folder = root / name
        model.save_pretrained(folder)
        (folder / "generation_config.json").unlink(missing_ok=True)
        save_file(expected(model), folder / "expected.safetensors")
        if name == "bare":
            strip(folder, config)


if __name__ == "__main__":
    main()
