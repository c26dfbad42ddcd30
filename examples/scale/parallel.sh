#!/bin/sh
# A sweep in shards on one machine, or on those of a list, by GNU parallel; --joblog and --resume run what has not ended.
#
#   MODEL=model.onnx PROMPTS=prompts.jsonl RUN=run SHARDS=64 sh parallel.sh --jobs 4
#   MODEL=... sh parallel.sh --sshloginfile machines --workdir "$PWD"
set -eu
export MODEL PROMPTS RUN SHARDS
mkdir -p "$RUN"
seq "$SHARDS" | parallel "$@" --env MODEL --env PROMPTS --env RUN --env SHARDS --joblog "$RUN/jobs.tsv" --resume-failed \
  'qkspace sweep --model "$MODEL" --prompts "$PROMPTS" --shard {}/"$SHARDS" --out "$RUN"/shard-{}.safetensors'
