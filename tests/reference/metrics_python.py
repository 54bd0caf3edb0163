"""Writes tests/fixtures/metrics/python.json: caption files as Python programs write them, and their scores.

    python tests/reference/metrics_python.py        (from the repository root)

`files`: pairs of files as `json.dump` writes them, all of which say the same captions. `corpus`: pycocoevalcap's
scores of them without tokenizer. `subset`: the same for the images with a prediction alone, as in
pycocoevalcap's example. `kendall`: points with scipy's rank correlations. The captions were written for this.
"""

import json
import math
import pathlib
import random

from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge
from scipy.stats import kendalltau

OUT = pathlib.Path(__file__).parents[1] / "fixtures" / "metrics" / "python.json"

REFERENCES = [
    ["a dog runs on the wet sand", "the dog is running"],
    ["two cats sit on a bench", "a pair of cats sitting down", "cats"],
    ["a man rides a red bike", "man on a bicycle in the street"],
]
PREDICTIONS = ["a dog runs on sand", "two cats sit down", "a man on a red bike"]

LARGE = [10**20 + 1, 10**20 + 2, 2**200]


def scores(references, predictions):
    references = dict(enumerate(references))
    predictions = {image: [caption] for image, caption in enumerate(predictions)}
    bleu, _ = Bleu(4).compute_score(references, predictions, verbose=0)
    corpus = {f"BLEU-{n}": float(score) for n, score in enumerate(bleu, 1)}
    corpus["ROUGE_L"] = float(Rouge().compute_score(references, predictions)[0])
    corpus["CIDEr"] = float(Cider().compute_score(references, predictions)[0])
    return corpus


def annotations(ids, **more):
    return {
        "images": [{"id": image, **more} for image in ids],
        "annotations": [
            {"image_id": image, "id": 10 * number + k, "caption": caption, **more}
            for number, (image, captions) in enumerate(zip(ids, REFERENCES))
            for k, caption in enumerate(captions)
        ],
    }


def results(ids, **more):
    return [{"image_id": image, "caption": caption, **more} for image, caption in zip(ids, PREDICTIONS)]


def gts(ids, **more):
    return {
        image: [{"image_id": image, "caption": caption, **more} for caption in captions]
        for image, captions in zip(ids, REFERENCES)
    }


def res(ids, **more):
    return {image: [{"caption": caption, **more}] for image, caption in zip(ids, PREDICTIONS)}


def files():
    ids = [1, 2, 3]
    floats = [1.0, 2.0, 3.0]
    nan = {"logprob": math.nan, "best": [math.inf, -math.inf]}
    lone = {"text": "\ud83d", "\\": "NaN"}
    return {
        "gts and res": (gts(ids), res(ids)),
        "gts and res with more keys": (gts(ids, id=7, **nan), res(ids, id=math.nan, **lone)),
        "gts and texts": (gts(ids), dict(zip(ids, PREDICTIONS))),
        "texts and res": (dict(zip(ids, REFERENCES)), res(ids)),
        "one text each": (dict(zip(ids, REFERENCES)), {image: [text] for image, text in zip(ids, PREDICTIONS)}),
        "large integers": (annotations(LARGE), results(LARGE)),
        "large integers as keys": (gts(LARGE), results(LARGE)),
        "floats and integers": (annotations(floats), results(ids)),
        "floats and keys": (gts(ids), results(floats)),
        "large floats": (annotations([1e20, 1e23, -1.5e-7]), results([1e20, 1e23, -1.5e-7])),
        "large floats and integers": (annotations([1e20, int(1e23), 5]), results([10**20, 1e23, 5])),
        "not finite": (annotations(ids, area=math.nan, **nan), results(ids, **nan)),
        "lone surrogates": (annotations(ids, **lone), results(ids, **lone)),
        "by position": (REFERENCES, PREDICTIONS),
    }


def kendall():
    random.seed(1)
    sides = []
    for points, xs, ys in [(5, 3, 2), (40, 6, 4), (200, 1000, 2), (300, 7, 5)]:
        x = [random.randrange(xs) / xs for _ in range(points)]
        sides.append((x, [random.randrange(ys) / ys for _ in range(points)]))
    sides += [
        ([], []), ([1.0], [2.0]), ([1.0, 2.0], [3.0, 4.0]), ([1.0, 2.0], [4.0, 3.0]),
        ([1.0, 1.0], [3.0, 4.0]), ([1.0, 2.0, 3.0], [5.0, 5.0, 5.0]), ([2.0] * 4, [3.0] * 4),
        ([0.0, -0.0, 1.0, 2.0], [1.0, 2.0, 3.0, 2.0]), ([1.0, 2.0, 3.0], [1.0, 1.0, 2.0]),
        ([1e-300, 2e-300, 1e300, -1e300], [1.0, 2.0, 2.0, 0.0]),
        ([0.1 * k for k in range(50)], [k // 7 for k in range(50)]),
        ([0.1 * k for k in range(50)], [-(k // 2) for k in range(50)]),
        ([float(k) for k in range(37)], [-float(k) for k in range(37)]),
    ]
    for points in [2, 3, 4, 7, 1000]:
        x = [random.choice([0.0, 0.0, random.random()]) for _ in range(points)]
        sides.append((x, [random.choice([1.0, 2.0, 3.0, 4.0]) for _ in range(points)]))

    def tau(x, y, variant):
        value = float(kendalltau(x, y, variant=variant).statistic)
        return None if math.isnan(value) else value

    return [{"x": x, "y": y, "tau_b": tau(x, y, "b"), "tau_c": tau(x, y, "c")} for x, y in sides]


def main():
    fixture = {
        "files": {name: [json.dumps(side) for side in pair] for name, pair in files().items()},
        "corpus": scores(REFERENCES, PREDICTIONS),
        "subset": scores(REFERENCES[::2], PREDICTIONS[::2]),
        "kendall": kendall(),
    }
    OUT.write_text(json.dumps(fixture, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
