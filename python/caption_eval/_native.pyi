"""The native half of caption_eval. Images are positions of lists here."""

from os import PathLike
from typing import List, Optional, Protocol, Tuple, TypedDict, Union

Path = Union[str, "PathLike[str]"]

class SettingsLike(Protocol):
    metrics: List[str]
    tokenizer: str
    cider_df: Optional[Path]
    training_captions: Optional[List[str]]

class Scored(TypedDict):
    corpus: List[Tuple[str, float]]
    per_image: List[Tuple[str, List[float]]]
    diversity: Optional[List[Tuple[str, float]]]
    confidence: Optional[List[Tuple[str, Tuple[float, float]]]]

class Difference(TypedDict):
    metric: str
    a: float
    b: float
    difference: float
    low: float
    high: float
    p: float

def score(
    references: List[List[str]],
    predictions: List[str],
    settings: SettingsLike,
    resamples: Optional[int] = None,
    seed: int = 0,
) -> Scored: ...
def compare(
    references: List[List[str]],
    a: List[str],
    b: List[str],
    settings: SettingsLike,
    resamples: int,
    seed: int,
) -> List[Difference]: ...
def tokenize(captions: List[str]) -> List[str]: ...
def read_references(path: Path) -> List[Tuple[str, List[str]]]: ...
def read_predictions(path: Path) -> List[Tuple[str, str]]: ...
def resources_path() -> str: ...
def check_resources() -> None: ...
def build_resources(package: Path) -> str: ...
