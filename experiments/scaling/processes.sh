#!/usr/bin/env bash
# A training step of GPT-2 small, and precompute, against the number of processes, each with one thread, on one machine.
# usage: experiments/scaling/processes.sh FLICKR8K FOLDER   (from the repository's root)
set -euo pipefail
flickr8k=$1 folder=$2
capsmith=${CAPSMITH:-target/release/capsmith}
mkdir -p "$folder"
[ -d "$folder/clip" ] || "$capsmith" init clip --out "$folder/clip"

# of PROCESSES COMMAND...: as torchrun starts them
of() {
    local size=$1 rank pids=()
    shift
    export WORLD_SIZE=$size MASTER_ADDR=127.0.0.1 MASTER_PORT=29533 GLOO_SOCKET_IFNAME=lo
    for rank in $(seq 0 $((size - 1))); do
        RANK=$rank "$@" &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do wait "$pid"; done
    unset WORLD_SIZE MASTER_ADDR MASTER_PORT
}

for size in 1 2 4; do
    of $size "$capsmith" bench distributed --dataset "$flickr8k" --batch-size 16 --threads 1 --rounds 3
done
export OMP_NUM_THREADS=1 RAYON_NUM_THREADS=1
for size in 1 2; do
    start=$(date +%s.%N)
    of $size "$capsmith" precompute --dataset "$flickr8k" --clip "$folder/clip" --out "$folder/of-$size.safetensors" 2>/dev/null
    python3 -c "import sys; s = float(sys.argv[2]) - float(sys.argv[1]); print(f'precompute by {sys.argv[3]} processes: {s:.1f} s, {8091 / s:.0f} pictures/s')" \
        "$start" "$(date +%s.%N)" $size
done
cmp "$folder/of-1.safetensors" "$folder/of-2.safetensors" && echo "the same embeddings"
