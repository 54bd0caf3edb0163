#!/usr/bin/env bash
# On a machine with a GPU: is it well, how fast is it, and one row of Table 1 at full size on random weights.
# usage: experiments/gpu/run.sh OUT [DEVICE] [full|small]   (OUT must not exist; DEVICE is cuda:0)
#
#   CAPSMITH=...  the binary, where it is not target/release/capsmith
#   DATA=...      a data set such as Flickr8k; drawn pictures, as many as Flickr8k's, where it is not given
#   EPOCHS=...    epochs of each training (2)
#   CONFIG=...    the row's configuration, where it is not below the repository's root
set -euo pipefail
out=$1 device=${2:-cuda:0} size=${3:-full}
capsmith=${CAPSMITH:-target/release/capsmith}
config=${CONFIG:-configs/flickr8k/prefix-gradient-clipping.toml}
case $size in
full)
    pictures=8091 dtype=f16 test=5000
    clip="--image-size 224 --patch-size 14 --hidden-size 1024 --layers 24 --heads 16 --projection-dim 768"
    gpt2="--vocab-size 50257 --hidden-size 768 --layers 12 --heads 12 --positions 1024"
    ;;
small)
    pictures=120 dtype=f32 test=100
    clip="--image-size 32 --patch-size 16 --hidden-size 32 --layers 1 --projection-dim 24"
    gpt2="--vocab-size 400 --hidden-size 32 --layers 1 --heads 2"
    ;;
*)
    echo "the size is \"$size\", but must be full or small" >&2
    exit 1
    ;;
esac
mkdir "$out"

# Prints a command, runs it, and prints how long it took.
step() {
    local start=$SECONDS code=0
    printf '$ capsmith %s\n' "$*"
    "$capsmith" "$@" || code=$?
    printf -- '-- %d s\n\n' $((SECONDS - start))
    return "$code"
}

# What doctor finds wrong is no reason not to try the rest.
well=0
step doctor --device "$device" --bench --out "$out/doctor" || well=$?

data=${DATA:-$out/pictures}
if [ -z "${DATA:-}" ]; then
    side=$([ "$size" = full ] && echo 224 || echo 32)
    step dataset draw --out "$data" --count "$pictures" --size "$side"
fi
# shellcheck disable=SC2086 # each holds several words
step init clip --out "$out/clip" $clip
# shellcheck disable=SC2086
step init gpt2 --out "$out/gpt2" --dataset "$data" --test-captions "$test" $gpt2
step precompute --dataset "$data" --clip "$out/clip" --out "$out/embeddings.safetensors" \
    --device "$device" --dtype "$dtype"

for precision in f32 tf32 bf16; do
    [ "$precision$device" = tf32cpu ] && continue
    run=$out/run-$precision
    step train --config "$config" --out "$run" --set "training.device=$device" \
        --set "training.precision=$precision" --set "training.epochs=${EPOCHS:-2}" \
        --set "data.dataset=$data" --set "data.test_captions=$test" \
        --set "data.embeddings=$out/embeddings.safetensors" --set "gpt2.model=$out/gpt2"
    step evaluate --run "$run" --device "$device"
done
printf -- '-- %d s in all\n' "$SECONDS"
exit "$well"
