"""Settings that the native half reads."""

from typing import List, NamedTuple, Optional, Union
from os import PathLike

METRICS = ["bleu", "meteor", "rouge", "cider"]


class Settings(NamedTuple):
    """Metrics, tokenizer, document frequencies and training captions of an evaluation."""

    metrics: List[str]
    tokenizer: str = "none"
    cider_df: Optional[Union[str, "PathLike[str]"]] = None
    training_captions: Optional[List[str]] = None
