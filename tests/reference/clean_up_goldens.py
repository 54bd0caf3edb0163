"""Writes texts decoded with transformers' clean-up of spaces, by GPT-2's fast and slow tokenizers, which must agree.

Usage: clean_up_goldens.py    (writes tests/fixtures/words/gpt2_clean_up.json: [ids, text with the clean-up])
"""

import json
import random
from pathlib import Path

from transformers import GPT2Tokenizer, GPT2TokenizerFast

PIECES = [" .", ".", " ?", " !", " ,", ",", " '", "'", " ' ", " n't", "n't", " 'm", " 's", "'s", " 've", " 're", " 't", " 'll",
          " ", "  ", "\n", " a", " dog", " do", " I", " we", " man", " ``", " \"", " -", " ###", "..", " ...", "!", "<|endoftext|>"]
WHOLE = [
    "", " ", " .", "a dog runs .", "a dog , a cat and a man 's hat . more", "the girls ' dog is n't here !", "i 'm , we 've , they 're ?",
    "a ' b ' c", "a ' . b", "a '  b", "rock ' n ' roll .", "st . bernard", " , . ! ?", "a  . b", "a   ,b", "it ' s the dog 's", "do n'the",
    "an 's 's  's", " ' 's", " n't n't", "1 , 000 . 5", "caf\u00e9 . \u2019s \u3000.", "\n .\t,", "a man's dog isn't .", "\u00a0. \u00a0,",
]


def main():
    root = Path(__file__).parents[1] / "fixtures/words"
    fast, slow = (kind.from_pretrained(root / "gpt2") for kind in (GPT2TokenizerFast, GPT2Tokenizer))
    random.seed(15)
    texts = WHOLE + ["".join(random.choices(PIECES, k=random.randint(2, 12))) for _ in range(300)]
    rows = [(fast.encode(text), text) for text in texts]
    # Any ids, as a model that has learned little writes them; some cut characters in two.
    rows += [(random.choices(range(fast.vocab_size), k=random.randint(1, 20)), None) for _ in range(100)]
    out, changed = [], 0
    for ids, text in rows:
        cleaned = fast.decode(ids, clean_up_tokenization_spaces=True)
        if "<|endoftext|>" not in cleaned:  # around which the slow one puts spaces in some versions
            assert cleaned == slow.decode(ids, clean_up_tokenization_spaces=True), (ids, cleaned)
        plain = fast.decode(ids, clean_up_tokenization_spaces=False)
        assert text is None or plain == text
        changed += plain != cleaned
        out.append([ids, cleaned])
    (root / "gpt2_clean_up.json").write_text(json.dumps(out, separators=(",", ":")) + "\n")
    print(f"{len(out)} texts, {changed} of which the clean-up changes")


if __name__ == "__main__":
    main()
