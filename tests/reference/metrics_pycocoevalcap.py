"""Scores captions with pycocoevalcap 1.2 (needs Java): the reference for crates/caption-metrics.

    python metrics_pycocoevalcap.py REFERENCES.json PREDICTIONS.json none|ptb OUT.json

REFERENCES is {image: [captions]}, PREDICTIONS {image: caption}. OUT is what `caption-eval evaluate
--json` writes, less its protocol.
"""

import json
import sys

from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.meteor.meteor import Meteor
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer


def tokenized(captions):
    """Returns the tokens that COCOEvalCap passes to the scorers."""
    return PTBTokenizer().tokenize(
        {image: [{"caption": caption} for caption in group] for image, group in captions.items()}
    )


def scores(references, predictions, tokenizer):
    predictions = {image: [predictions[image]] for image in references}
    if tokenizer == "ptb":
        references, predictions = tokenized(references), tokenized(predictions)
    corpus, per_image = {}, {image: {} for image in references}
    scorers = [
        (Bleu(4), ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4"]),
        (Meteor(), ["METEOR"]),
        (Rouge(), ["ROUGE_L"]),
        (Cider(), ["CIDEr"]),
    ]
    for scorer, names in scorers:
        arguments = {"verbose": 0} if len(names) == 4 else {}
        total, single = scorer.compute_score(references, predictions, **arguments)
        if len(names) == 1:
            total, single = [total], [single]
        for name, value, values in zip(names, total, single):
            corpus[name] = float(value)
            for image, score in zip(references, values):
                per_image[image][name] = float(score)
    return {"n": len(references), "corpus": corpus, "per_image": per_image}


def main():
    references, predictions, tokenizer, out = sys.argv[1:]
    with open(references, encoding="utf-8") as file:
        references = json.load(file)
    with open(predictions, encoding="utf-8") as file:
        predictions = json.load(file)
    with open(out, "w", encoding="utf-8") as file:
        json.dump(scores(references, predictions, tokenizer), file, ensure_ascii=False, indent=1)


if __name__ == "__main__":
    main()
