#!/usr/bin/env bash
# The whole path on real Flickr8k with small models that start from random weights.
# usage: experiments/flickr8k-small/run.sh FLICKR8K OUT   (from the repository's root; OUT must not exist)
set -euo pipefail
dataset=$1 out=$2
capsmith=${CAPSMITH:-target/release/capsmith}
mkdir "$out"

step() {
    local start=$SECONDS
    printf '$ capsmith %s\n' "$*"
    "$capsmith" "$@"
    printf -- '-- %d s\n\n' $((SECONDS - start))
}

step dataset check "$dataset"
step init clip --out "$out/clip"
step init gpt2 --out "$out/gpt2" --dataset "$dataset"
step precompute --dataset "$dataset" --clip "$out/clip" --out "$out/embeddings.safetensors"
step train --config configs/small/prefix-gradient-clipping.toml --set training.epochs=5 --out "$out/run" \
    --set "data.dataset=$dataset" --set "data.embeddings=$out/embeddings.safetensors" --set "gpt2.model=$out/gpt2"
step evaluate --run "$out/run"
step evaluate --run "$out/run" --control 1
printf -- '-- %d s in all\n' "$SECONDS"
