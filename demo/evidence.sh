#!/usr/bin/env bash
# After demo/run.sh, in its folder: the paper's baseline, its table and figures, fitted post-processing, scores, report.
# Usage: demo/evidence.sh FOLDER
set -euo pipefail
[ $# -eq 1 ] && [ -d "$1/results" ] || { echo "usage: demo/evidence.sh FOLDER, one that demo/run.sh made" >&2; exit 2; }
out=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)

export log=$out/evidence.log
. "$here/common.sh"
refined=nnUNetTrainerCoMNeTCorrDiff
models=(nnUNetTrainerSegResNet nnUNetTrainerCoMNeT "$refined")
new=$nnUNet_raw/Dataset502_HeldOut
model=$nnUNet_results/Dataset501_UTSWGlioma/${refined}__nnUNetCoMNeTPlans__3d_fullres

train nnUNetTrainerSegResNet
lines=40 step comnet cv-report -d 501 --models "${models[@]}" -o "$out/cv_report"

# Rules that survive nested cross-validation; the stock command applies the same ones as comnet predict.
lines=30 step comnet fit-postprocessing -d 501 -tr "$refined" --protocol brats2023 -o "$out/fitted"
step comnet predict -i "$new/imagesTr" -o "$out/refined with rules" -d 501 -device cpu --disable_tta \
  --postprocessing "$out/fitted/comnet_postprocessing.json"
step comnet predict -i "$new/imagesTr" -o "$out/refined without rules" -d 501 -device cpu --disable_tta
if [ -f "$out/fitted/postprocessing.pkl" ]; then
  step nnUNetv2_apply_postprocessing -i "$out/refined without rules" -o "$out/refined by the stock command" -np 1 \
    -pp_pkl_file "$out/fitted/postprocessing.pkl" -plans_json "$model/plans.json" -dataset_json "$model/dataset.json"
  for mask in "$out/refined with rules"/*.nii.gz; do
    python "$here/same_voxels.py" "$mask" "$out/refined by the stock command/$(basename "$mask")"
  done
fi

for name in "stage 1" refined; do
  lines=12 step comnet evaluate -ref "$new/labelsTr" -pred "$out/$name" --protocol brats2023
done
lines=40 step comnet compare "coarse=$out/stage 1" "refined=$out/refined" -ref "$new/labelsTr" --protocol brats2023 \
  -o "$out/comparison"
step comnet report "$out/report.html" -i "$new/imagesTr" -ref "$new/labelsTr" -pred "$out/refined" \
  --figures "$out/cv_report/figures" --tables "$out/cv_report"
printf '\n[%4ds] done; open %s\n' "$SECONDS" "$out/report.html"
