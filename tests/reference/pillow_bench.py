"""Times capsmith's and Pillow's decoding and resizing alternately on the same pictures, each on one thread.

    cargo build --release -p pictures --example pixels
    python tests/reference/pillow_bench.py target/release/examples/pixels ../shared/flickr8k/originals [TURNS]

The files are in memory. For each picture the least time of 15 rounds counts, which excludes the load of
other programs. "prepared" is the normalised f32 array, which numpy makes for Pillow.
"""

import io
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import PIL
from PIL import Image, features
from pillow_compare import SIZE, resize_and_crop

ROUNDS = 15
MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)


def normalise(image):
    values = np.asarray(image).astype(np.float32) / np.float32(255)
    return np.ascontiguousarray(((values - MEAN) / STD).transpose(2, 0, 1))


def pillow(files):
    """Returns milliseconds per picture: decoding, resizing and cropping, normalising."""
    least = np.full((len(files), 3), np.inf)
    for _ in range(ROUNDS):
        for number, contents in enumerate(files):
            times = [time.perf_counter()]
            image = Image.open(io.BytesIO(contents)).convert("RGB")
            times.append(time.perf_counter())
            square = resize_and_crop(image)
            times.append(time.perf_counter())
            normalise(square)
            times.append(time.perf_counter())
            least[number] = np.minimum(least[number], np.diff(times))
    return 1e3 * least.mean(axis=0)


def capsmith(program, pictures):
    """Returns the same for capsmith; its program reports the last two as one."""
    line = subprocess.run([program, "time", str(SIZE), *pictures], check=True, capture_output=True, text=True).stdout
    decode, resize, prepare = map(float, re.findall(r"\d+\.\d+", line))
    return np.array([decode, resize, prepare - resize])


def main():
    program, folder = sys.argv[1], Path(sys.argv[2])
    turns = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    pictures = sorted(map(str, folder.glob("*.jpg")))
    files = [Path(picture).read_bytes() for picture in pictures]
    print(f"{len(files)} pictures, Pillow {PIL.__version__}, libjpeg-turbo {features.version('libjpeg_turbo')}; ms a picture")
    for _ in range(turns):
        theirs, ours = pillow(files), capsmith(program, pictures)
        for name, times in (("Pillow", theirs), ("capsmith", ours)):
            print(f"{name:>8}: decode {times[0]:.3f}, resize and crop {times[1]:.3f}, normalise {times[2]:.3f}")
        ratio = theirs / ours
        together, prepared = theirs[:2].sum() / ours[:2].sum(), theirs.sum() / ours.sum()
        print(f"   ratio: decode {ratio[0]:.2f}, resize and crop {ratio[1]:.2f}, together {together:.2f}, "
              f"prepared {prepared:.2f}", flush=True)


if __name__ == "__main__":
    main()
