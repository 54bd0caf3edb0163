#!/usr/bin/env bash
# A real SLURM of one node with two processors: carries a sweep as an array job, and trains, embeds and captions with two
# tasks of srun. Starts munged, slurmctld and slurmd with a configuration of its own, and stops them.
#
# Needs root and Debian's slurm-wlm. Usage: slurm.sh CAPSMITH FOLDER
#   CAPSMITH  a capsmith built with --features gloo
#   FOLDER    for what it makes; must not exist
set -euo pipefail
capsmith=$(realpath "$1") folder=$2
repository=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../..")
mkdir -p "$folder"
folder=$(realpath "$folder")
cd "$folder"

host=$(hostname -s)
mkdir state spool
cat >slurm.conf <<CONF
ClusterName=capsmith
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
NodeName=$host NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES State=UP
CONF
export SLURM_CONF=$folder/slurm.conf
clean_up() {
    for daemon in slurmd slurmctld; do
        [ ! -f $daemon.pid ] || kill "$(cat $daemon.pid)" 2>/dev/null || true
    done
    [ ! -f munged.pid ] || kill "$(cat munged.pid)" 2>/dev/null || true
}
trap clean_up EXIT
[ -f /etc/munge/munge.key ] || mungekey --create
mkdir -p /run/munge && chown munge: /run/munge
pgrep -x munged >/dev/null || { runuser -u munge -- munged && sleep 1; }
slurmctld && sleep 2
slurmd && sleep 2
for _ in $(seq 30); do sinfo -h -o %T | grep -q idle && break || sleep 1; done
sinfo

"$capsmith" dataset draw --out set --count 300 --size 64
"$capsmith" init clip --out clip --image-size 64
"$capsmith" init gpt2 --out gpt2 --dataset set --test-captions 100 --dropout 0

printf '== a sweep of four trials as an array of two tasks\n'
cat >sweep.toml <<TOML
base = "$repository/configs/demo/prefix-gradient-clipping.toml"
metric = "CIDEr"
direction = "maximize"
split = "validation"
seeds = [1]
clip = "$folder/clip"
[search]
kind = "grid"
[fixed]
data.dataset = "$folder/set"
data.embeddings = "$folder/embeddings.safetensors"
gpt2.model = "$folder/gpt2"
data.test_captions = 100
data.validation_captions = 100
training.epochs = 1
training.threads = 1
training.scored_pictures = 0
[space]
optimizer.learning_rate = [1e-3, 3e-4]
mapper.prefix_length = [5, 10]
TOML
"$capsmith" sweep slurm sweep.toml --tasks 2 --out "$folder/sweep" >sweep.sh
cat sweep.sh
PATH="$(dirname "$capsmith"):$PATH" sbatch --wait --ntasks=1 --cpus-per-task=1 sweep.sh || { cat capsmith-sweep-*.log; exit 1; }
tail -n 3 capsmith-sweep-*.log
cat sweep/trials.csv
[ "$(grep -l 'embeddings made now' sweep/logs/*.log | wc -l)" = 1 ] # once for both tasks

printf '== the same embeddings from two tasks of srun\n'
# Another number of threads sums in another order.
OMP_NUM_THREADS=1 srun --ntasks=2 "$capsmith" precompute --dataset set --clip clip --out shared.safetensors --batch-size 4
OMP_NUM_THREADS=1 "$capsmith" precompute --dataset set --clip clip --out alone.safetensors --batch-size 4
cmp alone.safetensors shared.safetensors

printf '== one process, and two tasks of srun, train the same run\n'
train() {
    "$@" train --config "$repository/configs/demo/prefix-gradient-clipping.toml" \
        --set data.dataset=set --set data.embeddings=embeddings.safetensors --set gpt2.model=gpt2 \
        --set data.test_captions=100 --set training.threads=1 --set training.scored_pictures=0 \
        --set training.epochs=1 --set training.peer_timeout_seconds=60 --out "$out"
}
out=alone train "$capsmith"
export GLOO_SOCKET_IFNAME=lo
out=shared train srun --ntasks=2 "$capsmith"
python3 "$repository/tests/clusters/losses.py" alone shared

printf '== two tasks of srun caption and score the test pictures\n'
srun --ntasks=2 "$capsmith" evaluate --run shared
printf '== the script of a batch job is one process, whatever it asked for\n'
sbatch --wait --ntasks=2 --output=batch.out --wrap "cd $folder && $capsmith evaluate --run alone --out $folder/batch"
tail -n 3 batch.out
printf '== all as it should be\n'
