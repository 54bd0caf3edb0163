"""ROUGE-L (Lin 2004) as pycocoevalcap computes it."""

from typing import TYPE_CHECKING, List, Tuple

from .._scorer import Captions, columns, mean_and_array

if TYPE_CHECKING:
    import numpy


class Rouge:
    """Scorer of ROUGE-L."""

    def __init__(self) -> None:
        self.beta = 1.2

    def calc_score(self, candidate: List[str], refs: List[str]) -> float:
        """Scores one prediction, `candidate[0]`, against its references."""
        return columns("rouge", {0: refs}, {0: candidate})[0][0]

    def compute_score(
        self, gts: Captions, res: Captions
    ) -> Tuple["numpy.float64", "numpy.ndarray"]:
        """Scores tokenized predictions `res` against tokenized references `gts`.

        :return: mean score, and the scores of all images as an array
        """
        return mean_and_array("rouge", gts, res)

    def method(self) -> str:
        """Returns the scorer's name."""
        return "Rouge"
