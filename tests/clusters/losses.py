#!/usr/bin/env python3
"""Compares the losses of two runs' steps, and fails where they differ by 1e-5 or more: losses.py RUN RUN"""

import csv
import sys

alone, shared = (list(csv.DictReader(open(f"{run}/metrics.csv"))) for run in sys.argv[1:])
assert len(alone) == len(shared)
off = max(abs(float(a["loss"]) - float(b["loss"])) for a, b in zip(alone, shared))
print(f"{len(alone)} steps, losses differ by {off:.1e} at most")
assert off < 1e-5
