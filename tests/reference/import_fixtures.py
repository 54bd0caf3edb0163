"""Writes ClipCap checkpoints with torch.save, and the outputs of the models, for crates/training/tests/import.rs.

Usage: python import_fixtures.py [OUTPUT]   (default: ../fixtures/import)

  mlp.pt            f32: the MLP mapper and a GPT-2 of one layer; with the tied output head, and causal masks as old
                    versions of transformers stored them
  transformer.pt    f16, under "model_state_dict" next to an epoch: the transformer mapper of two layers, and a
                    GPT-2 whose feed-forward layers are not four times as wide
  untied.pt         mlp.pt with an untied output head
  strange.pt        mlp.pt with a tensor renamed and one of another shape
  wide.pt           a few vectors whose shapes ask for a model of 75 million weights
  shared.pt         the same, of one storage
  names/            one small captioner (hidden size 8, 2 heads, f16) in the forms of real files; all give the same run
    plain.pt                 model.state_dict()
    data_parallel.pt         of a model in DataParallel that torch.compile was given: module._orig_mod.
    compiled_parts.pt        of a model whose GPT-2 is compiled and whose mapper is in DataParallel
    lightning.pt             state_dict with "model." beside optimizer states, hyperparameters and callbacks
    deepspeed.pt             under "module", beside None, numbers and types
    gpt2.pt                  the GPT-2 called gpt2 instead of gpt
    attributes.pt            dict(model.named_parameters()) with attributes on each; without the head
    list.pt                  [state_dict, optimizer state]
    averaged.pt              of torch.optim.swa_utils.AveragedModel, which counts beside it
    save_model.safetensors   by safetensors.torch.save_model, which leaves out one of the tied weights
    two.pt                   two captioners: refused
  tokenizer/        transformers' vocab.json and merges.txt of 257 tokens: the bytes, and the end of text
  expected.safetensors
    embeddings [3, 16], tokens [3, 5]
    NAME.loss []              mean cross entropy of the tokens behind the prefix
    NAME.logits [3, 5, 257]   at the positions that predict the tokens
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file, save_model
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.models.gpt2.tokenization_gpt2 import bytes_to_unicode

CLIP, HIDDEN, PREFIX, CLIP_LENGTH, HEADS, MAPPER_HEADS = 16, 32, 3, 2, 4, 8
VOCABULARY, POSITIONS = 257, 72


class Mlp(nn.Module):
    def __init__(self, clip=CLIP, prefix=PREFIX, hidden=HIDDEN):
        super().__init__()
        inner, outer = prefix * hidden // 2, prefix * hidden
        self.model = nn.Sequential(nn.Linear(clip, inner), nn.Tanh(), nn.Linear(inner, outer))

    def forward(self, embeddings):
        return self.model(embeddings).view(-1, PREFIX, HIDDEN)


class Layer(nn.Module):
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


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(CLIP, CLIP_LENGTH * HIDDEN)
        self.prefix_const = nn.Parameter(torch.randn(PREFIX, HIDDEN))
        self.transformer = nn.ModuleDict({"layers": nn.ModuleList([Layer(), Layer()])})

    def forward(self, embeddings):
        seen = self.linear(embeddings).view(-1, CLIP_LENGTH, HIDDEN)
        states = torch.cat([seen, self.prefix_const.expand(len(seen), -1, -1)], 1)
        for layer in self.transformer["layers"]:
            states = layer(states)
        return states[:, CLIP_LENGTH:]


class Captioner(nn.Module):
    def __init__(self, mapper, **sizes):
        super().__init__()
        sizes = {"n_embd": HIDDEN, "n_positions": POSITIONS, "n_head": HEADS} | sizes
        config = GPT2Config(vocab_size=VOCABULARY, n_layer=1, bos_token_id=256, eos_token_id=256, **sizes)
        config._attn_implementation = "eager"
        self.clip_project = mapper
        self.gpt = GPT2LMHeadModel(config)
        self.eval()
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                norm = ".ln_" in name or ".norm" in name
                parameter.normal_(1.0 if norm and name.endswith("weight") else 0.0, 0.2)
                # What f16 holds exactly, so that both types have one expectation.
                parameter.copy_(parameter.half().float())

    @torch.no_grad()
    def expect(self, embeddings, tokens):
        inputs = torch.cat([self.clip_project(embeddings), self.gpt.transformer.wte(tokens)], 1)
        logits = self.gpt(inputs_embeds=inputs).logits[:, PREFIX - 1:-1]
        return nn.functional.cross_entropy(logits.flatten(0, 1), tokens.flatten()), logits.contiguous()


class Named(nn.Module):
    """Holds a model under another name."""

    def __init__(self, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)


def names(out):
    out.mkdir(exist_ok=True)
    model = Captioner(Mlp(6, 2, 8), n_embd=8, n_positions=12, n_head=2).half()
    state = model.state_dict()
    torch.save(state, out / "plain.pt")
    torch.save(nn.DataParallel(torch.compile(model)).state_dict(), out / "data_parallel.pt")
    parts = Named(gpt=torch.compile(model.gpt), clip_project=nn.DataParallel(model.clip_project))
    torch.save(parts.state_dict(), out / "compiled_parts.pt")
    torch.save(Named(gpt2=model.gpt, clip_project=model.clip_project).state_dict(), out / "gpt2.pt")

    moments = torch.optim.AdamW(model.clip_project.parameters(), lr=2e-5).state_dict()
    moments["state"] = {0: {"step": torch.tensor(1.0), "exp_avg": torch.ones(8, 6), "exp_avg_sq": torch.ones(8, 6)}}
    torch.save({
        "epoch": 1, "global_step": 2, "pytorch-lightning_version": "2.5.0", "state_dict": Named(model=model).state_dict(),
        "loops": {"fit_loop": {"state_dict": {}}}, "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(0.5)}},
        "optimizer_states": [moments], "lr_schedulers": [], "hyper_parameters": {"lr": 2e-5, "dtype": torch.float16},
    }, out / "lightning.pt")
    torch.save({"module": model.state_dict(), "optimizer": None, "global_steps": 3, "skipped_steps": 0,
                "ds_version": "0.16", "dtype": torch.float16, "data_sampler": None}, out / "deepspeed.pt")
    torch.save([model.state_dict(), moments], out / "list.pt")
    torch.save(torch.optim.swa_utils.AveragedModel(model).state_dict(), out / "averaged.pt")
    for parameter in model.parameters():
        parameter._is_hf_initialized = True
    torch.save(dict(model.named_parameters()), out / "attributes.pt")
    save_model(model, str(out / "save_model.safetensors"))
    torch.save({"model": model.state_dict(), "ema": {n: v + 1 for n, v in model.state_dict().items()}}, out / "two.pt")
    for file in out.glob("*.pt"):
        torch.load(file, weights_only=True)


def tokenizer(out):
    out.mkdir(exist_ok=True)
    letters = list(bytes_to_unicode().values()) + ["<|endoftext|>"]
    (out / "vocab.json").write_text(json.dumps({letter: place for place, letter in enumerate(letters)}))
    (out / "merges.txt").write_text("#version: 0.2\n")


def main():
    default = Path(__file__).resolve().parent.parent / "fixtures" / "import"
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    root.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    torch.manual_seed(1)
    embeddings, tokens = torch.randn(3, CLIP), torch.randint(1, VOCABULARY, (3, 5))
    expected = {"embeddings": embeddings, "tokens": tokens}

    mlp = Captioner(Mlp())
    state = mlp.state_dict()
    assert state["gpt.lm_head.weight"].data_ptr() == state["gpt.transformer.wte.weight"].data_ptr()
    mask = torch.ones(POSITIONS, POSITIONS, dtype=torch.bool).tril().view(1, 1, POSITIONS, POSITIONS)
    state["gpt.transformer.h.0.attn.bias"] = mask
    state["gpt.transformer.h.0.attn.masked_bias"] = torch.tensor(-1e4)
    torch.save(state, root / "mlp.pt")
    state = mlp.state_dict()
    state["gpt.lm_head.weight"] = state["gpt.lm_head.weight"].flip(0)
    torch.save(state, root / "untied.pt")
    state = mlp.state_dict()
    state["gpt.transformer.ln_f.offset"] = state.pop("gpt.transformer.ln_f.bias")
    state["clip_project.model.0.bias"] = state["clip_project.model.0.bias"][1:].clone()
    torch.save(state, root / "strange.pt")

    wide = {
        "gpt.transformer.wte.weight": (1, 4096), "gpt.transformer.wpe.weight": (1, 4096),
        "gpt.transformer.h.0.mlp.c_fc.weight": (1, 1), "clip_project.model.0.weight": (1, 1),
        "clip_project.model.2.weight": (4096, 1),
    }
    torch.save({name: torch.zeros(shape) for name, shape in wide.items()}, root / "wide.pt")
    zeros = torch.zeros(4096)
    torch.save({name: zeros[:shape[0] * shape[1]].view(shape) for name, shape in wide.items()}, root / "shared.pt")

    transformer = Captioner(Transformer(), n_inner=48)
    half = {name: value.half() for name, value in transformer.state_dict().items()}
    torch.save({"epoch": 3, "model_state_dict": half}, root / "transformer.pt")

    untied = Captioner(Mlp(), tie_word_embeddings=False)
    untied.load_state_dict(torch.load(root / "untied.pt"))
    for name, captioner in (("mlp", mlp), ("transformer", transformer), ("untied", untied)):
        expected[f"{name}.loss"], expected[f"{name}.logits"] = captioner.expect(embeddings, tokens)
        print(name, "loss", expected[f"{name}.loss"].item())
    names(root / "names")
    save_file(expected, root / "expected.safetensors")
    tokenizer(root / "tokenizer")


if __name__ == "__main__":
    main()
