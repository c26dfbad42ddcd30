#!/bin/sh
# A sweep over 64 machines of a Slurm cluster, one shard each. MODEL, PROMPTS and RUN (a folder that all of them see) are
# set by whoever submits it:
#
#   MODEL=model.onnx PROMPTS=prompts.jsonl RUN=run sbatch slurm.sh
#
# A shard that is preempted is queued again, and goes on from its checkpoint.
#SBATCH --array=1-64
#SBATCH --cpus-per-task=8
#SBATCH --requeue
set -eu
mkdir -p "$RUN"
shard="$SLURM_ARRAY_TASK_ID"
qkspace sweep --model "$MODEL" --prompts "$PROMPTS" --shard "$shard/$SLURM_ARRAY_TASK_COUNT" \
  --checkpoint "$RUN/state-$shard" --out "$RUN/shard-$shard.safetensors"
