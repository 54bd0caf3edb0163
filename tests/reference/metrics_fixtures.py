"""Writes tests/fixtures/metrics: small corpora and lines with the results of pycocoevalcap 1.2.

    python tests/reference/metrics_fixtures.py        (needs Java; from the repository root)

The captions were written for this purpose.
"""

import json
import pathlib

from metrics_pycocoevalcap import scores, tokenized

OUT = pathlib.Path(__file__).parents[1] / "fixtures" / "metrics"

EVERYDAY = {
    "1": (
        "a dog runs across the wet sand",
        ["A dog is running on the beach .", "The wet dog runs over sand .", "A brown dog sprints across the shore"],
    ),
    "2": (
        "two men are playing chess in a park",
        ["Two old men play chess outdoors .", "A couple of gentlemen are playing a board game in the park ."],
    ),
    "3": (
        "a girl in a red t-shirt is jumping",
        ["A girl's red shirt flies up as she jumps .", "The girl jumps in a red t-shirt .", "Girl , jumping !",
         "A child in red leaps into the air"],
    ),
    "4": (
        "the man is in front of a house",
        ["the man is before a house", "A man stands before his house ."],
    ),
    "5": (
        "people people people people",
        ["Several people wait at a bus stop .", "A group of people is waiting for the bus .",
         "Commuters queue at the stop"],
    ),
    "6": (
        "a boy breathes",
        ["An entity breathing .", "boys surf", "A young male surfing"],
    ),
    "7": (
        "Two women, one with a hat, don't look at the U.S. flag.",
        ["Two women (one wears a hat) aren't looking at the American flag .",
         "The women do not look at the u.s. flag", 'Women with a hat and a "flag"'],
    ),
    "8": (
        "a snow covered mountain with a great deal of snow",
        ["A mountain with a lot of snow", "Snow covers the mountains .", "A snowy peak ."],
    ),
}

ODD = {
    "empty": ("", ["a dog", "the dog runs"]),
    "empty reference": ("a dog", ["", "a dog in the snow"]),
    "spaces": ("  a  dog   runs ", ["a dog runs", " a dog  runs"]),
    "other spaces": ("a\u00a0dog\u2003runs\u1680fast", ["a dog runs\u00a0fast", "a\tdog runs fast"]),
    "separators": ("a dog\u001cruns\u0085on", ["a dog runs on", "a dog\u001druns on"]),
    "pipes": ("a ||| dog ||||", ["a dog", "the cat ||| a dog"]),
    "emoji": ("a dog \U0001f436 and a caf\u00e9", ["A DOG and a CAF\u00c9", "\u72ac and caf\u00e9"]),
    "dots": ("wait... what... DOTMULTI no.. mr. smith e.g. this.", ["wait ... what ?", "mr . smith , e.g. this"]),
    "hash": ("an", ["c0"]),
    "long": ("a dog " * 60, ["a dog " * 40, "the dog"]),
    "double": ("dog dog dog dog", ["dog dog", "dog dog dog dog dog"]),
}

LINES = [
    "A man can't find his dog's ball, so he's sad.",
    "The '90s band plays rock 'n' roll on Main St.",
    "St. Mary's church at 12:30 p.m. on Jan. 5th, 1999",
    'He said "hello" (twice) - then left...',
    "A 20-year-old X-ray of a T-shirt w/ 1 1/2 sleeves",
    "Cannot and gonna, 'tis what y'all wanna",
    "AT&T &amp; R&B; S&P-500, C++ and F#",
    "foo@bar.com http://a.com/b?c=d. www.foo.com photo.jpg.",
    "$5.00, \u00a35, \u20ac10 and 5\u00a2 = 50% #1",
    "\u201cCurly\u201d quotes \u2018here\u2019 and \u00abthere\u00bb \u2014 dashes \u2013 too\u2026",
    "<b>bold</b> :) ;-) ^_^ [x] {y} <UNK>",
    "call 555-1234 or (555) 123-4567 or 22 333 4444",
    "so\u00adft hyphen, na\u00efve caf\u00e9, \u72ac\u3001\u732b and \U0001f436\ufe0f",
    "\u00bd cup, \u2153 cup, x\u00b2, 90\u00b0, 5 \u2044 6 and 1\u20442",
    "the team of plan b.",
    "The next caption starts with a capital",
    "see fig.",
    "3 dogs on Inc.",
    "A firm called Inc.",
    "",
    "  ",
    "plan c.",
    "",
    "The end?! Yes!! ... -- --- ----- _ __ ***",
    "a\u0085b next line, U+0085",
    "n.y. and N.Y. or Ph.D. vs. etc.",
    "o'clock O'Neill ma'am rock'n'roll hawai'i",
    "and/or b/w 24/7 red/white/blue a/b/c/d",
    "1,000,000 -5 +5 .5 3rd 2x4 5'10\"",
    "dog.a dog.A end.,x wow!x what?no a..b a...b",
    "class of '12",
]


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    corpora = []
    for name, corpus in [
        ("everyday", EVERYDAY),
        ("odd", ODD),
        ("a single image", {"7": EVERYDAY["7"]}),
    ]:
        references = {image: list(captions) for image, (_, captions) in corpus.items()}
        predictions = {image: caption for image, (caption, _) in corpus.items()}
        entry = {"name": name, "references": references, "predictions": predictions}
        for tokenizer in ["none", "ptb"]:
            entry[tokenizer] = scores(references, predictions, tokenizer)
        corpora.append(entry)
    write("corpora.json", corpora)
    tokens = tokenized({"lines": LINES})["lines"]
    write("lines.json", {"in": LINES, "out": tokens})


def write(name, value):
    text = json.dumps(value, indent=1, ensure_ascii=False)
    (OUT / name).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
