#!/usr/bin/env bash
# Several hosts on one machine: each process in a network namespace of its own, with its own address, joined by a
# bridge. Trains on one host and on several, compares the losses, counts the bytes that each host sent, cuts one
# host off in the middle of training, and goes on from the checkpoint.
#
# Needs root and iproute2. Usage: namespaces.sh CAPSMITH FOLDER [HOSTS]
#   CAPSMITH  a capsmith built with --features gloo
#   FOLDER    for what it makes; must not exist
set -euo pipefail
capsmith=$(realpath "$1") folder=$2 hosts=${3:-4}
repository=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../..")
mkdir "$folder"
cd "$folder"

bridge=capsmith0
clean_up() {
    for host in $(seq 1 "$hosts"); do
        # Processes of a host that was cut off may still be waiting.
        ip netns pids "capsmith$host" 2>/dev/null | xargs -r kill -9 2>/dev/null || true
        ip netns del "capsmith$host" 2>/dev/null || true
    done
    ip link del $bridge 2>/dev/null || true
}
trap clean_up EXIT
clean_up
ip link add $bridge type bridge
ip link set $bridge up
for host in $(seq 1 "$hosts"); do
    ip netns add "capsmith$host"
    ip link add "veth$host" type veth peer name eth0 netns "capsmith$host"
    ip link set "veth$host" master $bridge up
    ip -n "capsmith$host" addr add "10.77.0.$host/24" dev eth0
    ip -n "capsmith$host" link set eth0 up
    ip -n "capsmith$host" link set lo up
done

"$capsmith" dataset draw --out set --count 300 --size 64
"$capsmith" init clip --out clip --image-size 64
"$capsmith" init gpt2 --out gpt2 --dataset set --test-captions 100 --dropout 0
"$capsmith" precompute --dataset set --clip clip --out embeddings.safetensors

# train OUT ARGUMENT...
train() {
    local out=$1
    shift
    "$capsmith" train --config "$repository/configs/demo/prefix-gradient-clipping.toml" --out "$out" \
        --set data.dataset=set --set data.embeddings=embeddings.safetensors --set gpt2.model=gpt2 \
        --set data.test_captions=100 --set training.threads=1 --set training.scored_pictures=0 \
        --set training.peer_timeout_seconds=10 --set training.checkpoint_every_steps=10 "$@"
}

# on_hosts OUT ARGUMENT...: starts one process on each host, whose numbers go to the array `processes`.
on_hosts() {
    local out=$1 host
    processes=()
    for host in $(seq 1 "$hosts"); do
        export RANK=$((host - 1)) WORLD_SIZE=$hosts MASTER_ADDR=10.77.0.1 MASTER_PORT=29511 GLOO_SOCKET_IFNAME=eth0
        export -f train
        export capsmith repository
        ip netns exec "capsmith$host" bash -c 'train "$@"' train "$@" >"$out.$host.log" 2>&1 &
        processes+=($!)
    done
    unset RANK WORLD_SIZE MASTER_ADDR MASTER_PORT GLOO_SOCKET_IFNAME
}

sent() { ip netns exec "capsmith$1" cat /sys/class/net/eth0/statistics/tx_bytes; }

printf '== one host\n'
train alone --set training.epochs=2
printf '== %s hosts\n' "$hosts"
before=$(sent 2)
on_hosts shared --set training.epochs=2
for process in "${processes[@]}"; do wait "$process"; done
after=$(sent 2)
python3 "$repository/tests/clusters/losses.py" alone shared
python3 - "$hosts" $((after - before)) <<'PYTHON'
import json, struct, sys
hosts, sent = map(int, sys.argv[1:])
steps = sum(1 for _ in open("shared/metrics.csv")) - 1
checkpoint = open(f"shared/checkpoints/step-{steps:09}/model.safetensors", "rb")
header = json.loads(checkpoint.read(struct.unpack("<Q", checkpoint.read(8))[0]))
weights = sum(t["data_offsets"][1] - t["data_offsets"][0] for name, t in header.items() if name != "__metadata__")
# A ring sends each byte 2 (n - 1) / n times.
least = steps * weights * 2 * (hosts - 1) / hosts
print(f"host 2 sent {sent / 1e6:.1f} MB; {steps} sums of {weights / 1e6:.2f} MB of gradients need {least / 1e6:.1f} MB: {sent / least:.3f} of the least")
PYTHON

printf '== one host is cut off\n'
on_hosts cut --set training.epochs=1000
while [ ! -d cut/checkpoints ]; do sleep 0.1; done
sleep 1
ip link set veth2 down
start=$SECONDS codes=()
for process in "${processes[@]}"; do
    code=0
    wait "$process" || code=$?
    codes+=("$code")
done
printf 'exit codes %s after %d s\n' "${codes[*]}" $((SECONDS - start))
tail -qn 1 cut.*.log
for code in "${codes[@]}"; do [ "$code" = 1 ]; done
[ $((SECONDS - start)) -lt 60 ]
ip link set veth2 up
printf '== one process goes on from the checkpoint\n'
cut_off=$(ls cut/checkpoints | tail -n 1)
train cut --set training.epochs=1000 --resume --stop-after-epochs 10 2>&1 | grep -v step
printf 'from %s to %s\n' "$cut_off" "$(ls cut/checkpoints | tail -n 1)"
printf '== all as it should be\n'
