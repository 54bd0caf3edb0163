"""Writes keywords selected by the code path of SBG.ipynb from random embeddings.

Usage: keywords_goldens.py [FOLDER]    (default: tests/fixtures)

Writes keywords_selection.json and, where ../shared/sbg has the paper's labels and encyclopedia, keywords_published.json. Prints
how many selections differ under the rules of capsmith 0.1.0, which restated the notebook.

An embedding is the first 16 bytes of a SHA-256 as signed numbers, so that both sides have the same; a picture is the sum of some
texts' embeddings, which steers it to them. A similarity is 0.2 + spread * cosine, rounded to float32. In a case with ties only a
text's first letters count. The notebook keeps no probability of a keyword; here it is that of the choice that it was first in.
"""

import hashlib
import json
import random
import sys
from itertools import combinations
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


def vector(text):
    values = np.frombuffer(hashlib.sha256(text.encode()).digest()[:16], dtype=np.int8)
    return values.astype(np.int64)


class Clip:
    """Similarities of one picture, in place of CLIP."""

    def __init__(self, picture, ties, spread):
        self.picture, self.ties, self.spread = sum(vector(text) for text in picture), ties, spread

    def similarity(self, text):
        other = vector(text[:12] if self.ties else text)
        norms = np.sqrt(np.float64(self.picture @ self.picture)) * np.sqrt(np.float64(other @ other))
        return np.float32(0.2 + self.spread * (np.float64(self.picture @ other) / norms))

    def probabilities(self, texts):
        """Returns {text: probability}, the most probable first; a repeated text is one key."""
        scaled = 100 * np.array([self.similarity(text) for text in texts], dtype=np.float64)
        powers = np.exp(scaled - scaled.max()) if len(texts) else scaled
        shares = (powers / powers.sum()).tolist()
        found = {}
        for place, text in enumerate(texts):
            found[text] = shares[place]
        return dict(sorted(found.items(), key=lambda item: item[1], reverse=True))


def prime_texts():
    primes = ["landscape", "people", "animal", "plant", "some object"]
    texts = ["picture of " + prime + "." for prime in primes]
    texts += ["picture of " + a + " and " + b + "." for a, b in combinations(primes, 2)]
    texts += ["picture of " + a + " and " + b + " and " + c + "." for a, b, c in combinations(primes, 3)]
    return texts


