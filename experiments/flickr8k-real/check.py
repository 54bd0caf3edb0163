"""Scores a run's captions again by pycocoevalcap, beside capsmith's scores.

usage: python check.py RUN     (pycocoevalcap==1.2, and Java)
"""

import json
import pathlib
import sys

from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.meteor.meteor import Meteor
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer


def scores_of(references, predictions, tokenizer):
    """Corpus scores of `{image: [caption]}`."""
    if tokenizer == "ptb":
        as_records = lambda captions: {k: [{"caption": c} for c in v] for k, v in captions.items()}
        references = PTBTokenizer().tokenize(as_records(references))
        predictions = PTBTokenizer().tokenize(as_records(predictions))
    names = [f"BLEU-{n}" for n in (1, 2, 3, 4)]
    bleu, _ = Bleu(4).compute_score(references, predictions, verbose=0)
    scores = dict(zip(names, bleu))
    scores["ROUGE_L"], _ = Rouge().compute_score(references, predictions)
    scores["CIDEr"], _ = Cider().compute_score(references, predictions)
    scores["METEOR"], _ = Meteor().compute_score(references, predictions)
    return scores


run = pathlib.Path(sys.argv[1])
for file in sorted(run.glob("evaluation/**/scores.json")):
    ours = json.loads(file.read_text())
    references = json.loads((file.parent / "references.json").read_text())
    captions = json.loads((file.parent / "predictions.json").read_text())
    predictions = {entry["image_id"]: [entry["caption"]] for entry in captions}
    theirs = scores_of(references, predictions, ours["protocol"]["tokenizer"])
    off = max(abs(ours["corpus"][name] - score) for name, score in theirs.items())
    print(f"{file.parent.relative_to(run.parent)}: largest difference {off:.1e}")
