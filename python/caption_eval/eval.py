"""COCOEvalCap with pycocoevalcap's interface."""

from typing import Any, Dict, Hashable, List

from . import _native
from ._settings import METRICS, Settings


class COCOEvalCap:
    """Evaluation of the results `cocoRes` against the annotations `coco`.

    Both are objects of `caption_eval.coco.COCO` or of pycocotools. SPICE is not computed. After
    `evaluate`, `eval` has the corpus scores, `imgToEval` those of each image by its identifier, and
    `evalImgs` the same as a list.
    """

    def __init__(self, coco: Any, cocoRes: Any) -> None:
        self.evalImgs: List[Dict[str, Any]] = []
        self.eval: Dict[str, float] = {}
        self.imgToEval: Dict[Hashable, Dict[str, Any]] = {}
        self.coco = coco
        self.cocoRes = cocoRes
        self.params: Dict[str, Any] = {"image_id": coco.getImgIds()}

    def evaluate(self) -> None:
        """Scores the images of `params['image_id']`.

        :raise FileNotFoundError: if `caption_eval.fetch()` has not fetched METEOR's resources
        """
        images = list(dict.fromkeys(self.params["image_id"]))
        references = [captions(self.coco, image) for image in images]
        predictions = [captions(self.cocoRes, image) for image in images]
        wrong = [image for image, list_ in zip(images, predictions) if len(list_) != 1]
        if wrong:
            raise ValueError(
                f"{len(wrong)} images have no result, or more than one, among them {wrong[:3]}; "
                "set params['image_id'] to cocoRes.getImgIds() to score those that have one"
            )
        _native.check_resources()
        print("tokenization...")
        print("setting up scorers...")
        first = [list_[0] for list_ in predictions]
        scored = _native.score(references, first, Settings(METRICS, "ptb"))
        announced = {"Bleu_1": "Bleu", "METEOR": "METEOR", "ROUGE_L": "Rouge", "CIDEr": "CIDEr"}
        for (method, score), (_, scores) in zip(scored["corpus"], scored["per_image"]):
            if method in announced:
                print(f"computing {announced[method]} score...")
            self.setEval(score, method)
            self.setImgToEvalImgs(scores, images, method)
            print(f"{method}: {score:0.3f}")
        self.setEvalImgs()

    def setEval(self, score: float, method: str) -> None:
        """Enters a corpus score."""
        self.eval[method] = score

    def setImgToEvalImgs(self, scores: Any, imgIds: Any, method: str) -> None:
        """Enters the scores of images."""
        for image, score in zip(imgIds, scores):
            self.imgToEval.setdefault(image, {"image_id": image})[method] = score

    def setEvalImgs(self) -> None:
        """Lists the scores of images."""
        self.evalImgs = list(self.imgToEval.values())


def captions(coco: Any, image: Hashable) -> List[str]:
    """Returns the captions of an image of a COCO object."""
    return [annotation["caption"] for annotation in coco.imgToAnns.get(image, [])]
