"""Writes a tiny random sentence encoder in the format of sentence-transformers, its embeddings, and labels without
near-synonyms, for crates/networks/tests/bert.rs, crates/words/tests/bert.rs and crates/keywords/tests/synonyms.rs.

Usage: python bert_goldens.py [OUTPUT]   (default: ../fixtures/bert)

  config.json, model.safetensors, tokenizer.json, tokenizer_config.json, special_tokens_map.json, vocab.txt, modules.json,
  sentence_bert_config.json, 1_Pooling/config.json   a folder as sentence-transformers writes it
  ids.json            texts; their ids, and their ids with do_lower_case off
  golden.safetensors
    embeddings [texts, hidden]: mean over the attention mask, length 1
  synonyms.json       labels, the most frequent first, and those that SBG.ipynb keeps at a cosine of 0.8
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import BertWordPieceTokenizer
from torch.nn.functional import normalize
from transformers import BertConfig, BertModel, BertTokenizerFast

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
MAX_TOKENS = 24
WORDS = """dog puppy cat kitten man woman boy girl child kid people person run running jump jumping play playing sit stand walk
ride red blue green white black brown young old small large beach ocean sea water snow grass field street road bike bicycle car
ball shirt jacket hat coat tree mountain rock sand park game soccer football player team crowd group two three four""".split()
TEXTS = WORDS[:8] + [
    "", " two  spaces\tand a tab\n", "A man, riding a WAVE!", "naïve café Ångström", "ﬁre ｆｕｌｌ width", "狗 and 猫在一起", "한국어 текст",
    "[MASK] and [SEP] in a text", "it's a dog's life -- isn't it?", "a" * 101, "x\u200by\u00adz\u0000w\ufffd", "🐶 dog 🐶",
    "the young boy in the red shirt jumps over the small white dog on the green grass while two women watch from the street",
    "I\u0307stanbul", "don\u2019t \u201cquote\u201d", "$3.50 + 10%", "unknownishword",
]


def write_model(output):
    trainer = BertWordPieceTokenizer(lowercase=True)
    trainer.train_from_iterator(WORDS * 3 + TEXTS[:12], vocab_size=220, min_frequency=1, show_progress=False,
                                special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    trainer.save_model(str(output))
    tokenizer = BertTokenizerFast(str(output / "vocab.txt"))
    # A leftover that transformers resets, as in all-MiniLM-L6-v2's own file.
    tokenizer.backend_tokenizer.enable_padding(length=128)
    tokenizer.save_pretrained(output)
    torch.manual_seed(0)
    config = BertConfig(vocab_size=len(tokenizer), hidden_size=24, num_hidden_layers=3, num_attention_heads=4,
                        intermediate_size=40, max_position_embeddings=32, attn_implementation="eager")
    model = BertModel(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            norm = "LayerNorm" in name and name.endswith("weight")
            # Words that differ much, so that some pairs of labels are near and others are not.
            parameter.normal_(1.0 if norm else 0.0, 2.0 if "word_embeddings" in name else 0.15)
    model.save_pretrained(output)
    modules = ["Transformer", "Pooling", "Normalize"]
    paths = ["", "1_Pooling", "2_Normalize"]
    (output / "modules.json").write_text(json.dumps([
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (kind, path) in enumerate(zip(modules, paths))], indent=2) + "\n")
    (output / "sentence_bert_config.json").write_text(f'{{"max_seq_length": {MAX_TOKENS}, "do_lower_case": false}}\n')
    (output / "1_Pooling").mkdir(exist_ok=True)
    (output / "1_Pooling/config.json").write_text(json.dumps({
        "word_embedding_dimension": 24, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True,
        "pooling_mode_max_tokens": False, "pooling_mode_mean_sqrt_len_tokens": False}, indent=2) + "\n")


def encode(tokenizer, model, texts):
    inputs = tokenizer(texts, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
    mask = inputs["attention_mask"].unsqueeze(-1).float()
    with torch.no_grad():
        states = model(**inputs).last_hidden_state
    return normalize((states * mask).sum(1) / mask.sum(1), dim=1)


def without_synonyms(vectors, threshold=0.8):
    """Follows filter_synonym_by_sentence_transformer; returns the positions that are kept."""
    cosines, kept, taken = vectors @ vectors.T, [], set()
    for first in range(len(vectors)):
        if first not in taken:
            kept.append(first)
            taken |= {later for later in range(first, len(vectors)) if cosines[first, later] > threshold}
    margin = (cosines - threshold).abs().min().item()
    assert margin > 1e-5, f"a cosine is within {margin} of the threshold; take another seed"
    return kept


def main():
    output = Path(sys.argv[1]) if len(sys.argv) > 1 else FIXTURES / "bert"
    output.mkdir(parents=True, exist_ok=True)
    write_model(output)
    tokenizer, model = BertTokenizerFast.from_pretrained(output), BertModel.from_pretrained(output).eval()
    cased = BertTokenizerFast.from_pretrained(output, do_lower_case=False)
    ids = {"texts": TEXTS}
    for name, one in [("rows", tokenizer), ("cased_rows", cased)]:
        ids[name] = one(TEXTS, truncation=True, max_length=MAX_TOKENS)["input_ids"]
    (output / "ids.json").write_text(json.dumps(ids) + "\n")
    save_file({"embeddings": encode(tokenizer, model, TEXTS)}, output / "golden.safetensors")
    labels = [[word, "NOUN", 1000 - index] for index, word in enumerate(WORDS)]
    kept = [labels[index] for index in without_synonyms(encode(tokenizer, model, WORDS))]
    (output / "synonyms.json").write_text(json.dumps({"labels": labels, "kept": kept}) + "\n")
    print(len(tokenizer), "tokens;", len(kept), "of", len(labels), "labels kept")


main()
