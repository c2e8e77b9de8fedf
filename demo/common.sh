# What both scripts share, read where $out, the folder, and $log are set: nnU-Net's settings, how a step is run and
# shown, and how folds are trained.
export nnUNet_raw=$out/raw nnUNet_preprocessed=$out/preprocessed nnUNet_results=$out/results
mkdir -p "$nnUNet_raw" "$nnUNet_preprocessed" "$nnUNet_results"
eval "$(comnet env)"

# Networks this small gain little from a second thread: folds train side by side instead, each on its share of the
# cores, without worker processes. More than three at once would want more memory than a laptop has.
cores=$(python -c 'from nnunetv2_comnet.workers import allowed_threads; print(allowed_threads())')
at_once=$((cores < 3 ? cores : 3))
export OMP_NUM_THREADS=$((cores / at_once)) nnUNet_n_proc_DA=0 nnUNet_def_n_proc=1
export OMP_WAIT_POLICY=PASSIVE   # threads that wait do not spin: other jobs on the machine cost less

step() { printf '\n[%4ds] $ %s\n' "$SECONDS" "$*"; "$@" 2>&1 | tee -a "$log" | tail -n "${lines:-4}"; }

# train TRAINER: its five folds. A fold's last lines are shown when it has ended; one that fails begins no other.
train() {
  local command="nnUNetv2_train 501 3d_fullres FOLD -tr $1 -p nnUNetCoMNeTPlans -device cpu --npz" status=0 fold
  printf '\n[%4ds] $ %s   (folds 0 to 4, %d at once)\n' "$SECONDS" "$command" "$at_once"
  printf '%s\n' 0 1 2 3 4 | xargs -P "$at_once" -I FOLD bash -c '
    '"$command"' > "$log.FOLD" 2>&1 || failed=$?
    { echo "fold FOLD:"; tail -n 3 "$log.FOLD"; } > "$log.FOLD.end"
    cat "$log.FOLD.end"   # in one piece: line by line it would mix with those of the other folds
    [ -z "${failed:-}" ] || exit 255' || status=$?
  for fold in 0 1 2 3 4; do
    if [ -f "$log.$fold" ]; then cat "$log.$fold" >> "$log"; fi
  done
  rm -f "$log".[0-4] "$log".[0-4].end
  return "$status"
}
