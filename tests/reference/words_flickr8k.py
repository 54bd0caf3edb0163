"""Writes digests of a transformers tokenizer trained on Flickr8k (train_new_from_iterator), for crates/words/tests/tokenizers.rs.

Usage: python words_flickr8k.py ../../../shared/flickr8k   (a folder with Kaggle's captions.txt)

The captions cannot be redistributed, so only SHA-256 digests are written to ../fixtures/words/flickr8k.json:
of merges.txt's lines but the first, each ended by a newline, and of the ids of all training captions, lower-cased,
as little-endian 32-bit numbers.
"""

import csv
import hashlib
import json
import sys
from pathlib import Path

from transformers import GPT2TokenizerFast

TEST_ROWS, WORDS = 5000, 50257


def main():
    fixtures = Path(__file__).resolve().parent.parent / "fixtures" / "words"
    with (Path(sys.argv[1]) / "captions.txt").open(newline="") as file:
        captions = [row["caption"].lower() for row in csv.DictReader(file)][:-TEST_ROWS]
    base = GPT2TokenizerFast.from_pretrained(fixtures / "gpt2")
    tokenizer = base.train_new_from_iterator(captions, WORDS)
    merges = [merge if isinstance(merge, str) else " ".join(merge)
              for merge in json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]]
    ids = [token for row in tokenizer(captions)["input_ids"] for token in row]
    result = {
        "captions": len(captions),
        "tokens": len(tokenizer),
        "merges_sha256": hashlib.sha256("".join(merge + "\n" for merge in merges).encode()).hexdigest(),
        "ids": len(ids),
        "ids_sha256": hashlib.sha256(b"".join(token.to_bytes(4, "little") for token in ids)).hexdigest(),
    }
    print(result)
    (fixtures / "flickr8k.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
