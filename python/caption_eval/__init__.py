"""BLEU, METEOR, ROUGE-L and CIDEr exactly as pycocoevalcap computes them, without Java.

`evaluate` and `compare` take files or dictionaries. The modules `bleu.bleu`, `meteor.meteor`,
`rouge.rouge`, `cider.cider`, `tokenizer.ptbtokenizer` and `eval` have pycocoevalcap's interface, and
`coco` reads COCO's caption files.
"""

import warnings
from os import PathLike
from pathlib import Path
from typing import Any, Dict, Hashable, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

from . import _native
from ._settings import METRICS, Settings

__all__ = ["Difference", "Evaluation", "compare", "evaluate", "fetch"]

AnyPath = Union[str, "PathLike[str]"]
References = Union[AnyPath, Mapping[Hashable, Sequence[Any]]]
Predictions = Union[AnyPath, Mapping[Hashable, Any], Sequence[Mapping[str, Any]]]


class Evaluation(NamedTuple):
    """Scores of a corpus and of its images, by pycocoevalcap's names (`Bleu_1`, `CIDEr`)."""

    corpus: Dict[str, float]
    """Corpus scores."""
    per_image: Dict[Hashable, Dict[str, float]]
    """Scores of every image, by its identifier."""
    confidence: Optional[Dict[str, Tuple[float, float]]]
    """95% bootstrap intervals of the corpus scores, if asked for."""
    tokenizer: str
    """Tokenizer of the captions."""
    left_out: int
    """Images with references that were left out as they have no prediction."""
    diversity: Optional[Dict[str, float]] = None
    """Diversity of the predictions, if asked for: `vocabulary` (distinct words), `distinct_1` and
    `distinct_2` (distinct words and pairs of words over all words), `mean_length` (in words), and
    with training captions `novel` (share of predictions that are none of them)."""


class Difference(NamedTuple):
    """Difference of two systems in one score."""

    metric: str
    a: float
    b: float
    difference: float
    """`b - a`."""
    low: float
    """Lower end of the difference's 95% bootstrap interval."""
    high: float
    """Upper end."""
    p: float
    """p-value of a paired randomisation test."""


def evaluate(
    references: References,
    predictions: Predictions,
    metrics: Optional[Sequence[str]] = None,
    tokenizer: str = "ptb",
    *,
    subset: Optional[str] = None,
    cider_df: Optional[AnyPath] = None,
    training_captions: Optional[Union[AnyPath, Sequence[str]]] = None,
    bootstrap: Optional[int] = None,
    seed: int = 0,
) -> Evaluation:
    """Scores predictions against references.

    :param references: file, `{image: [caption, ...]}` or `{image: [{"caption": ...}, ...]}`
    :param predictions: file, `{image: caption}`, `{image: [{"caption": ...}]}` or COCO results
    :param metrics: out of bleu, meteor, rouge, cider and diversity; by default all but diversity,
        METEOR if it has been fetched
    :param tokenizer: "ptb" as in COCOEvalCap, or "none" for captions as they stand
    :param subset: "predictions" to leave out images without a prediction
    :param cider_df: file of document frequencies, as `caption-eval df` writes them
    :param training_captions: list, or file as of references; diversity then has the share of novel
        captions
    :param bootstrap: number of resamples for confidence intervals; 1000 is usual
    :param seed: seed of the resampling
    """
    truth, (found,) = _read(references, [predictions])
    images, left_out = _images(truth, found, subset)
    if isinstance(training_captions, (str, PathLike)):
        training = _native.read_references(training_captions)
        training_captions = [caption for _, captions in training for caption in captions]
    settings = _settings(metrics, tokenizer, cider_df)
    if training_captions is not None:
        settings = settings._replace(training_captions=list(training_captions))
    captions = [found[image] for image in images]
    scored = _native.score([truth[i] for i in images], captions, settings, bootstrap, seed)
    names = [name for name, _ in scored["per_image"]]
    rows = zip(*(scores for _, scores in scored["per_image"]))
    per_image = {image: dict(zip(names, row)) for image, row in zip(images, rows)}
    confidence, diversity = scored["confidence"], scored["diversity"]
    return Evaluation(
        dict(scored["corpus"]),
        per_image,
        None if confidence is None else dict(confidence),
        tokenizer,
        left_out,
        None if diversity is None else dict(diversity),
    )


