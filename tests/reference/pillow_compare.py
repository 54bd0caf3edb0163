"""Compares capsmith's decoding and resizing with Pillow's on real pictures.

    cargo build --release -p pictures --example pixels
    python tests/reference/pillow_compare.py target/release/examples/pixels ../shared/flickr8k/originals

Prints the largest and the mean difference of 8-bit values, for decoding, for resizing and cropping
the same decoded pixels, and for both together.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = 224


def resize_and_crop(image):
    """Applies the torchvision preprocessing of OpenAI's CLIP, before normalisation."""
    width, height = image.size
    shorter = min(width, height)
    image = image.resize((SIZE * width // shorter, SIZE * height // shorter), Image.Resampling.BICUBIC)
    left, top = (int(round((side - SIZE) / 2.0)) for side in image.size)
    return image.crop((left, top, left + SIZE, top + SIZE))


def report(name, pairs):
    largest, total, count, differing, beyond = 0, 0, 0, 0, 0
    for ours, theirs in pairs:
        difference = np.abs(ours.astype(int) - theirs.astype(int))
        largest = max(largest, difference.max())
        total += difference.sum()
        count += difference.size
        differing += (difference > 0).sum()
        beyond += (difference > 1).sum()
    print(f"{name}: largest {largest}/255, mean {total / count:.5f}/255, "
          f"{100 * differing / count:.3f} % of values differ, {100 * beyond / count:.4f} % by more than 1")


def main():
    program, folder = sys.argv[1], Path(sys.argv[2])
    pictures = sorted(folder.glob("*.jpg"))
    images = [Image.open(path).convert("RGB") for path in pictures]
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        raw, out = scratch / "raw", scratch / "out"
        raw.mkdir()
        out.mkdir()
        raws = []
        for path, image in zip(pictures, images):
            (raw / path.stem).write_bytes(image.tobytes())
            raws.append(f"{raw / path.stem}:{image.width}:{image.height}")

        def ours(*arguments):
            subprocess.run([program, *map(str, arguments)], check=True)
            for path in pictures:
                yield np.frombuffer((out / f"{path.stem}.rgb").read_bytes(), np.uint8)

        decoded = [np.asarray(image).ravel() for image in images]
        resized = [np.asarray(resize_and_crop(image)).ravel() for image in images]
        print(f"{len(pictures)} pictures")
        report("decoding", zip(ours("decode", out, *pictures), decoded))
        report("resizing the same pixels", zip(ours("resize", SIZE, out, *raws), resized))
        report("both", zip(ours("both", SIZE, out, *pictures), resized))


if __name__ == "__main__":
    main()
