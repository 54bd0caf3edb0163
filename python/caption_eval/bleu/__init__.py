"""BLEU: `caption_eval.bleu.bleu.Bleu`."""
