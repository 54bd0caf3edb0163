"""Writes tests/fixtures/weights: a few small tensors in the file formats of PyTorch and safetensors.

    python tests/reference/weight_files_goldens.py

The tensors are the same at every run.
"""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file, save_model

OUT = Path(__file__).parents[1] / "fixtures" / "weights"


def tensors():
    generator = torch.Generator().manual_seed(5)
    wide = torch.randn(4, 6, generator=generator)
    return {
        "half": torch.randn(3, generator=generator).half(),
        "brain": torch.randn(3, generator=generator).bfloat16(),
        "double": torch.randn(2, 2, generator=generator).double(),
        "ids": torch.arange(5),
        "turned": wide.T,
        "part": wide[1:3, 2:],
        "tied": wide,
    }


class Tied(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.lm_head = torch.nn.Linear(3, 5, bias=False)
        self.wte = torch.nn.Embedding(5, 3)
        self.wte.weight = self.lm_head.weight


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    for name in ("expected", "whole", "legacy", "shards"):
        (OUT / name).mkdir(parents=True)
    all_of_them = tensors()
    save_file({name: tensor.contiguous().clone() for name, tensor in all_of_them.items()},
              OUT / "expected" / "model.safetensors")
    torch.save(all_of_them, OUT / "whole" / "pytorch_model.bin")
    torch.save(all_of_them, OUT / "legacy" / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    weight_map = {}
    for number, names in enumerate((["half", "brain", "double"], ["ids", "turned", "part", "tied"]), 1):
        file = f"pytorch_model-0000{number}-of-00002.bin"
        torch.save({name: all_of_them[name] for name in names}, OUT / "shards" / file)
        weight_map.update(dict.fromkeys(names, file))
    index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    (OUT / "shards" / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    torch.manual_seed(6)
    save_model(Tied(), OUT / "tied.safetensors")


if __name__ == "__main__":
    main()
