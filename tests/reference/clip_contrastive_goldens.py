"""Writes tests/fixtures/clip/contrastive.safetensors: the training loss of the small CLIP in quick_gelu/ on random
pictures and texts, and its gradients, by transformers; and locked.safetensors: those of its text tower and a
projection of random features in place of the vision tower. Run from anywhere, after clip_goldens.py: python tests/reference/clip_contrastive_goldens.py"""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPModel
from transformers.models.clip.modeling_clip import clip_loss

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

random = torch.Generator().manual_seed(8)
features = torch.randn((len(ids), 12), generator=random)
weight = torch.randn((model.config.projection_dim, 12), generator=random).requires_grad_()
bias = torch.randn(model.config.projection_dim, generator=random).requires_grad_()
model.zero_grad()
images = torch.nn.functional.normalize(features @ weight.T + bias)
texts = torch.nn.functional.normalize(model.get_text_features(ids, attention_mask=attention_mask))
loss = clip_loss(texts @ images.T * model.logit_scale.exp())
loss.backward()
tensors = {"features": features, "loss": loss.detach(), "visual_projection.weight": weight.detach(),
           "visual_projection.bias": bias.detach(), "gradient.visual_projection.weight": weight.grad,
           "gradient.visual_projection.bias": bias.grad}
for name, parameter in model.named_parameters():
    if not name.startswith("vision_model.") and name != "visual_projection.weight":
        tensors[f"gradient.{name}"] = parameter.grad.contiguous()
save_file(tensors, HERE / "locked.safetensors")
print(f"loss on features {loss.item():.6f}, {len(tensors)} tensors")
