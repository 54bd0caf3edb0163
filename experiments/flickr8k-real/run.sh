#!/usr/bin/env bash
# Table 1 on real Flickr8k with pretrained image features, by one command; then the same scores again by
# pycocoevalcap, and a photo of one's own captioned by the finished runs.
# usage: experiments/flickr8k-real/run.sh FLICKR8K OUT [PHOTO]   (from the repository's root)
# PYTHON has pycocoevalcap 1.2 (and Java, for METEOR); CAPSMITH is a release build. SEEDS=3 trains each row
# three times.
set -euo pipefail
capsmith=${CAPSMITH:-target/release/capsmith}
"$capsmith" reproduce table1 --configs real --dataset "$1" --out "$2" --resume --jobs 2 \
    --seeds "${SEEDS:-1}"
for run in "$2"/runs/*/; do
    "${PYTHON:-python3}" experiments/flickr8k-real/check.py "$run"
done
if [ $# -gt 2 ]; then
    "$capsmith" caption "$2/runs/prefix-gradient-clipping-seed-42" "$3"
fi
