#!/usr/bin/env bash
# Trains the row with gradient clipping for two epochs in f32 and in bf16, and captions the test pictures.
# usage: experiments/bf16/run.sh FLICKR8K STUDY OUT   (from the repository's root; OUT must not exist)
# STUDY is the folder that experiments/flickr8k-real/run.sh made: its features, GPT-2 and finished run are used.
set -euo pipefail
dataset=$1 study=$2 out=$3
capsmith=${CAPSMITH:-target/release/capsmith}
mkdir "$out"
for precision in f32 bf16; do
    "$capsmith" train configs/real/prefix-gradient-clipping.toml --out "$out/train-$precision" \
        --set "data.dataset=$dataset" --set "data.embeddings=$study/features.safetensors" \
        --set "gpt2.model=$study/models/gpt2" --set training.epochs=2 --set "training.precision=$precision" \
        --set mapper.standardize=false --set training.scored_pictures=0 --set training.log_every_steps=1
    "$capsmith" evaluate "$out/train-$precision"
done
python3 experiments/bf16/curves.py "$out/train-f32" "$out/train-bf16" experiments/bf16/loss.svg
cp -r "$study/runs/prefix-gradient-clipping-seed-42" "$out/finished"
for dtype in bf16 f16; do
    "$capsmith" evaluate "$out/finished" --dtype $dtype
    own="$out/finished/evaluation"
    "$capsmith" evaluate compare --references "$own/test/references.json" --tokenizer none \
        "$own/test/predictions.json" "$own/dtype=$dtype/test/predictions.json"
    python3 - "$own/test/predictions.json" "$own/dtype=$dtype/test/predictions.json" <<'END'
import json, sys
first, second = ({row["image_id"]: row["caption"] for row in json.load(open(path))} for path in sys.argv[1:])
print(sum(first[image] != second[image] for image in first), "other captions of", len(first))
END
done
