"""CIDEr: `caption_eval.cider.cider.Cider`."""
