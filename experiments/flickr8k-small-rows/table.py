"""Prints the scores of run.sh's runs as one table; Merge-RNN's are means of its three runs.

Usage: table.py OUT
"""

import json
import sys
from pathlib import Path

ROWS = [
    ("CLIP-prefix (original)", ["prefix-original/evaluation/test"]),
    ("CLIP-prefix, gradient clipping", ["prefix-gradient-clipping/evaluation/test"]),
    ("CLIP-prefix, custom tokenizer", ["prefix-custom-tokenizer/evaluation/test"]),
    ("SBG, one caption", ["sbg/evaluation/test-best-of-1"]),
    ("SBG, best of 2", ["sbg/evaluation/test-best-of-2"]),
    ("SBG, best of 5", ["sbg/evaluation/test-best-of-5"]),
    ("SBG, best of 5, control: shuffled", ["sbg/evaluation/test-shuffled-best-of-5"]),
    ("Merge-RNN, mean of three runs", [f"merge-rnn-{seed}/evaluation/test" for seed in (1, 2, 3)]),
]
METRICS = ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "METEOR", "ROUGE_L", "CIDEr"]


def main():
    out = Path(sys.argv[1])
    print("|", " | ".join(["row"] + METRICS), "|")
    print("|", " | ".join(["---"] * (len(METRICS) + 1)), "|")
    for name, folders in ROWS:
        runs = [json.loads((out / folder / "scores.json").read_text())["corpus"] for folder in folders]
        means = [sum(run[metric] for run in runs) / len(runs) for metric in METRICS if all(metric in run for run in runs)]
        print("|", " | ".join([name] + [f"{mean:.4f}" for mean in means]), "|")


if __name__ == "__main__":
    main()
