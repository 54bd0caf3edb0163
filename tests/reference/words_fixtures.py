"""Writes tests/fixtures/words: small GPT-2 and CLIP tokenizers saved by transformers, and the ids that its fast
tokenizers give 2,000 sentences. Run from anywhere: python tests/reference/words_fixtures.py"""

import json
import shutil
import tempfile
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTokenizer, CLIPTokenizerFast, GPT2TokenizerFast
from transformers.models.clip.tokenization_clip import bytes_to_unicode

from words_captions import captions

HERE = Path(__file__).resolve().parent.parent / "fixtures" / "words"
BYTES = list(bytes_to_unicode().values())
PATTERN = r"""'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""


def dump(path, value):
    path.write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")


def gpt2(texts):
    """Trains GPT-2's pipeline on every other sentence, by transformers' own train_new_from_iterator."""
    with tempfile.TemporaryDirectory() as scratch:
        dump(Path(scratch) / "vocab.json", {token: i for i, token in enumerate(BYTES + ["<|endoftext|>"])})
        (Path(scratch) / "merges.txt").write_text("#version: 0.2\n")
        untrained = GPT2TokenizerFast.from_pretrained(scratch)
    tokenizer = untrained.train_new_from_iterator(texts[::2], vocab_size=1200, show_progress=False)
    tokenizer.save_pretrained(HERE / "gpt2")
    ids = tokenizer(texts).input_ids
    vocab = tokenizer.get_vocab()
    stops = sorted(id for id in vocab.values() if "." in tokenizer.decode([id]))
    dump(HERE / "gpt2_stop_tokens.json", stops)
    emoji = tokenizer("a dog 🦩 runs").input_ids
    rows = [emoji[:n] for n in range(len(emoji) + 1)] + [tokenizer("a <|endoftext|> b ,  c").input_ids, [300, 5, 900]]
    dump(HERE / "gpt2_decode.json", [[row, tokenizer.decode(row)] for row in rows])
    return ids


def clip(texts):
    """Saves a BPE of CLIP's kind in the form of OpenAI's folders, by the slow and by the fast tokenizer."""
    trained = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    trained.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    trained.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(PATTERN), "removed", invert=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=1000, end_of_word_suffix="</w>", show_progress=False, initial_alphabet=BYTES
    )
    trained.train_from_iterator(texts[::2], trainer)
    merges = json.loads(trained.to_str())["model"]["merges"]
    tokens = BYTES + [byte + "</w>" for byte in BYTES] + ["".join(pair) for pair in merges]
    tokens = list(dict.fromkeys(tokens)) + ["<|startoftext|>", "<|endoftext|>"]
    with tempfile.TemporaryDirectory() as scratch:
        vocab_file, merges_file = Path(scratch) / "vocab.json", Path(scratch) / "merges.txt"
        dump(vocab_file, {token: i for i, token in enumerate(tokens)})
        merges_file.write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges), encoding="utf-8")
        slow = CLIPTokenizer(str(vocab_file), str(merges_file), model_max_length=77)
        slow.save_pretrained(HERE / "clip_slow")
    fast = CLIPTokenizerFast.from_pretrained(HERE / "clip_slow")
    fast.save_pretrained(HERE / "clip_fast")
    batch = fast(texts[3:11], padding=True, truncation=True)
    dump(HERE / "clip_padded.json", {"ids": batch.input_ids, "attention_mask": batch.attention_mask})
    ids = fast(texts, truncation=True).input_ids
    slow_ids = slow(texts, truncation=True).input_ids
    differ = [text for text, a, b in zip(texts, ids, slow_ids) if a != b]
    print(f"CLIP: the slow tokenizer gives {len(differ)} of {len(texts)} texts other ids: {differ}")
    print(f"CLIP: {sum(len(row) == 77 for row in ids)} texts fill the context")
    return ids


def main():
    shutil.rmtree(HERE, ignore_errors=True)
    HERE.mkdir(parents=True)
    texts = captions()
    assert len(texts) == 2000
    dump(HERE / "captions.json", texts)
    dump(HERE / "gpt2_ids.json", gpt2(texts))
    dump(HERE / "clip_ids.json", clip(texts))


main()
