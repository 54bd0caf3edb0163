"""Measures caption_eval and pycocoevalcap 1.2 (Java needed), each in processes of its own.

    python speed.py REFERENCES PREDICTIONS [--images N] [--rounds N] [--only NAME]
                    [--no-meteor | --coco]

REFERENCES is `{image: [captions]}`, PREDICTIONS `{image: caption}`. With --images, images are
repeated or cut to that number. A process imports, reads both files, cuts words with the PTB
tokenizer and computes all scores but SPICE, by calling each scorer or (--coco) by COCOEvalCap with
each package's own COCO reader. Rounds alternate between the two packages. Prints the
medians of wall time and of CPU time (user and system, of the process and of its JVMs), and the
largest memory of one process.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROGRAM = """
import contextlib, importlib, io, json, sys
package, references, predictions, meteor = sys.argv[1:]
def scorer(name, cls):
    return getattr(importlib.import_module(f"{package}.{name}.{name}"), cls)
with contextlib.redirect_stdout(io.StringIO()):
    tokenizer = importlib.import_module(f"{package}.tokenizer.ptbtokenizer").PTBTokenizer
    gts = {i: [{"caption": c} for c in cs] for i, cs in json.load(open(references)).items()}
    res = {i: [{"caption": c}] for i, c in json.load(open(predictions)).items()}
    gts, res = tokenizer().tokenize(gts), tokenizer().tokenize(res)
    scorers = [scorer("bleu", "Bleu")(4), scorer("rouge", "Rouge")(), scorer("cider", "Cider")()]
    if meteor == "True":
        scorers.append(scorer("meteor", "Meteor")())
    found = [scorer.compute_score(gts, res)[0] for scorer in scorers]
print(json.dumps([float(score) for score in found[0] + found[1:]]))
"""

COCO_PROGRAM = """
import contextlib, importlib, io, json, sys
package, references, predictions, _ = sys.argv[1:]
class NoSpice:
    def method(self):
        return "SPICE"
    def compute_score(self, gts, res):
        return 0.0, [0.0] * len(gts)
with contextlib.redirect_stdout(io.StringIO()):
    reader = "pycocotools" if package == "pycocoevalcap" else package
    evaluation = importlib.import_module(f"{package}.eval")
    evaluation.Spice = NoSpice
    coco = importlib.import_module(f"{reader}.coco").COCO(references)
    results = coco.loadRes(predictions)
    scored = evaluation.COCOEvalCap(coco, results)
    scored.params["image_id"] = results.getImgIds()
    scored.evaluate()
scored.eval.pop("SPICE", None)
print(json.dumps([float(scored.eval[name]) for name in sorted(scored.eval)]))
"""


def measured(package, program, files, meteor):
    """Runs a process; returns its scores, wall seconds, CPU seconds and peak MB."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", program, package, *map(str, files), str(meteor)],
        stdout=subprocess.PIPE,
    )
    scores = json.loads(process.stdout.read())
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, status
    process.returncode = 0
    wall = time.perf_counter() - start
    return scores, wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def repeated(captions, images):
    values = list(captions.values())
    return {str(i): values[i % len(values)] for i in range(images)}


def coco(references, predictions):
    """Returns annotations and results as COCO has them."""
    annotations = [
        {"image_id": int(image), "id": 100 * int(image) + k, "caption": caption}
        for image, captions in references.items()
        for k, caption in enumerate(captions)
    ]
    images = [{"id": int(image)} for image in references]
    results = [{"image_id": int(image), "caption": c} for image, c in predictions.items()]
    return {"images": images, "annotations": annotations}, results


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("references", type=Path)
    parser.add_argument("predictions", type=Path)
    parser.add_argument("--images", type=int)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=["caption_eval", "pycocoevalcap"])
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--no-meteor", action="store_true")
    shape.add_argument("--coco", action="store_true")
    args = parser.parse_args()
    references = json.loads(args.references.read_text(encoding="utf-8"))
    predictions = json.loads(args.predictions.read_text(encoding="utf-8"))
    predictions = {image: predictions[image] for image in references}
    packages = [args.only] if args.only else ["caption_eval", "pycocoevalcap"]
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / "references.json", Path(folder) / "predictions.json"]
        images = args.images or len(references)
        contents = [repeated(captions, images) for captions in (references, predictions)]
        if args.coco:
            contents = coco(*contents)
        for file, content in zip(files, contents):
            file.write_text(json.dumps(content), encoding="utf-8")
        program = COCO_PROGRAM if args.coco else PROGRAM
        runs = {package: [] for package in packages}
        for _ in range(args.rounds):
            for package in packages:
                runs[package].append(measured(package, program, files, not args.no_meteor))
    medians = {}
    for package, rounds in runs.items():
        wall, cpu, memory = (statistics.median(r[k] for r in rounds) for k in (1, 2, 3))
        medians[package] = (wall, cpu)
        print(f"{package}: {wall:.2f} s, CPU {cpu:.2f} s, {memory:.0f} MB, {rounds[0][0]}")
    if len(packages) == 2:
        for name, ours, theirs in zip(("wall", "CPU"), *(medians[p] for p in packages)):
            print(f"{name}: {theirs / ours:.1f} times")
        first, second = (runs[package][0][0] for package in packages)
        assert all(abs(a - b) < 1e-9 for a, b in zip(first, second)), (first, second)


if __name__ == "__main__":
    main()
