#!/usr/bin/env bash
# Table 1 in small on real Flickr8k by one command.
# usage: experiments/flickr8k-small-table/run.sh FLICKR8K OUT   (from the repository's root)
set -euo pipefail
"${CAPSMITH:-target/release/capsmith}" reproduce table1 --configs small --dataset "$1" --out "$2"
