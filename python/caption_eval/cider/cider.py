"""CIDEr (Vedantam et al. 2015) as pycocoevalcap computes it, which is CIDEr-D."""

from typing import TYPE_CHECKING, Any, Tuple

from .._scorer import Captions, mean_and_array

if TYPE_CHECKING:
    import numpy


class Cider:
    """Scorer of CIDEr. `test` and `refs` are ignored, as in pycocoevalcap.

    :param n: longest n-gram; only 4 is supported
    :param sigma: standard deviation of the length penalty; only 6.0 is supported
    """

    def __init__(self, test: Any = None, refs: Any = None, n: int = 4, sigma: float = 6.0) -> None:
        if n != 4 or sigma != 6.0:
            raise ValueError("only n=4 and sigma=6.0 are supported")

    def compute_score(
        self, gts: Captions, res: Captions
    ) -> Tuple["numpy.float64", "numpy.ndarray"]:
        """Scores tokenized predictions `res` against tokenized references `gts`.

        Document frequencies are those of `gts`: a single image scores 0.

        :return: mean score, and the scores of all images as an array
        """
        return mean_and_array("cider", gts, res)

    def method(self) -> str:
        """Returns the scorer's name."""
        return "CIDEr"
