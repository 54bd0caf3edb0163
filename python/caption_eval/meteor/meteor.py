"""METEOR 1.5 for English (Denkowski and Lavie 2014) as pycocoevalcap computes it."""

from typing import List, Tuple

from .. import _native
from .._scorer import Captions, columns


class Meteor:
    """Scorer of METEOR, without Java.

    :raise FileNotFoundError: if `caption_eval.fetch()` has not fetched its resources
    """

    def __init__(self) -> None:
        _native.check_resources()

    def compute_score(self, gts: Captions, res: Captions) -> Tuple[float, List[float]]:
        """Scores tokenized predictions `res` against tokenized references `gts`.

        :return: corpus score, which is not the mean, and the scores of all images
        """
        corpus, images = columns("meteor", gts, res)
        return corpus[0], images[0]

    def method(self) -> str:
        """Returns the scorer's name."""
        return "METEOR"