def secondary_texts(encyclopedia, mode):
    if mode == "human":
        one = ["a man", "a woman", "a boy", "a girl", "an old man", "an old woman"]
        many = ["men", "women", "boys", "girls", "old men", "old women"]
        counts = ["two", "three", "four"]
        texts = [f"picture of {who}." for who in one]
        texts += [f"picture of {count} {who}." for count in counts for who in many]
        texts += [f"picture of {count} people." for count in counts]
        return texts + ["picture of a crowd of people."]
    if mode == "occupation":
        return [f"picture of {word}." for word in encyclopedia["human"]]
    if mode == "object":
        return [f"picture of {name}." for name in encyclopedia["object"].keys() if name != "clothing and fashion"]
    if mode == "activity":
        return [f"activity is {name}." for name in encyclopedia["activity"].keys()]
    if mode in ("time", "weather"):
        return [f"picture during {name}." for name in encyclopedia[mode].keys()]
    if mode == "clothing":
        colours = ["red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "white", "black"]
        return [f"wearing {colour} {piece}." for piece in ("shirt", "suit", "cloth", "jacket") for colour in colours]
    return [f"picture of {name}." for name in encyclopedia[mode].keys()]


def tertiary_texts(encyclopedia, mode, sub_mode, is_verb=False):
    form = "activity is {}." if is_verb else "picture of {}."
    return [form.format(word) for word in encyclopedia[mode][sub_mode]]


def bare(text, form):
    """Returns the word in a text: the part after the form, without the full stop."""
    return text.split(form)[1].strip()[:-1]


def walk(clip, encyclopedia):
    """Runs cell 50: returns keywords as they are found, possibly repeated, and their probabilities."""
    main_list, shares = [], {}

    def keep(found, place, form):
        word = bare(list(found)[place], form)
        main_list.append(word)
        shares.setdefault(word, found[list(found)[place]])
        return word

    prime = list(clip.probabilities(prime_texts()))[0] + " landscape some object"
    category = {"landscape": "scenery", "people": "human", "animal": "animal", "plant": "plant", "some object": "object"}
    for subject in ["landscape", "people", "animal", "plant", "some object"]:
        if subject not in prime:
            continue
        found = clip.probabilities(secondary_texts(encyclopedia, category[subject]))
        if subject == "people":
            keep(found, 0, "picture of")
            occupations = secondary_texts(encyclopedia, "occupation")
            if occupations:  # the notebook would end here without any
                keep(clip.probabilities(occupations), 0, "picture of")
            keep(clip.probabilities(secondary_texts(encyclopedia, "clothing")), 0, "wearing")
            continue
        sub_mode = keep(found, 0, "picture of")
        texts = tertiary_texts(encyclopedia, category[subject], sub_mode)[:100]
        if texts:  # or else an exception, which the notebook passes over
            found = clip.probabilities(texts)
            for place in range(min(1 if subject == "animal" else 3, len(found))):
                keep(found, place, "picture of")

    for subject in ["time", "weather", "activity"]:
        if subject == "weather" and "indoor" in main_list:
            continue
        if subject == "activity" and "people" not in prime and "animal" not in prime:
            continue
        found = clip.probabilities(secondary_texts(encyclopedia, subject))
        if subject != "activity":
            keep(found, 0, "picture during")
            continue
        texts = tertiary_texts(encyclopedia, subject, bare(list(found)[0], "activity is"), True)[:100]
        if texts:
            keep(clip.probabilities(texts), 0, "activity is")
    return main_list, shares


def compared_labels(labels):
    return [word for word, part, _ in labels if part in ["NOUN", "ADV", "ADJ"]][:1000]


def top_half(found):
    """Runs cell 53."""
    current, words = 0, []
    for word, share in found.items():
        current += share
        words.append(word)
        if current > 0.5:
            break
    return words


def select(clip, labels, encyclopedia):
    """Runs cell 54: returns the words of the prompt in order, each with its probability."""
    by_label = clip.probabilities(compared_labels(labels))
    main_list, shares = walk(clip, encyclopedia) if encyclopedia else ([], {})
    words = main_list + top_half(by_label)
    return [(word, shares.get(word, by_label.get(word))) for word in clip.probabilities(words)]


def restated(clip, labels, encyclopedia):
    """Returns the words by the rules of capsmith 0.1.0, which restated the notebook."""
    def best(names, form="picture of {}."):
        return sorted(names, key=lambda name: -clip.similarity(form.format(name)))

    def branch(category, words):
        name = best(TREE[category])[0]
        return [name] + best(encyclopedia[category][name][:100])[:words]

    top = top_half(clip.probabilities(compared_labels(labels)))
    if not encyclopedia:
        return list(clip.probabilities(top))
    prime = bare(best(prime_texts(), "{}")[0], "picture of").split(" and ")
    found = branch("scenery", 3)
    indoor = found[0] == "indoor"
    if "people" in prime:
        one = ["man", "woman", "boy", "girl", "old man", "old woman"]
        many = ["men", "women", "boys", "girls", "old men", "old women"]
        counts = ("two", "three", "four")
        people = one + [f"{count} {who}" for count in counts for who in many] + [f"{count} people" for count in counts]
        found += best(people + ["a crowd of people"])[:1] + best(encyclopedia["human"])[:1]
        colours = ["red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white", "gray"]
        found += best([f"wearing {colour} {piece}" for colour in colours for piece in ("shirt", "suit", "cloth", "jacket")], "{}")[:1]
    if "animal" in prime:
        found += branch("animal", 1)
    if "plant" in prime:
        found += branch("plant", 3)
    found += branch("object", 3) + best(TREE["time"], "picture during {}.")[:1]
    if not indoor:
        found += best(TREE["weather"])[:1]
    if "people" in prime or "animal" in prime:
        doing = best(TREE["activity"], "activity is {}.")[0]
        found += best(encyclopedia["activity"][doing][:100], "activity is {}.")[:1]
    return list(clip.probabilities(found + top))


def random_case(words, empty):
    """Returns labels, and an encyclopedia of them with a share of empty leaves."""
    labels, encyclopedia = [], {}
    for category, subs in TREE.items():
        encyclopedia[category] = {sub: [] for sub in subs} if subs else []
    leaves = [leaf for value in encyclopedia.values() for leaf in (value.values() if isinstance(value, dict) else [value])]
    open_leaves = [leaf for leaf in leaves if random.random() >= empty] or leaves[:1]
    # The notebook's first building, and words that are names of categories too.
    encyclopedia["scenery"]["city landscape"].append("building")
    for number in range(words):
        word = f"{random.choice('abcdefgh')}{number}"
        labels.append([word, random.choice(["NOUN", "NOUN", "ADJ", "ADV", "VERB", "NUM"]), words - number])
        random.choice(open_leaves).append(word)
    for word, category, sub in [("building", "scenery", "city landscape"), ("indoor", "object", "furniture"),
                                ("indoor", "object", "tool"), ("sky", "plant", "tree"), ("red shirt", "object", "device")]:
        labels.insert(random.randrange(len(labels)), [word, "NOUN", 1])
        encyclopedia[category][sub].append(word)
    return labels, encyclopedia


def pictures_of(count):
    """Returns random pictures, and pictures steered to subjects, indoors and outdoors."""
    subjects = ["people", "animal", "people and animal", "landscape", "plant", "some object", "people and plant and some object"]
    places = ["picture of indoor.", "picture of beach.", "picture of city landscape.", "picture of tool.", "indoor"]
    pictures = []
    for number in range(count):
        texts = [f"picture {number}"]
        if number % 4:
            texts.append(f"picture of {subjects[number % len(subjects)]}.")
        if number % 4 > 1:
            texts.append(places[number % len(places)])
        pictures.append(texts)
    return pictures


def run(case, pictures, labels, encyclopedia):
    """Adds pictures and their keywords to a case; returns how many differ by the rules of capsmith 0.1.0."""
    different = 0
    case["pictures"], case["expected"] = pictures, []
    for picture in pictures:
        clip = Clip(picture, case["ties"], case["spread"])
        found = select(clip, labels, encyclopedia)
        case["expected"].append([[word, float(f"{share:.12g}")] for word, share in found])
        different += restated(clip, labels, encyclopedia) != [word for word, _ in found]
    return different


def main():
    fixtures = Path(__file__).parents[1] / "fixtures"
    output = Path(sys.argv[1]) if len(sys.argv) > 1 else fixtures
    random.seed(1)
    cases, count, different = [], 0, 0
    for words, empty, ties, with_hierarchy, pictures in [
        (1700, 0.0, False, True, 70), (150, 0.5, False, True, 70), (300, 0.2, True, True, 50), (40, 0.9, True, True, 30),
        (700, 0.9, False, True, 30), (1500, 0.0, False, False, 10), (200, 0.0, True, False, 10),
    ]:
        labels, encyclopedia = random_case(words, empty)
        case = {"ties": ties, "spread": 0.1, "labels": labels, "encyclopedia": encyclopedia, "hierarchy": with_hierarchy}
        here = run(case, pictures_of(pictures), labels, encyclopedia if with_hierarchy else None)
        print(f"{pictures} pictures, {sum(map(len, case['expected'])) / pictures:.1f} keywords each; "
              f"by the restated rules {here} have others")
        cases.append(case)
        count, different = count + pictures, different + here
    print(f"in all {different} of {count} selections differ")
    (output / "keywords_selection.json").write_text(json.dumps(cases, separators=(",", ":")) + "\n")

    shared = Path(__file__).parents[2] / "../shared/sbg"
    if not shared.exists():
        print(f"{shared} is not here: keywords_published.json is left as it is")
        return
    labels, encyclopedia = (json.loads((shared / f"{name}.json").read_text()) for name in ("all_labels", "encyclopedia"))
    case = {"ties": False, "spread": 0.12}
    here = run(case, pictures_of(240), labels, encyclopedia)
    print(f"the paper's labels and encyclopedia: {here} of 240 selections differ")
    (output / "keywords_published.json").write_text(json.dumps(case, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
