"""Writes a tiny random BART classifier, with its logits and zero-shot scores, for crates/networks/tests/bart.rs and
crates/words/tests/bart.rs.

Usage: python bart_goldens.py [OUTPUT]   (default: ../fixtures/bart)

  config.json, model.safetensors, tokenizer.json, vocab.json, merges.txt   a folder as transformers writes it
  pairs.json         premises, hypotheses, and the ids of each pair
  golden.safetensors
    logits [rows, 3] of pairs.json's rows
  zero_shot.json     texts, labels, and scores [texts, labels] in the order of the labels
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import ByteLevelBPETokenizer
from transformers import BartConfig, BartForSequenceClassification, BartTokenizerFast, pipeline

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
LABELS = ["animal", "sport or game", "clothing", "place", "food"]
WORDS = ["dog", "beach", "soccer ball", "shirt", "a very tasty pizza", "mountain bike", "naïve café", "Ski", "jump", "grass"]
PREMISES = WORDS + ["", " two  spaces", "A man, riding <s> a wave."]


def trained_tokenizer(output):
    bpe = ByteLevelBPETokenizer()
    texts = [f"{word} This example is {label}." for word in WORDS for label in LABELS]
    bpe.train_from_iterator(texts, vocab_size=330, min_frequency=1, show_progress=False,
                            special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    bpe.save_model(str(output))
    tokenizer = BartTokenizerFast(str(output / "vocab.json"), str(output / "merges.txt"))
    tokenizer.save_pretrained(output)
    for name in ["tokenizer_config.json", "special_tokens_map.json"]:
        (output / name).unlink(missing_ok=True)
    return tokenizer


def random_model(words):
    config = BartConfig(vocab_size=words, max_position_embeddings=64, d_model=16, encoder_layers=2, decoder_layers=3,
                        encoder_attention_heads=4, decoder_attention_heads=2, encoder_ffn_dim=24, decoder_ffn_dim=20,
                        activation_function="gelu", num_labels=3, attn_implementation="eager",
                        id2label={0: "contradiction", 1: "neutral", 2: "entailment"},
                        label2id={"contradiction": 0, "neutral": 1, "entailment": 2})
    model = BartForSequenceClassification(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            norm = "norm" in name and name.endswith("weight")
            parameter.normal_(1.0 if norm else 0.0, 0.35)
    return model


def main():
    output = Path(sys.argv[1]) if len(sys.argv) > 1 else FIXTURES / "bart"
    output.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    tokenizer = trained_tokenizer(output)
    model = random_model(len(tokenizer))
    model.save_pretrained(output)
    premises = [premise for premise in PREMISES for _ in LABELS]
    hypotheses = [f"This example is {label}." for _ in PREMISES for label in LABELS]
    rows = tokenizer(premises, hypotheses)["input_ids"]
    padded = tokenizer(premises, hypotheses, padding=True, return_tensors="pt")
    with torch.no_grad():
        logits = model(**padded).logits
    save_file({"logits": logits}, output / "golden.safetensors")
    pairs = {"premises": premises, "hypotheses": hypotheses, "rows": rows}
    (output / "pairs.json").write_text(json.dumps(pairs) + "\n")
    classify = pipeline("zero-shot-classification", model=model, tokenizer=tokenizer, device=-1)
    scores = []
    for found in classify(WORDS, LABELS):
        by_label = dict(zip(found["labels"], found["scores"]))
        scores.append([by_label[label] for label in LABELS])
    (output / "zero_shot.json").write_text(json.dumps({"texts": WORDS, "labels": LABELS, "scores": scores}) + "\n")
    print(logits.std(0), scores[0])


main()
