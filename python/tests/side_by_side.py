"""Runs pycocoevalcap 1.2 (Java needed) and caption_eval on the same captions, and compares all.

    python side_by_side.py FOLDER [REFERENCES PREDICTIONS]

FOLDER is `evaluator/visible` of the reference data. pycocoevalcap, pycocotools and caption_eval
must be importable. SPICE is left out of pycocoevalcap's COCOEvalCap.
"""

import contextlib
import io
import json
import sys
import tempfile
import time
from pathlib import Path

import pycocoevalcap.eval
from pycocoevalcap.bleu.bleu import Bleu as TheirBleu
from pycocoevalcap.cider.cider import Cider as TheirCider
from pycocoevalcap.meteor.meteor import Meteor as TheirMeteor
from pycocoevalcap.rouge.rouge import Rouge as TheirRouge
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer as TheirTokenizer
from pycocotools.coco import COCO as TheirCOCO

from caption_eval.bleu.bleu import Bleu
from caption_eval.cider.cider import Cider
from caption_eval.coco import COCO
from caption_eval.eval import COCOEvalCap
from caption_eval.meteor.meteor import Meteor
from caption_eval.rouge.rouge import Rouge
from caption_eval.tokenizer.ptbtokenizer import PTBTokenizer


class NoSpice:
    """Stands in for SPICE, whose parser takes minutes."""

    def method(self):
        return "SPICE"

    def compute_score(self, gts, res):
        return 0.0, [0.0] * len(gts)


def largest_difference(ours, theirs):
    """Returns the largest difference of two nested results, which must have one shape and type."""
    if isinstance(theirs, (int, float)):
        return abs(ours - theirs)
    assert type(ours) is type(theirs), (type(ours), type(theirs))
    assert len(ours) == len(theirs)
    if isinstance(theirs, dict):
        assert list(ours) == list(theirs), (list(ours)[:3], list(theirs)[:3])
        pairs = [(ours[key], theirs[key]) for key in theirs if key != "image_id"]
        assert ours.get("image_id") == theirs.get("image_id")
    else:
        pairs = list(zip(ours, theirs))
    return max((largest_difference(a, b) for a, b in pairs), default=0.0)


def main() -> None:
    folder = Path(sys.argv[1])
    references, predictions = sys.argv[2:] or [
        "refs/flickr8k_test_1to4_raw_cased.json",
        "preds/human0_flickr8k_raw_cased.json",
    ]
    references = json.loads((folder / references).read_text(encoding="utf-8"))
    predictions = json.loads((folder / predictions).read_text(encoding="utf-8"))
    gts = {int(i): [{"caption": c} for c in captions] for i, captions in references.items()}
    res = {int(i): [{"caption": caption}] for i, caption in predictions.items()}

    their_gts, their_res = TheirTokenizer().tokenize(gts), TheirTokenizer().tokenize(res)
    our_gts, our_res = PTBTokenizer().tokenize(gts), PTBTokenizer().tokenize(res)
    assert list(our_gts.items()) == list(their_gts.items())
    assert list(our_res.items()) == list(their_res.items())
    print("tokens: equal")
    pairs = [(Bleu, TheirBleu), (Meteor, TheirMeteor), (Rouge, TheirRouge), (Cider, TheirCider)]
    for ours, theirs in pairs:
        assert ours().method() == theirs().method()
        found, expected = ours().compute_score(our_gts, our_res), theirs().compute_score(
            their_gts, their_res
        )
        difference = largest_difference(found, expected)
        print(f"{ours.__name__}: {difference:.1e}")
        assert difference < 1e-12

    annotations = [
        {"image_id": i, "id": 10 * i + k, "caption": c["caption"]}
        for i, captions in gts.items()
        for k, c in enumerate(captions)
    ]
    results = [{"image_id": i, "caption": list_[0]["caption"]} for i, list_ in res.items()]
    pycocoevalcap.eval.Spice = NoSpice
    evaluations = []
    with tempfile.TemporaryDirectory() as temporary:
        files = Path(temporary)
        dataset = {"images": [{"id": i} for i in gts], "annotations": annotations}
        (files / "annotations.json").write_text(json.dumps(dataset))
        # Results for a part of the images, as in pycocoevalcap's example.
        (files / "results.json").write_text(json.dumps(results[: len(results) // 2]))
        classes = [
            (COCO, COCOEvalCap),
            (TheirCOCO, COCOEvalCap),
            (TheirCOCO, pycocoevalcap.eval.COCOEvalCap),
        ]
        for coco_class, evaluation_class in classes:
            start = time.perf_counter()
            with contextlib.redirect_stdout(io.StringIO()):
                coco = coco_class(str(files / "annotations.json"))
                coco_result = coco.loadRes(str(files / "results.json"))
                evaluation = evaluation_class(coco, coco_result)
                evaluation.params["image_id"] = coco_result.getImgIds()
                evaluation.evaluate()
            print(f"{evaluation_class.__module__}: {time.perf_counter() - start:.2f} s")
            evaluation.eval.pop("SPICE", None)
            for image in evaluation.evalImgs:
                image.pop("SPICE", None)
            evaluations.append(evaluation)
    for evaluation in evaluations[:2]:
        theirs = evaluations[2]
        difference = max(
            largest_difference(evaluation.eval, theirs.eval),
            largest_difference(evaluation.evalImgs, theirs.evalImgs),
            largest_difference(evaluation.imgToEval, theirs.imgToEval),
        )
        print(f"COCOEvalCap: {difference:.1e}")
        assert difference < 1e-12
    print("all equal")


if __name__ == "__main__":
    main()
