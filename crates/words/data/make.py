"""Makes the two files of word knowledge in this folder from their published sources.

Usage: make.py WORDNET HARPER_BRILL

WORDNET is WordNet 3.0's folder `dict`, such as /usr/share/wordnet of Debian's package wordnet-base; HARPER_BRILL is the
unpacked crate harper-brill 3.0.0 (`cargo fetch` leaves it in the registry). The files are readable text, compressed.
"""

import gzip
import json
import sys
from collections import Counter
from pathlib import Path

PARTS = {"n": "noun", "v": "verb", "a": "adj", "r": "adv"}


def compress(path, text):
    with open(path, "wb") as file, gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=9, mtime=0) as packed:
        packed.write(text.encode())
    print(path.name, path.stat().st_size, "bytes")


def wordnet(folder):
    lines, numbers, hypernyms = [], {}, {}
    for part in "nv":
        for line in (folder / f"data.{PARTS[part]}").read_text("latin-1").splitlines():
            if line.startswith("  "):
                continue
            fields = line.split(" | ")[0].split()
            place = 4 + 2 * int(fields[3], 16)
            pointers = fields[place + 1:place + 1 + 4 * int(fields[place])]
            above = [pointers[at + 1] for at in range(0, len(pointers), 4) if pointers[at] in ("@", "@i")]
            hypernyms[part, fields[0]] = above
    for part in "nv":
        offsets = [offset for kind, offset in hypernyms if kind == part]
        numbers.update({(part, offset): number for number, offset in enumerate(offsets)})
        lines.append(f"hypernyms {part} {len(offsets)}")
        lines += [" ".join(str(numbers[part, above]) for above in hypernyms[part, offset]) for offset in offsets]
    tagged = Counter()
    for line in (folder / "cntlist.rev").read_text("latin-1").splitlines():
        key, _, count = line.split()
        word, sense = key.split("%")
        tagged[word, "nvara"[int(sense[0]) - 1]] += int(count)
    words, more = {}, {}
    for part, name in PARTS.items():
        for line in (folder / f"index.{name}").read_text("latin-1").splitlines():
            fields = line.split()
            if line.startswith("  ") or "_" in fields[0]:
                continue
            senses = fields[-int(fields[2]):]
            # Adjectives and adverbs have no hypernyms; their synsets only tell synonyms apart.
            ids = [numbers[part, sense] if part in "nv" else more.setdefault((part, sense), len(more)) for sense in senses]
            words.setdefault(fields[0], []).append(f"{part} {tagged[fields[0], part]} {','.join(map(str, ids))}")
    lines.append(f"words {len(words)}")
    lines += [f"{word} {' '.join(parts)}" for word, parts in sorted(words.items())]
    for part, name in PARTS.items():
        rows = [line.split() for line in (folder / f"{name}.exc").read_text("latin-1").splitlines()]
        rows = [(row[0], row[1]) for row in rows if "_" not in row[0] + row[1]]
        lines.append(f"exceptions {part} {len(rows)}")
        lines += [" ".join(row) for row in rows]
    return "\n".join(lines) + "\n"


def criterion(value):
    (name, fields), = value.items()
    if name == "Combined":
        return f"{criterion(fields['a'])} & {criterion(fields['b'])}"
    if name == "WordIs":
        return f"word {fields['relative']} {fields['word']}"
    if name == "WordIsTaggedWith":
        return f"tag {fields['relative']} {fields['is_tagged']}"
    if name == "AnyWordIsTaggedWith":
        return f"any {fields['max_relative']} {fields['is_tagged']}"
    if name == "SandwichTaggedWith":
        return f"between {fields['prev_word_tagged']} {fields['post_word_tagged']}"
    raise ValueError(name)


def tagger(folder):
    model = json.loads((folder / "trained_tagger_model.json").read_text())
    mapping, patches = model["base"]["mapping"], model["patches"]
    lines = [f"words {len(mapping)}"] + [f"{tag} {word}" for word, tag in sorted(mapping.items())]
    lines += [f"patches {len(patches)}"]
    lines += [f"{patch['from']} {patch['to']} {criterion(patch['criteria'])}" for patch in patches]
    return "\n".join(lines) + "\n"


def main():
    here = Path(__file__).parent
    compress(here / "wordnet-3.0.txt.gz", wordnet(Path(sys.argv[1])))
    compress(here / "harper-brill-3.0.0.txt.gz", tagger(Path(sys.argv[2])))


if __name__ == "__main__":
    main()
