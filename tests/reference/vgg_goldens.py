"""Writes a narrow VGG-16 of torchvision with random weights, its fc7, and torchvision's preprocessing.

Usage: vgg_goldens.py [OUTPUT]    (default: tests/fixtures/vgg; needs torchvision 0.26.0)
With --real FILE also writes a VGG-16 of real width with random weights and its fc7, for a manual comparison.
"""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torchvision.models import VGG16_Weights, vgg16
from torchvision.models.vgg import VGG, make_layers

from pillow_fixtures import noise, steps

SIXTEEN = [4, 4, "M", 6, 6, "M", 8, 8, 8, "M", 8, 8, 8, "M", 10, 10, 10, "M"]


def narrow():
    network = VGG(make_layers(SIXTEEN), num_classes=3, init_weights=False)
    network.classifier = nn.Sequential(nn.Linear(10 * 49, 20), nn.ReLU(), nn.Dropout(), nn.Linear(20, 16), nn.ReLU(),
                                       nn.Dropout(), nn.Linear(16, 3))
    # Default random weights shrink activations; these keep their scale.
    for parameter in network.parameters():
        with torch.no_grad():
            parameter.copy_(torch.randn_like(parameter) * (2 / max(parameter[0].numel(), 8)) ** 0.5)
    return network.eval()


def fc7(network, pixels):
    with torch.no_grad():
        states = network.avgpool(network.features(pixels)).flatten(1)
        return network.classifier[:5](states)


def timm_names(weights):
    """Renames weights as in timm, where the first two layers after the features are convolutions."""
    renamed = {}
    for name, value in weights.items():
        if name.startswith("classifier.0."):
            shape = (value.shape[0], -1, 7, 7) if value.dim() == 2 else value.shape
            renamed["pre_logits.fc1." + name.split(".")[2]] = value.reshape(shape).contiguous()
        elif name.startswith("classifier.3."):
            shape = (*value.shape, 1, 1) if value.dim() == 2 else value.shape
            renamed["pre_logits.fc2." + name.split(".")[2]] = value.reshape(shape).contiguous()
        elif name.startswith("classifier.6."):
            renamed["head.fc." + name.split(".")[2]] = value
        else:
            renamed[name] = value
    return renamed


def pictures():
    transforms = VGG16_Weights.IMAGENET1K_V1.transforms()
    for seed, (width, height) in enumerate([(500, 375), (375, 500), (256, 256), (112, 112), (301, 257), (640, 91),
                                            (33, 700), (255, 256), (1000, 999), (1, 1)]):
        for kind in ["noise", "steps"]:
            values = noise(width, height, seed) if kind == "noise" else steps(width, height)
            planes = transforms(Image.fromarray(values)).numpy().astype("<f4")
            yield {"kind": kind, "seed": seed, "width": width, "height": height,
                   "planes": hashlib.sha256(np.ascontiguousarray(planes).tobytes()).hexdigest()}


def main():
    if sys.argv[1:2] == ["--real"]:
        torch.manual_seed(1)
        network = vgg16(weights=None).eval()
        pixels = torch.randn(2, 3, 224, 224)
        save_file(dict(network.state_dict()) | {"pixels": pixels, "fc7": fc7(network, pixels)}, sys.argv[2])
        return
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "fixtures/vgg"
    root.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(2)
    network = narrow()
    pixels = torch.randn(3, 3, 64, 80)
    features = fc7(network, pixels)
    print("fc7", features.shape, "zeros", (features == 0).float().mean().item(), "largest", features.max().item())
    weights = {name: value.contiguous() for name, value in network.state_dict().items()}
    save_file(weights, root / "torchvision.safetensors")
    save_file(timm_names(weights), root / "timm.safetensors")
    save_file({"pixels": pixels, "fc7": features}, root / "expected.safetensors")
    (root / "pictures.json").write_text(json.dumps(list(pictures())))


if __name__ == "__main__":
    main()
