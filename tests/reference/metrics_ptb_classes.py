"""Writes crates/caption-metrics/src/ptb/classes.txt by asking the tokenizer of CoreNLP 3.4.1.

    python tests/reference/metrics_ptb_classes.py        (needs Java; from the repository root)

Every character of the basic plane is put into the same few lines; the tokens show
whether it is a letter, a digit, a mark that is part of words, or a symbol. Characters with a class
of their own are listed in classes.rs instead.
"""

import pathlib
import subprocess
import tempfile
import textwrap
import unicodedata

import pycocoevalcap.tokenizer.ptbtokenizer as ptb

OUT = pathlib.Path("crates/caption-metrics/src/ptb/classes.txt")
JAR = pathlib.Path(ptb.__file__).parent / ptb.STANFORD_CORENLP_3_4_1_JAR
COMMAND = ["java", "-cp", str(JAR), "edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase"]
LINE_BREAKS = {0x85, 0x2028, 0x2029}
LINES = ["x {} y", "a{}b", "5{}5", "{}{}", "a-{} b"]
OF_THEIR_OWN = {0x2044, 0x207A, 0x207B, 0x208A, 0x208B, 0x3001, *range(0x2155, 0x215F)}


def tokens(characters):
    """Returns the tokens of each character's lines, with the character as a dot."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        for line in LINES:
            file.writelines(line.replace("{}", chr(c)) + "\n" for c in characters)
        file.flush()
        done = subprocess.run([*COMMAND, file.name], capture_output=True, check=True)
    lines = done.stdout.decode("utf-8").split("\n")
    found = {}
    for index, c in enumerate(characters):
        own = [lines[k * len(characters) + index] for k in range(len(LINES))]
        small = chr(c).lower().replace("\u03c2", "\u03c3")
        own = [line.replace("\u03c2", "\u03c3") for line in own]
        found[c] = tuple(line.replace(small, "\u00b7").replace(chr(c), "\u00b7") for line in own)
    return found


def kind(c, lines):
    alone, inside, between, twice, after = lines
    if (alone, inside) == ("x \u00b7 y", "a\u00b7b"):
        if between == "5\u00b75":
            return "digit" if unicodedata.category(chr(c)) == "Nd" else "letter"
        return "mark" if between == "5 \u00b75" else None
    standing = ("x \u00b7 y", "a \u00b7 b", "5 \u00b7 5", "\u00b7 \u00b7", "a - \u00b7 b")
    return "symbol" if lines == standing and c not in OF_THEIR_OWN else None


def ranges(characters):
    runs = []
    for c in sorted(characters):
        if runs and runs[-1][1] == c - 1:
            runs[-1][1] = c
        else:
            runs.append([c, c])
    return " ".join(f"{a:04X}" if a == b else f"{a:04X}-{b:04X}" for a, b in runs)


def main():
    characters = [c for c in range(0x80, 0x10000) if not 0xD800 <= c < 0xE000 and c not in LINE_BREAKS]
    kinds = {"letter": [], "digit": [], "mark": [], "symbol": []}
    for c, lines in tokens(characters).items():
        if name := kind(c, lines):
            kinds[name].append(c)
    with OUT.open("w", encoding="utf-8") as file:
        for name, members in kinds.items():
            wrapped = textwrap.wrap(ranges(members), 96, break_on_hyphens=False)
            file.write("\n  ".join([name, *wrapped]) + "\n")


if __name__ == "__main__":
    main()
