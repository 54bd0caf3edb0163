#!/usr/bin/env bash
# Every row of Table 1 on real Flickr8k, with small models that start from random weights.
# usage: experiments/flickr8k-small-rows/run.sh FLICKR8K OUT   (from the repository's root)
set -euo pipefail
dataset=$1 out=$2
capsmith=${CAPSMITH:-target/release/capsmith}
mkdir -p "$out"

step() {
    local start=$SECONDS
    printf '$ capsmith %s\n' "$*"
    "$capsmith" "$@"
    printf -- '-- %d s\n\n' $((SECONDS - start))
}

common=(--set "data.dataset=$dataset" --set "data.embeddings=$out/embeddings.safetensors")
gpt2=(--set "gpt2.model=$out/gpt2" --set training.epochs=2)
keywords=(--set "keywords.selected=$out/selected.jsonl" --set "keywords.labels=$out/keywords/labels.json"
    --set "keywords.encyclopedia=$out/keywords/encyclopedia.json" --set "reranking.clip=$out/clip")

[ -e "$out/clip" ] || step init clip --out "$out/clip"
[ -e "$out/gpt2" ] || step init gpt2 --out "$out/gpt2" --dataset "$dataset"
step precompute --dataset "$dataset" --clip "$out/clip" --out "$out/embeddings.safetensors"
step keywords build --dataset "$dataset" --clip "$out/clip" --out "$out/keywords"
step keywords select --dataset "$dataset" --clip "$out/clip" --embeddings "$out/embeddings.safetensors" \
    --keywords "$out/keywords" --out "$out/selected.jsonl"

for seed in 1 2 3; do
    step train --config configs/small/merge-rnn.toml --out "$out/merge-rnn-$seed" --resume "${common[@]}" \
        --set "training.seed=$seed"
    step evaluate --run "$out/merge-rnn-$seed" --tokenizer ptb
done
step train --config configs/small/sbg.toml --out "$out/sbg" --resume "${common[@]}" "${gpt2[@]}" "${keywords[@]}"
step evaluate --run "$out/sbg"
step evaluate --run "$out/sbg" --control 1
prefix=(train --config configs/small/prefix-gradient-clipping.toml --resume "${common[@]}" "${gpt2[@]}")
step "${prefix[@]}" --out "$out/prefix-gradient-clipping"
step evaluate --run "$out/prefix-gradient-clipping"
step "${prefix[@]}" --out "$out/prefix-original" --set optimizer.max_gradient_norm=0
step evaluate --run "$out/prefix-original"
step "${prefix[@]}" --out "$out/prefix-custom-tokenizer" --set tokenizer.kind=custom --set tokenizer.vocab_size=2000
step evaluate --run "$out/prefix-custom-tokenizer"

printf '$ experiments/flickr8k-small-rows/table.py %s\n' "$out"
python3 experiments/flickr8k-small-rows/table.py "$out"
printf -- '-- %d s in all\n' "$SECONDS"
