"""The selection of keywords, written down step by step as the paper describes it, on random embeddings.

Usage: keywords_goldens.py [OUTPUT]    (default: tests/fixtures/keywords_selection.json)

An embedding is the first 16 bytes of a SHA-256 as signed numbers, so that both sides have the same; a similarity is
0.2 + 0.05 cosine, about what CLIP's are like, rounded to float32. In a case with ties only a text's first letters count.
"""

import hashlib
import itertools
import json
import random
import sys
from pathlib import Path

import numpy as np

TREE = {
    "scenery": ["sky", "mountain", "beach", "forest", "desert", "grassland", "tundra", "wetland", "city landscape",
                "rural landscape", "volcanic", "cave", "arctic", "ocean", "indoor"],
    "human": None,
    "animal": ["mammal", "fish", "bird", "reptile", "worm", "arthropod", "mollusc"],
    "plant": ["fungi", "seed", "sprout", "flower", "fruit", "vegetable", "leaf", "root", "tree", "grass", "moss", "algae"],
    "object": ["tool", "decoration", "appliance", "utensil", "furniture", "vehicle", "clothing and fashion", "instrument",
               "artifact", "mechanicals", "device", "fire", "liquid", "food"],
    "activity": ["looking", "socializing", "eating", "sleeping", "standing", "wearing", "holding", "moving", "working",
                 "leisure activity", "sport activity"],
    "weather": ["rainy", "snowy", "foggy", "stormy", "sunny", "overcast", "rainbow", "cloudy", "thunder", "lightning",
                "autumn", "sunset", "starry"],
    "time": ["morning", "mid day", "afternoon", "evening", "night"],
    "number": None, "adverb": None, "adjective": None,
}
COLOURS = ["red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white", "gray"]


def vector(text):
    values = np.frombuffer(hashlib.sha256(text.encode()).digest()[:16], dtype=np.int8)
    return values.astype(np.int64)


class Clip:
    def __init__(self, picture, ties):
        self.picture, self.ties = vector(picture), ties

    def similarity(self, text):
        other = vector(text[:12] if self.ties else text)
        norms = np.sqrt(np.float64(self.picture @ self.picture)) * np.sqrt(np.float64(other @ other))
        return np.float32(0.2 + 0.05 * (np.float64(self.picture @ other) / norms))

    def rank(self, names, form="picture of {}."):
        """[(name, probability)], the most probable first; of equal ones the first."""
        if not names:
            return []
        scores = [self.similarity(form.format(name)) for name in names]
        scaled = 100 * np.array(scores, dtype=np.float64)
        shares = np.exp(scaled - scaled.max())
        shares /= shares.sum()
        order = sorted(range(len(names)), key=lambda place: -scores[place])
        return [(names[place], float(shares[place])) for place in order]


def top_labels(clip, labels):
    chosen, total = [], 0
    names = [word for word, part, _ in labels if part in ("NOUN", "ADV", "ADJ")][:1000]
    for name, share in clip.rank(names, "{}"):
        chosen.append((name, share))
        total += share
        if total > 0.5:
            break
    return chosen


def hierarchy(clip, encyclopedia):
    primes = ["landscape", "people", "animal", "plant", "some object"]
    sets = [" and ".join(names) for size in (1, 2, 3) for names in itertools.combinations(primes, size)]
    named = set(clip.rank(sets)[0][0].split(" and ")) | {"landscape", "some object"}
    found = []

    def branch(category, words):
        best = clip.rank(TREE[category])[0]
        found.append(best)
        found.extend(clip.rank(encyclopedia[category][best[0]][:100])[:words])
        return best[0]

    scenery = branch("scenery", 3)
    if "people" in named:
        persons = ["man", "woman", "boy", "girl", "old man", "old woman"]
        several = ["men", "women", "boys", "girls", "old men", "old women"]
        persons += [f"{count} {who}" for count in ("two", "three", "four") for who in several]
        persons += ["two people", "three people", "four people", "a crowd of people"]
        found.extend(clip.rank(persons)[:1])
        found.extend(clip.rank(encyclopedia["human"])[:1])
        clothes = [f"wearing {colour} {piece}" for colour in COLOURS for piece in ("shirt", "suit", "cloth", "jacket")]
        found.extend(clip.rank(clothes, "{}")[:1])
    if "animal" in named:
        branch("animal", 1)
    if "plant" in named:
        branch("plant", 3)
    branch("object", 3)
    found.extend(clip.rank(TREE["time"], "picture during {}.")[:1])
    if scenery != "indoor":
        found.extend(clip.rank(TREE["weather"])[:1])
    if "people" in named or "animal" in named:
        doing = clip.rank(TREE["activity"], "activity is {}.")[0][0]
        found.extend(clip.rank(encyclopedia["activity"][doing][:100], "activity is {}.")[:1])
    return found


def select(clip, labels, encyclopedia):
    both = (hierarchy(clip, encyclopedia) if encyclopedia else []) + top_labels(clip, labels)
    union = {}
    for word, share in both:
        union.setdefault(word, share)
    return sorted(union.items(), key=lambda one: -clip.similarity(one[0]))


def random_case(words, empty):
    """Labels, and an encyclopedia of them in which a share of the leaves is empty."""
    labels, encyclopedia = [], {}
    for category, subs in TREE.items():
        encyclopedia[category] = {sub: [] for sub in subs} if subs else []
    leaves = [leaf for value in encyclopedia.values() for leaf in (value.values() if isinstance(value, dict) else [value])]
    open_leaves = [leaf for leaf in leaves if random.random() >= empty] or leaves[:1]
    for number in range(words):
        word = f"{random.choice('abcdefgh')}{number}"
        labels.append([word, random.choice(["NOUN", "NOUN", "ADJ", "ADV", "VERB", "NUM"]), words - number])
        random.choice(open_leaves).append(word)
    return labels, encyclopedia


def main():
    output = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "fixtures/keywords_selection.json"
    random.seed(1)
    cases = []
    for words, empty, ties, with_hierarchy, pictures in [
        (1800, 0.0, False, True, 40), (150, 0.5, False, True, 60), (300, 0.2, True, True, 60), (40, 0.9, True, True, 30),
        (1500, 0.0, False, False, 10), (200, 0.0, True, False, 10),
    ]:
        labels, encyclopedia = random_case(words, empty)
        expected = []
        for number in range(pictures):
            clip = Clip(f"picture {number}", ties)
            expected.append([[word, round(share, 9)]
                             for word, share in select(clip, labels, encyclopedia if with_hierarchy else None)])
        cases.append({"labels": labels, "encyclopedia": encyclopedia, "ties": ties, "hierarchy": with_hierarchy,
                      "expected": expected})
        print(f"{pictures} pictures, {sum(map(len, expected)) / pictures:.1f} keywords each")
    output.write_text(json.dumps(cases, separators=(",", ":")))


if __name__ == "__main__":
    main()
