"""Writes tests/fixtures/pictures/processors.json: typical settings of image processors, and digests of the output
of CLIPImageProcessor of transformers 4.57.6.

    pip install --target /tmp/pillow12 pillow==12.3.0
    PYTHONPATH=/tmp/pillow12 python tests/reference/processor_goldens.py

Pillow 13.0 shrinks some pictures in the other order of passes, which capsmith does not.
Pictures are those of pillow_fixtures.py; running it again gives the same bytes.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
from pillow_fixtures import noise, steps
from PIL import Image
from transformers import CLIPImageProcessor

OUT = Path(__file__).parents[1] / "fixtures" / "pictures" / "processors.json"

SIXTEEN = {"size": {"shortest_edge": 16}, "crop_size": {"height": 16, "width": 16}}
EXACT = {"size": {"height": 16, "width": 16}, "crop_size": 16}

SETTINGS = [
    EXACT,
    {**EXACT, "do_center_crop": False},
    {"size": {"height": 21, "width": 30}, "crop_size": 16},
    {"size": {"height": 21, "width": 11}, "crop_size": 16},
    {"size": [18, 17], "crop_size": [16, 16]},
    {"size": 12, "crop_size": 17},
    {"do_resize": False, "crop_size": 16},
    {"do_resize": False, "crop_size": {"height": 41, "width": 41}, "size": {"shortest_edge": 9}},
    {**SIXTEEN, "do_rescale": False},
    {**SIXTEEN, "rescale_factor": 1 / 127.5},
    {**SIXTEEN, "do_normalize": False},
    {**SIXTEEN, "do_rescale": False, "do_normalize": False},
    {**SIXTEEN, "image_mean": 0.5, "image_std": 0.5},
    {**SIXTEEN, "do_convert_rgb": False},
    *({**EXACT, "resample": number} for number in range(6)),
    *({"size": {"height": 40, "width": 57}, "crop_size": 36, "resample": number} for number in range(6)),
]

PICTURES = [("noise", 0, 37, 23), ("noise", 5, 23, 37), ("steps", 0, 30, 21), ("noise", 9, 16, 16)]


def draw(kind, seed, width, height):
    pixels = noise(width, height, seed) if kind == "noise" else steps(width, height)
    return Image.fromarray(pixels)


def main():
    cases = []
    for settings in SETTINGS:
        processor = CLIPImageProcessor(**settings)
        for kind, seed, width, height in PICTURES:
            picture = draw(kind, seed, width, height)
            planes = processor(picture, return_tensors="np")["pixel_values"][0]
            planes = np.ascontiguousarray(planes.astype(np.float32))
            cases.append({
                "settings": settings,
                "kind": kind,
                "seed": seed,
                "width": width,
                "height": height,
                "planes": hashlib.sha256(planes.tobytes()).hexdigest(),
                "first": [float(value) for value in planes[:, 0, 0]],
            })
    lines = ",\n".join(json.dumps(case) for case in cases)
    OUT.write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
