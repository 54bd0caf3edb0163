"""The Penn Treebank tokenizer as pycocoevalcap runs it, without Java."""

from typing import Any, Dict, Hashable, List, Mapping, Sequence

from .. import _native


class PTBTokenizer:
    """Lower-cased Penn Treebank tokens without punctuation."""

    def tokenize(
        self, captions_for_image: Mapping[Hashable, Sequence[Mapping[str, Any]]]
    ) -> Dict[Hashable, List[str]]:
        """Tokenizes `{image: [{"caption": text}, ...]}`, all captions together.

        :return: `{image: [tokens joined by spaces, ...]}`
        """
        captions = [c["caption"] for image in captions_for_image.values() for c in image]
        tokens = iter(_native.tokenize(captions))
        return {
            image: [next(tokens) for _ in captions]
            for image, captions in captions_for_image.items()
            if len(captions) > 0
        }
