"""Writes tests/fixtures/clip/contrastive.safetensors: the training loss of the small CLIP in quick_gelu/ on random
pictures and texts, and its gradients, by transformers. Run from anywhere, after clip_goldens.py:
python tests/reference/clip_contrastive_goldens.py"""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPModel

HERE = Path(__file__).resolve().parent.parent / "fixtures" / "clip"

golden = load_file(HERE / "quick_gelu" / "golden.safetensors")
ids, attention_mask = golden["ids"], golden["attention_mask"]
size = golden["pixels"].shape[-1]
pixels = torch.randn((len(ids), 3, size, size), generator=torch.Generator().manual_seed(7))
model = CLIPModel.from_pretrained(HERE / "quick_gelu").eval()
loss = model(input_ids=ids, pixel_values=pixels, attention_mask=attention_mask, return_loss=True).loss
loss.backward()
tensors = {"pixels": pixels, "ids": ids, "attention_mask": attention_mask, "loss": loss.detach()}
for name, parameter in model.named_parameters():
    assert parameter.grad is not None, name
    tensors[f"gradient.{name}"] = parameter.grad.contiguous()
save_file(tensors, HERE / "contrastive.safetensors")
print(f"loss {loss.item():.6f}, {len(tensors)} tensors")
