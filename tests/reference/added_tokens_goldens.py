"""Writes tests/fixtures/words/added_tokens.json: tokenizer folders with separate files of added tokens, and the
ids that the fast tokenizers of transformers 4.57.6 give to texts with them.

    python tests/reference/added_tokens_goldens.py

The vocabularies are those of words_fixtures.py; the output is the same at every run.
"""

import json
import shutil
import tempfile
from pathlib import Path

from transformers import CLIPTokenizerFast, GPT2TokenizerFast

WORDS = Path(__file__).parents[1] / "fixtures" / "words"

TEXTS = [
    "a <pad>",
    "<pad><pad> a dog<pad>.",
    "a dog <sep> runs<sep>on the grass <|endoftext|>",
    "a  <sep>  dog <SEP>",
    "<img_1> and <img_2>",
]

PAIR = ["vocab.json", "merges.txt"]


def token(content, **flags):
    return {"content": content, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False,
            "special": True, **flags}


def cases(size, start):
    added = {"<pad>": size, "<sep>": size + 1}
    special = {"bos_token": start, "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    decoder = {str(size): token("<pad>"), str(size + 1): token("<sep>", lstrip=True, rstrip=True),
               str(size + 2): token("<img_1>", special=False, normalized=True)}
    yield PAIR, {"added_tokens.json": {"<pad>": size}}
    yield PAIR, {"added_tokens.json": added, "special_tokens_map.json": {**special, "pad_token": "<pad>"}}
    yield PAIR, {"added_tokens.json": added,
                 "special_tokens_map.json": {**special, "pad_token": token("<pad>"),
                                             "additional_special_tokens": ["<sep>"]}}
    yield PAIR, {"tokenizer_config.json": {"added_tokens_decoder": decoder, "pad_token": "<pad>"}}


def decoded(tokenizer, size):
    rows = [[size, size], [5, size, 6, size + 1], tokenizer.encode("a dog<pad> runs", add_special_tokens=False)]
    return [(row, tokenizer.decode(row, clean_up_tokenization_spaces=False)) for row in rows]


def golden(model, source, kept, files):
    kind = {"gpt2": GPT2TokenizerFast, "clip": CLIPTokenizerFast}[model]
    with tempfile.TemporaryDirectory() as folder:
        for name in kept:
            shutil.copy(WORDS / source / name, folder)
        for name, contents in files.items():
            (Path(folder) / name).write_text(json.dumps(contents))
        tokenizer = kind.from_pretrained(folder)
    size = tokenizer.vocab_size
    return {
        "model": source,
        "kept": kept,
        "files": files,
        "vocab_size": len(tokenizer),
        "ids": [(text, tokenizer.encode(text)) for text in TEXTS],
        "decoded": decoded(tokenizer, size) if model == "gpt2" else [],
    }


def main():
    sizes = {name: len(json.loads((WORDS / name / "vocab.json").read_text())) for name in ("gpt2", "clip_slow")}
    goldens = [golden("gpt2", "gpt2", kept, files) for kept, files in cases(sizes["gpt2"], "<|endoftext|>")]
    decoder = {str(sizes["gpt2"]): token("<pad>")}
    goldens.append(golden("gpt2", "gpt2", ["tokenizer.json"],
                          {"tokenizer_config.json": {"added_tokens_decoder": decoder}}))
    clip = list(cases(sizes["clip_slow"], "<|startoftext|>"))
    goldens += [golden("clip", "clip_slow", kept, files) for kept, files in (clip[0], clip[2])]
    lines = ",\n".join(json.dumps(case) for case in goldens)
    (WORDS / "added_tokens.json").write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
