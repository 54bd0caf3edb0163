"""Settings that the native half reads."""

from typing import List, NamedTuple, Optional, Union
from os import PathLike

METRICS = ["bleu", "meteor", "rouge", "cider"]


class Settings(NamedTuple):
    """Metrics, tokenizer and document frequencies of an evaluation."""

    metrics: List[str]
    tokenizer: str = "none"
    cider_df: Optional[Union[str, "PathLike[str]"]] = None
