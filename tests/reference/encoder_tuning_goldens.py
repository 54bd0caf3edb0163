"""Writes tests/fixtures/efficientnet/tuned.safetensors: the ridge regression that `capsmith pretrain encoder` starts
from, the losses of four steps of its training without dropout and mirroring, the gradients of the first step, and the
weights after the last, by PyTorch on the narrow EfficientNet-Lite0. Run from anywhere, after efficientnet_goldens.py:
python tests/reference/encoder_tuning_goldens.py"""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from efficientnet_goldens import NARROW, Lite

HERE = Path(__file__).resolve().parent.parent / "fixtures/efficientnet"
BATCHES = [range(0, 5), range(2, 6), range(0, 6), range(1, 5)]
# Of a schedule of four steps with one step of warmup.
RATES = [0.0, 1e-3, 2e-3 / 3, 1e-3 / 3]
FIRST_TUNED = 11


def fold(convolution, norm):
    """Moves a batch norm's statistics into its convolution, with a bias that is added after it."""
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    bias = norm.bias - norm.running_mean * scale
    convolution.weight = nn.Parameter((convolution.weight * scale.view(-1, 1, 1, 1)).detach().contiguous())
    norm.tuned = nn.Parameter(bias.detach())
    norm.forward = lambda states: states + norm.tuned.view(1, -1, 1, 1)
    return {"weight": convolution.weight, "bias": norm.tuned}


def tuned_parameters(network):
    layers = {}
    for index, block in enumerate(network._blocks):
        if index >= FIRST_TUNED:
            names = [("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")]
            layers |= {f"_blocks.{index}.{name}": fold(getattr(block, name), getattr(block, norm)) for name, norm in names}
    layers["_conv_head"] = fold(network._conv_head, network._bn1)
    return {f"{layer}.{name}": value for layer, pair in layers.items() for name, value in pair.items()}


torch.manual_seed(5)
network = Lite(**NARROW)
network.load_state_dict(torch.load(HERE / "package.pth", weights_only=True))
network.requires_grad_(False).eval()
pixels = torch.randn(6, 3, 40, 40)
texts = F.normalize(torch.randn(6, 7), dim=-1)
# Far from the means that the projection starts from, so that the loss is not small.
drawn = F.normalize(torch.randn(6, 7), dim=-1)
parameters = tuned_parameters(network)

with torch.no_grad():
    features = network.features(pixels)
mean, deviation = features.mean(0), features.std(0, unbiased=False)
deviation = deviation.clamp_min(0.01 * deviation.mean())
standard = ((features - mean) / deviation).double()
target = texts.double()
penalty = 5 / 3 * len(pixels) * torch.eye(standard.shape[1], dtype=torch.double)
weight = torch.linalg.solve(standard.T @ standard + penalty, standard.T @ (target - target.mean(0))).T
tensors = {"pixels": pixels, "texts": texts, "drawn": drawn, "ridge.weight": weight.float().contiguous(),
           "ridge.bias": target.mean(0).float()}
parameters["projection.weight"] = nn.Parameter(tensors["ridge.weight"].clone())
parameters["projection.bias"] = nn.Parameter(tensors["ridge.bias"].clone())
parameters["text_map"] = nn.Parameter(torch.eye(texts.shape[1]))
parameters["logit_scale"] = nn.Parameter(torch.tensor(3.0))

optimizer = torch.optim.AdamW(parameters.values(), lr=1.0, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.05)
losses = []
for step, (batch, rate) in enumerate(zip(BATCHES, RATES)):
    batch = torch.tensor(list(batch))
    standard = (network.features(pixels[batch]) - mean) / deviation
    images = F.normalize(F.linear(standard, parameters["projection.weight"], parameters["projection.bias"]), dim=-1)
    captions = F.normalize(drawn[batch] @ parameters["text_map"], dim=-1)
    logits = captions @ images.T * parameters["logit_scale"].exp()
    own = torch.arange(len(batch))
    loss = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
    optimizer.zero_grad()
    loss.backward()
    if step == 0:
        for name, value in parameters.items():
            assert value.grad is not None, name
            tensors[f"gradient.{name}"] = value.grad.clone().contiguous()
    torch.nn.utils.clip_grad_norm_(parameters.values(), 1.0)
    optimizer.param_groups[0]["lr"] = rate
    optimizer.step()
    losses.append(loss.item())
for name, value in parameters.items():
    tensors[f"after.{name}"] = value.detach().contiguous()
tensors["losses"] = torch.tensor(losses)
save_file(tensors, HERE / "tuned.safetensors")
largest = {name: tensors[f"gradient.{name}"].abs().max().item() for name in parameters}
print("losses", losses, "smallest of the largest gradients", min(largest.items(), key=lambda item: item[1]))
