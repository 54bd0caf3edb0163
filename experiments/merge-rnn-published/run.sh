#!/usr/bin/env bash
# Scores the three published runs of merge (threshold 3, layer 256) and prints their mean.
#   experiments/merge-rnn-published/run.sh REFERENCES.json PREDICTIONS_1.json PREDICTIONS_2.json PREDICTIONS_3.json
set -euo pipefail
references=$1
shift
for predictions in "$@"; do
    caption-eval evaluate --references "$references" --predictions "$predictions" --tokenizer ptb
done | awk '
    NF == 2 { if (!($1 in sum)) order[++n] = $1; sum[$1] += $2; runs[$1] = runs[$1] "  " $2 }
    END { for (i = 1; i <= n; i++) printf "%-8s %.5f  (%s )\n", order[i], sum[order[i]] / (ARGC_RUNS), runs[order[i]] }
' ARGC_RUNS=$# -
