//! BLEU, METEOR, ROUGE-L and CIDEr exactly as pycocoevalcap computes them, without Python or Java.
