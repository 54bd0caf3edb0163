"""Compares SBG's labels of Flickr8k with the paper's published list, in all modes of SBG.ipynb and for lists by capsmith.

Usage: labels_published.py SPACY_MODEL SENTENCE_MODEL CAPTIONS PUBLISHED [LABELS...]

SPACY_MODEL is the folder of en_core_web_sm with its config.cfg, SENTENCE_MODEL one of sentence-transformers, CAPTIONS Kaggle's
captions.txt, PUBLISHED the paper's all_labels.json, LABELS files by `capsmith keywords build`. Needs spacy==3.8.0 besides
requirements.txt. It follows the notebook's cells 16 to 22: a word's part of speech is that of its last use as one of the five,
and its frequency counts all uses. `vector` uses the tagger's states, since en_core_web_sm has no word vectors; `wordnet` reads
WordNet 3.0 from crates/words/data.
"""

import csv
import gzip
import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import spacy
import torch
from transformers import AutoModel, AutoTokenizer

WORDNET = Path(__file__).resolve().parent.parent.parent / "crates/words/data/wordnet-3.0.txt.gz"
DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
PARTS = ["NOUN", "VERB", "ADJ", "ADV", "NUM"]


def words(nlp, captions):
    for doc in nlp.pipe([caption.lower() for caption in captions], batch_size=500):
        for token in doc:
            lemma = token.lemma_
            if token.pos_ in ("PUNCT", "SPACE"):
                continue
            if token.pos_ == "NUM" and len(lemma) == 1:
                if lemma.isnumeric():
                    yield DIGITS[int(lemma)], token.pos_
            else:
                yield lemma, token.pos_


def counted(found):
    """Returns all labels, the most frequent first."""
    parts = {word: part for word, part in found if part in PARTS}
    frequencies = Counter(word for word, _ in found).most_common()
    return [(word, parts[word], frequency) for word, frequency in frequencies if word in parts]


def without_near(labels, vectors, threshold=0.8):
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = vectors / np.where(norms == 0, 1, norms)
    kept = []
    for index in range(len(labels)):
        if not kept or not (vectors[kept] @ vectors[index] > threshold).any():
            kept.append(index)
    return [labels[index] for index in kept]


def sentence_vectors(folder, texts):
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    vectors = []
    with torch.no_grad():
        for first in range(0, len(texts), 256):
            inputs = tokenizer(texts[first:first + 256], padding=True, truncation=True, max_length=256, return_tensors="pt")
            mask = inputs["attention_mask"].unsqueeze(-1).float()
            vectors.append((model(**inputs).last_hidden_state * mask).sum(1) / mask.sum(1))
    return torch.cat(vectors).numpy()


def synsets():
    """Returns the synsets of each word of WordNet."""
    lines = iter(gzip.open(WORDNET, "rt").read().splitlines())
    for line in lines:
        if line.startswith("words "):
            break
    senses = {}
    for line in lines:
        if line.startswith("exceptions "):
            break
        word, *fields = line.split()
        # Numbers of nouns, of verbs, and of adjectives with adverbs.
        kinds = [{"r": "a"}.get(part, part) for part in fields[::3]]
        senses[word] = {(kind, sense) for kind, all_ in zip(kinds, fields[2::3]) for sense in all_.split(",")}
    return senses


def without_synsets(labels):
    senses, taken, kept = synsets(), set(), []
    for label in labels:
        own = senses.get(label[0], set())
        if not own & taken:
            kept.append(label)
            taken |= own
    return kept


def compare(name, labels, published):
    ours = {tuple(label[:2]) for label in labels}
    theirs = {tuple(label[:2]) for label in published}
    both, of_words = len(ours & theirs), len({word for word, _ in ours} & {word for word, _ in theirs})
    first = len({tuple(label[:2]) for label in published[:1000]} & ours)
    exact = len({tuple(label) for label in labels} & {tuple(label) for label in published})
    precision, recall = both / len(ours), both / len(theirs)
    print(f"{name}: {len(ours)} labels; (word, pos): {both} in both, precision {precision:.3f}, recall {recall:.3f}, "
          f"F1 {2 * precision * recall / (precision + recall):.3f}; words {of_words}; first 1,000: {first}; "
          f"with the same frequency {exact}", flush=True)


def main():
    spacy_model, sentence_model, captions, published, *files = sys.argv[1:]
    published = json.loads(Path(published).read_text())
    for file in files:
        found = json.loads(Path(file).read_text())
        found = found["labels"] if isinstance(found, dict) else found
        compare(file, [tuple(label) for label in found], published)
    if not Path(spacy_model).exists():
        return
    with open(captions, newline="") as file:
        captions = [row[1] for row in csv.reader(file)][1:]
    nlp = spacy.load(spacy_model, disable=["parser", "ner"])
    labels = counted(list(words(nlp, captions)))
    compare("none", labels, published)
    texts = [label[0] for label in labels]
    compare("wordnet", without_synsets(labels), published)
    compare("vector", without_near(labels, np.stack([nlp(text).vector for text in texts])), published)
    vectors = sentence_vectors(sentence_model, texts)
    for threshold in [0.7, 0.75, 0.8, 0.85, 0.9]:
        compare(f"sentence {threshold}", without_near(labels, vectors, threshold), published)


main()
