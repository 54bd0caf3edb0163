#!/usr/bin/env python3
"""Makes a set of any size of Flickr8k: its pictures and captions again and again under other names.

usage: repeat.py FLICKR8K PICTURES OUT [--tar PICTURES_EACH]

OUT gets Kaggle's layout with hard links to the pictures, or tar archives as img2dataset writes them; and
references.json and predictions.json for the evaluator, in which each picture is captioned as the next one was.
"""

import csv
import io
import json
import os
import sys
import tarfile

flickr8k, count, out = sys.argv[1], int(sys.argv[2]), sys.argv[3]
tar_size = int(sys.argv[5]) if len(sys.argv) > 5 else 0
captions = {}
with open(os.path.join(flickr8k, "captions.txt"), newline="") as file:
    for row in csv.DictReader(file):
        captions.setdefault(row["image"], []).append(row["caption"])
names = sorted(captions)
folder = next(os.path.join(flickr8k, name) for name in ("Images", "images") if os.path.isdir(os.path.join(flickr8k, name)))
os.makedirs(out)


def example(number):
    name = names[number % len(names)]
    return f"{number:07}.jpg", os.path.join(folder, name), captions[name]


with open(os.path.join(out, "references.json"), "w") as file:
    json.dump({name: texts for name, _, texts in map(example, range(count))}, file)
with open(os.path.join(out, "predictions.json"), "w") as file:
    results = [{"image_id": example(n)[0], "caption": example(n + 1)[2][n % 5]} for n in range(count)]
    json.dump(results, file)
if tar_size:
    for first in range(0, count, tar_size):
        with tarfile.open(os.path.join(out, f"{first // tar_size:05}.tar"), "w") as archive:
            for name, path, texts in map(example, range(first, min(count, first + tar_size))):
                archive.add(path, arcname=name)
                text = "\n".join(texts).encode()
                info = tarfile.TarInfo(name.replace(".jpg", ".txt"))
                info.size = len(text)
                archive.addfile(info, io.BytesIO(text))
else:
    os.makedirs(os.path.join(out, "Images"))
    with open(os.path.join(out, "captions.txt"), "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["image", "caption"])
        for name, path, texts in map(example, range(count)):
            os.link(path, os.path.join(out, "Images", name))
            writer.writerows([name, text] for text in texts)
