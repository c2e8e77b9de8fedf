"""A whole study by Snakemake: killed with all its children in the middle of a training, resumed, ended in a report."""

import csv
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.workflow.study_runs import TINY_STUDY, environment, snakemake, words

pytest.importorskip("snakemake", reason="Snakemake is not installed (it needs Python 3.11): pip install '.[workflow]'")
psutil = pytest.importorskip("psutil")  # comes with Snakemake
pytestmark = pytest.mark.long

MODEL = "{}__nnUNetCoMNeTPlans__3d_fullres"
STAGE_1, STAGE_2 = (MODEL.format(name) for name in ("nnUNetTrainerCoMNeT", "nnUNetTrainerCoMNeTCorrDiff"))
HELD_OUT = ["BT0501", "BT0502", "BT0503"]


def fold_folder(study: Path, model: str, fold: int) -> Path:
    return study / "results" / "Dataset501_Study" / model / f"fold_{fold}"


def wait_for(study: Path, started: "subprocess.Popen[bytes]") -> Path:
    """Returns the fold of stage 2 that has saved a checkpoint and is not finished; stage 1 is finished then."""
    while started.poll() is None:
        for fold in range(2):
            folder = fold_folder(study, STAGE_2, fold)
            if list(folder.glob("checkpoint_*.pth")) and not (folder / "checkpoint_final.pth").exists():
                return folder
        time.sleep(0.05)
    raise AssertionError(f"the workflow ended by itself: {(study / 'said').read_text()[-3000:]}")


def kill_all(started: "subprocess.Popen[bytes]") -> int:
    """SIGKILL to the process and all that descends from it; returns how many they were."""
    top = psutil.Process(started.pid)
    family = [top, *top.children(recursive=True)]
    for process in family:
        process.kill()
    started.wait()
    psutil.wait_procs(family[1:])
    return len(family)


def stamps(folders: list[Path]) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for folder in folders for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, run: Any) -> Path:
    """The finished study; what the kill found is in `killed.json` beside it."""
    folder = tmp_path_factory.mktemp("studies") / "a study"
    folder.mkdir()
    for name, cases, start in (("patients", 6, 1), ("new patients", 3, 501)):
        made = run(
            "comnet", "phantom", str(folder / name), "--cases", str(cases), "--start", str(start), "--spacing", "6"
        )
        assert made.returncode == 0, made.stderr
    (folder / "study.yaml").write_text(TINY_STUDY)
    with open(folder / "said", "wb") as said:
        started = subprocess.Popen(words(folder), env=environment(), stdout=said, stderr=said)
        interrupted = wait_for(folder, started)
        killed = kill_all(started)
    assert started.returncode == -signal.SIGKILL
    finished = [fold_folder(folder, STAGE_1, fold) for fold in range(2)]
    before = stamps(finished)
    unlocked = snakemake(folder, "--unlock")
    assert unlocked.returncode == 0, unlocked.stderr
    answer = snakemake(folder)
    assert answer.returncode == 0, answer.stdout[-3000:] + answer.stderr[-3000:]
    found = {"killed": killed, "interrupted": str(interrupted), "before": before, "after": stamps(finished)}
    (folder / "killed.json").write_text(json.dumps(found))
    return folder


def test_the_study_ends_in_a_report(study: Path) -> None:
    page = (study / "report" / "heldout.html").read_text()
    assert all(case in page for case in HELD_OUT)
    assert (study / "cv_report" / "table.md").is_file()
    record = json.loads((study / "predicted" / "heldout" / "comnet_run.json").read_text())
    assert {case: entry["state"] for case, entry in record["cases"].items()} == dict.fromkeys(HELD_OUT, "done")
    assert set(record["parts"]) == {"0 of 2", "1 of 2"}
    with open(study / "predicted" / "heldout" / "volumes.csv", newline="") as stream:
        assert [row["case"] for row in csv.DictReader(stream)] == HELD_OUT
    scores = json.loads((study / "predicted" / "heldout" / "evaluation.json").read_text())
    assert sorted(scores["cases"]) == HELD_OUT


def test_the_kill_hit_a_training_and_finished_folds_were_not_trained_again(study: Path) -> None:
    found = json.loads((study / "killed.json").read_text())
    assert found["killed"] > 2  # Snakemake, its shell, the training
    assert len(found["before"]) > 10
    assert found["after"] == found["before"]
    logs = sorted(Path(found["interrupted"]).glob("training_log_*.txt"))
    assert len(logs) == 2  # before the kill and after it
    assert "Epoch 0" in logs[0].read_text()
    assert "Epoch 0" not in logs[1].read_text()  # it went on from its checkpoint


def test_a_finished_study_has_nothing_left_to_do(study: Path) -> None:
    answer = snakemake(study, "--dry-run")
    assert answer.returncode == 0
    assert "Nothing to be done" in answer.stdout + answer.stderr


def test_a_worker_that_died_is_noticed_and_only_its_patients_are_predicted_again(study: Path) -> None:
    """What a killed worker leaves: its mark and record are missing, one of its masks too."""
    out = study / "predicted" / "heldout"
    for path in (out / "comnet_run_part1of2.json", out / "volumes_part1of2.csv", out / "BT0502.nii.gz"):
        path.unlink()
    kept = (out / "BT0501.nii.gz").stat().st_mtime_ns
    answer = snakemake(study, "--forcerun", "merge_parts", "--retries", "0")
    assert answer.returncode == 1
    said = (study / "logs" / "merge_heldout.log").read_text()
    assert "1 of 3 cases" in said
    assert "BT0502: " in said
    answer = snakemake(study, "--forcerun", "done/predict/heldout/part_1.done")
    assert answer.returncode == 0, answer.stdout[-3000:] + answer.stderr[-3000:]
    assert (out / "BT0502.nii.gz").is_file()
    assert (out / "BT0501.nii.gz").stat().st_mtime_ns == kept
    assert os.path.getmtime(study / "report" / "heldout.html") > os.path.getmtime(out / "BT0502.nii.gz")
