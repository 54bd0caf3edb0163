//! Everything about words: GPT-2's and CLIP's tokenizers.
