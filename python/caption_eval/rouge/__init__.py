"""ROUGE-L: `caption_eval.rouge.rouge.Rouge`."""
