#!/usr/bin/env bash
# The main job from beginning to end on generated patients, by nnU-Net's own commands.
# Usage: demo/run.sh FOLDER [--cases N] [flags of `comnet plan`, e.g. --max-epochs 2]
set -euo pipefail
[ $# -ge 1 ] || { echo "usage: demo/run.sh FOLDER [--cases N] [flags of comnet plan]" >&2; exit 2; }
mkdir -p "$1"; out=$(cd "$1" && pwd); shift
cases=15
if [ "${1:-}" = --cases ]; then cases=$2; shift 2; fi
here=$(cd "$(dirname "$0")" && pwd)

export log=$out/demo.log
. "$here/common.sh"
model=(-d 501 -c 3d_fullres -tr nnUNetTrainerCoMNeTCorrDiff -p nnUNetCoMNeTPlans)
folds=(0 1 2 3 4)

lines=20 step comnet doctor
step comnet phantom "$out/patients" --cases "$cases" --spacing 3.5 --jobs 2
step comnet phantom "$out/new patients" --cases 4 --start 501 --spacing 3.5 --jobs 2
lines=12 step comnet convert utsw "$out/patients" -d 501 --jobs 2 --preview
step comnet convert utsw "$out/new patients" -d 502 --name HeldOut --jobs 2
lines=12 step comnet plan -d 501 --preset demo --preprocess --jobs 2 "$@"

train nnUNetTrainerCoMNeT           # stage 1
train nnUNetTrainerCoMNeTCorrDiff   # stage 2 needs all folds of stage 1
lines=8 step comnet calibrate -d 501 -device cpu
step nnUNetv2_find_best_configuration 501 -c 3d_fullres -tr nnUNetTrainerCoMNeTCorrDiff -p nnUNetCoMNeTPlans -f "${folds[@]}"

new=$nnUNet_raw/Dataset502_HeldOut
trained=$nnUNet_results/Dataset501_UTSWGlioma/nnUNetTrainerCoMNeTCorrDiff__nnUNetCoMNeTPlans__3d_fullres
found=$trained/crossval_results_folds_0_1_2_3_4
# Without mirroring: stock prediction would refine every tile eight times over.
stock=("${model[@]}" -f "${folds[@]}" -device cpu -npp 1 -nps 1 --disable_tta)
step nnUNetv2_predict -i "$new/imagesTr" -o "$out/predicted" "${stock[@]}"
step nnUNetv2_apply_postprocessing -i "$out/predicted" -o "$out/postprocessed" \
  -pp_pkl_file "$found/postprocessing.pkl" -plans_json "$found/plans.json" -np 1

# The paper's way: fold probabilities averaged, each fold's map refined first; and stage 1 alone beside it.
step comnet predict -i "$new/imagesTr" -o "$out/refined" -d 501 -f "${folds[@]}" -device cpu --entropy --disagreement
step comnet predict -i "$new/imagesTr" -o "$out/stage 1" -d 501 -f "${folds[@]}" -device cpu --refine none

# The model travels as one file: installed into an empty results folder, it predicts the same.
step nnUNetv2_export_model_to_zip "${model[@]}" -f "${folds[@]}" -o "$out/model.zip"
mkdir -p "$out/elsewhere"
export nnUNet_results=$out/elsewhere
step nnUNetv2_install_pretrained_model_from_zip "$out/model.zip"
step nnUNetv2_predict -i "$new/imagesTr" -o "$out/predicted again" "${stock[@]}"
for mask in "$out/predicted"/*.nii.gz; do
  python "$here/same_voxels.py" "$mask" "$out/predicted again/$(basename "$mask")"
done

lines=20 step python "$here/summary.py" "$new" "$out/stage 1"
lines=20 step python "$here/summary.py" "$new" "$out/refined" "$out/truth_and_prediction.png"
printf '\n[%4ds] done; everything is in %s\n' "$SECONDS" "$out"
