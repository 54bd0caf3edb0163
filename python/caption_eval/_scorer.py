"""Shared parts of the scorers with pycocoevalcap's interface."""

from typing import Any, Hashable, List, Mapping, Sequence, Tuple

from . import _native
from ._settings import Settings

Captions = Mapping[Hashable, Sequence[str]]


def columns(metric: str, gts: Captions, res: Captions) -> Tuple[List[float], List[List[float]]]:
    """Returns the corpus scores of a metric, and for each of them the scores of all images."""
    if gts.keys() != res.keys():
        raise ValueError(
            "gts and res must have the same images; "
            f"{len(gts.keys() ^ res.keys())} are in one of them only"
        )
    references, predictions = [], []
    for image in gts:
        references.append(captions_of(image, gts[image], "gts"))
        prediction = captions_of(image, res[image], "res")
        if len(prediction) != 1:
            raise ValueError(f"res[{image!r}] must have exactly one caption")
        predictions.append(prediction[0])
    scored = _native.score(references, predictions, Settings([metric]))
    return [score for _, score in scored["corpus"]], [scores for _, scores in scored["per_image"]]


def captions_of(image: Hashable, captions: Any, name: str) -> List[str]:
    """Returns an image's captions, which must be strings in a list."""
    if not isinstance(captions, list) or not all(isinstance(text, str) for text in captions):
        raise ValueError(
            f"{name}[{image!r}] must be a list of strings; PTBTokenizer().tokenize() makes one of "
            "[{'caption': ...}]"
        )
    return captions


def mean_and_array(metric: str, gts: Captions, res: Captions) -> Tuple[Any, Any]:
    """Returns the one score of a metric as numpy's float, and those of all images as an array."""
    import numpy

    corpus, images = columns(metric, gts, res)
    return numpy.float64(corpus[0]), numpy.array(images[0])
