"""Tokenizer: `caption_eval.tokenizer.ptbtokenizer.PTBTokenizer`."""
