#!/usr/bin/env bash
# One fold by nnUNetv2_train, going on from its checkpoint where it has one.
# Usage: train.sh DATASET CONFIGURATION FOLD TRAINER PLANS DEVICE THREADS MODEL_FOLDER PREPROCESSED_FOLDER
set -euo pipefail
dataset=$1 configuration=$2 fold=$3 trainer=$4 plans=$5 device=$6 threads=$7 model=$8 preprocessed=$9
folder=$model/fold_$fold
mkdir -p "$folder"

# An orphan of a killed run may still be training this fold: two writers would spoil it.
exec 9> "$folder/.training.lock"
flock -n 9 || { echo "workflow: error: another process is training $folder; wait for it, or end it" >&2; exit 1; }

# A fold goes on only with the plans, settings and patients that it began with.
current=$(cat "$preprocessed/$plans.json" "$preprocessed/splits_final.json" | sha256sum)
begun=$folder/.plans_and_splits.sha256
go_on=()
if ls "$folder"/checkpoint_*.pth > /dev/null 2>&1; then
  go_on=(--c)
  if [ -f "$begun" ] && [ "$(cat "$begun")" != "$current" ]; then
    echo "workflow: error: $folder was begun with other plans or other folds; move it away to train it again, or put" \
      "the configuration back" >&2
    exit 1
  fi
else
  echo "$current" > "$begun"
fi

# On a CPU the network uses all threads of the job; workers for augmentation and export would only take them away.
if [ "$device" = cpu ]; then export nnUNet_n_proc_DA=0 nnUNet_def_n_proc=1
else export nnUNet_n_proc_DA=$((threads > 1 ? threads - 1 : 0)) nnUNet_def_n_proc=$threads
fi
nnUNetv2_train "$dataset" "$configuration" "$fold" -tr "$trainer" -p "$plans" -device "$device" "${go_on[@]}"
