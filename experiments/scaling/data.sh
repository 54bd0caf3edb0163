#!/usr/bin/env bash
# Evaluator and precompute against the size of the data, to a million captions.
# usage: experiments/scaling/data.sh FLICKR8K FOLDER   (from the repository's root; FOLDER on the same disk as FLICKR8K)
set -euo pipefail
flickr8k=$(realpath "$1") folder=$2
here=experiments/scaling capsmith=${CAPSMITH:-target/release/capsmith}
mkdir -p "$folder"
"$capsmith" init clip --out "$folder/clip"
for pictures in 8000 40000 200000; do
    set=$folder/set-$pictures
    python3 $here/repeat.py "$flickr8k" $pictures "$set"
    files=(--references "$set/references.json" --predictions "$set/predictions.json")
    python3 $here/measured.py "all scores of $((pictures * 5)) captions" "$capsmith" evaluate "${files[@]}" --json "$set/scores.json"
    python3 $here/measured.py "precompute of $pictures pictures" \
        "$capsmith" precompute --dataset "$set" --clip "$folder/clip" --out "$set/embeddings.safetensors"
done
python3 $here/repeat.py "$flickr8k" 40000 "$folder/tars" --tar 1000
python3 $here/measured.py "precompute of 40000 pictures in 40 archives" \
    "$capsmith" precompute --dataset "$folder/tars" --clip "$folder/clip" --out "$folder/tars/embeddings.safetensors"
cmp <(tail -c $((40000 * 256 * 4)) "$folder/set-40000/embeddings.safetensors") \
    <(tail -c $((40000 * 256 * 4)) "$folder/tars/embeddings.safetensors") && echo "the same embeddings from archives as from a folder"