def compare(
    references: References,
    a: Predictions,
    b: Predictions,
    metrics: Optional[Sequence[str]] = None,
    tokenizer: str = "ptb",
    *,
    subset: Optional[str] = None,
    cider_df: Optional[AnyPath] = None,
    resamples: int = 1000,
    seed: int = 0,
) -> List[Difference]:
    """Tests whether the predictions of two systems differ; arguments are those of `evaluate`."""
    truth, (first, second) = _read(references, [a, b])
    images, _ = _images(truth, first, subset)
    if _images(truth, second, subset)[0] != images:
        raise ValueError("the two systems have predictions for different images")
    rows = _native.compare(
        [truth[image] for image in images],
        [first[image] for image in images],
        [second[image] for image in images],
        _settings(metrics, tokenizer, cider_df),
        resamples,
        seed,
    )
    return [Difference(**row) for row in rows]


def fetch(package: Optional[AnyPath] = None) -> Path:
    """Fetches METEOR's resources into the user's data folder, and returns their path.

    They are converted from the package pycocoevalcap 1.2, which pip downloads, and also found by
    `caption-eval` and `capsmith`.

    :param package: wheel of pycocoevalcap 1.2 or a folder with its contents, instead of a download
    """
    if package is not None:
        return Path(_native.build_resources(package))
    # Imported here, as no score needs them and they are slow to import.
    import subprocess
    import sys
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
        subprocess.run([*pip, "--dest", folder, "pycocoevalcap==1.2"], check=True)
        (wheel,) = Path(folder).glob("*.whl")
        return Path(_native.build_resources(wheel))


def _settings(
    metrics: Optional[Sequence[str]], tokenizer: str, cider_df: Optional[AnyPath]
) -> Settings:
    if metrics is None:
        metrics = METRICS
        try:
            _native.check_resources()
        except FileNotFoundError as error:
            warnings.warn(f"METEOR is left out: {error}", stacklevel=3)
            metrics = [metric for metric in METRICS if metric != "meteor"]
    return Settings(list(metrics), tokenizer, cider_df)


def _read(
    references: References, systems: Sequence[Predictions]
) -> Tuple[Dict[Hashable, List[str]], List[Dict[Hashable, str]]]:
    """Returns references and predictions; identifiers of all are strings where one is a file."""
    is_file = [isinstance(side, (str, PathLike)) for side in [references, *systems]]
    truth: Dict[Hashable, List[str]]
    if is_file[0]:
        truth = dict(_native.read_references(references))  # type: ignore[arg-type]
    else:
        truth = {image: [_text(c) for c in captions] for image, captions in references.items()}  # type: ignore[union-attr]
    found = [_predictions(system) for system in systems]
    if any(is_file) and not all(is_file):
        truth = {str(image): captions for image, captions in truth.items()}
        found = [{str(image): caption for image, caption in side.items()} for side in found]
    return truth, found


def _predictions(predictions: Predictions) -> Dict[Hashable, str]:
    if isinstance(predictions, (str, PathLike)):
        return dict(_native.read_predictions(predictions))
    if isinstance(predictions, Mapping):
        return {image: _only(image, caption) for image, caption in predictions.items()}
    found: Dict[Hashable, str] = {}
    for result in predictions:
        if result["image_id"] in found:
            raise ValueError(f"image {result['image_id']!r} has more than one prediction")
        found[result["image_id"]] = result["caption"]
    return found


def _only(image: Hashable, prediction: Any) -> str:
    if not isinstance(prediction, (list, tuple)):
        return _text(prediction)
    if len(prediction) != 1:
        raise ValueError(f"image {image!r} must have exactly one prediction, not {len(prediction)}")
    return _text(prediction[0])


def _text(caption: Any) -> str:
    return caption["caption"] if isinstance(caption, Mapping) else caption


def _images(
    truth: Mapping[Hashable, Any], found: Mapping[Hashable, Any], subset: Optional[str]
) -> Tuple[List[Hashable], int]:
    """Returns the images to score in the order of the references, and how many are left out."""
    if subset not in (None, "predictions"):
        raise ValueError(f'subset must be None or "predictions", not {subset!r}')
    unknown = [image for image in found if image not in truth]
    if unknown:
        raise ValueError(f"{len(unknown)} predictions have no references, among them {unknown[:3]}")
    images = [image for image in truth if image in found]
    left_out = len(truth) - len(images)
    if left_out > 0 and subset is None:
        raise ValueError(
            f"{left_out} images with references have no prediction; "
            'subset="predictions" scores only those that have one'
        )
    return images, left_out
