"""BLEU (Papineni et al. 2002) as pycocoevalcap computes it."""

from typing import List, Tuple

from .._scorer import Captions, columns


class Bleu:
    """Scorer of BLEU-1 to BLEU-n.

    :param n: longest n-gram, 1 to 4
    """

    def __init__(self, n: int = 4) -> None:
        if not 1 <= n <= 4:
            raise ValueError(f"n must be 1 to 4, not {n}")
        self._n = n

    def compute_score(
        self, gts: Captions, res: Captions, verbose: int = 1
    ) -> Tuple[List[float], List[List[float]]]:
        """Scores tokenized predictions `res` against tokenized references `gts`.

        :return: corpus scores of BLEU-1 to BLEU-n, and for each the scores of all images
        """
        corpus, images = columns("bleu", gts, res)
        return corpus[: self._n], images[: self._n]

    def method(self) -> str:
        """Returns the scorer's name."""
        return "Bleu"
