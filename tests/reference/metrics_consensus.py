"""Writes tests/fixtures/metrics/consensus.json: consensus captions by the plain definition.

    python tests/reference/metrics_consensus.py tests/fixtures/metrics/consensus.json
"""

import json
import math
import random
import sys
from collections import Counter


def grams(caption):
    words = caption.split()
    return [
        Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1)) for n in range(1, 5)
    ]


def similarity(a, b, idf):
    """CIDEr without clipping and length penalty: the mean cosine over n."""
    total = 0.0
    for x, y in zip(grams(a), grams(b)):
        x = {w: c * idf[w] for w, c in x.items()}
        y = {w: c * idf[w] for w, c in y.items()}
        norms = math.sqrt(sum(v * v for v in x.values())) * math.sqrt(
            sum(v * v for v in y.values())
        )
        if norms:
            total += sum(v * y.get(w, 0.0) for w, v in x.items()) / norms
    return total / 4


def main():
    draw = random.Random(7)
    subjects = ["a dog", "two boys", "an old man", "a woman in red", "a brown horse"]
    verbs = ["runs", "jumps high", "sits down", "sleeps", "looks at the camera"]
    places = ["on the grass", "in the snow", "by a river", "on a street", "at the beach"]
    images = []
    for _ in range(20):
        subject, place = draw.sample(subjects, 2), draw.sample(places, 2)
        images.append(
            [
                f"{draw.choice(subject)} {draw.choice(verbs)} {draw.choice(place)} ."
                for _ in range(5)
            ]
        )
    df = Counter()
    for captions in images:
        df.update({w for caption in captions for g in grams(caption) for w in g})
    idf = {w: math.log(len(images) / count) for w, count in df.items()}
    cases = []
    for size in [1, 2, 3, 5, 8, 13, 20] * 3:
        chosen = draw.sample(range(len(images)), size)
        candidates = [(i, c) for i in chosen for c in range(5)]
        means = []
        for p, (i, c) in enumerate(candidates):
            others = [q for q in range(len(candidates)) if q != p]
            texts = [images[candidates[q][0]][candidates[q][1]] for q in others]
            means.append(sum(similarity(images[i][c], t, idf) for t in texts) / len(texts))
        best = max(means)
        # Captions with equal words are equally similar; rounding must not decide between them.
        image, number = candidates[next(p for p, m in enumerate(means) if best - m < 1e-12)]
        cases.append({"images": chosen, "caption": images[image][number], "mean": best})
    with open(sys.argv[1], "w") as file:
        json.dump({"images": images, "cases": cases}, file, indent=1)
        file.write("\n")


main()
