"""What the commands open for writing under its final name, seen by an audit hook of Python's while they run."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from nnunetv2_comnet.plans import PLANS_NAME
from nnunetv2_comnet.settings import make_settings
from tests.dataset_conversion.tiny_patients import write_utsw

AUDITED = Path(__file__).with_name("audited.py")
# What nnU-Net's training writes in place, as docs/reference/faults.md lists it.
NNUNETS = {
    "dataset.json",
    "dataset_fingerprint.json",
    "debug.json",
    "plans.json",
    "progress.png",
    "summary.json",
    "training_log.txt",
}


def opened(tmp_path: Path, folder: Path, *words: object, **variables: str) -> set[tuple[str, str]]:
    """Runs a command: who opened what in place, files of nnU-Net's by their names alone."""
    notes = tmp_path / "notes"
    command = [sys.executable, str(AUDITED), str(folder), str(notes), *map(str, words)]
    done = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = notes.read_text().splitlines() if notes.exists() else []
    notes.unlink(missing_ok=True)
    found = {(owner, Path(path).name) for owner, path in (line.split("\t") for line in lines)}
    return {(owner, re.sub(r"log_[\d_]+", "log", name)) for owner, name in found}


@pytest.mark.chain
def test_our_commands_write_nothing_in_place(model: Path, patients: Path, tmp_path: Path) -> None:
    for number in range(3):
        write_utsw(tmp_path / "in", f"BT000{number}", number)
    out = tmp_path / "out"
    convert = ("comnet", "convert", "utsw", tmp_path / "in", "-d", "501", "--out", out, "--preview", "--jobs", "1")
    assert opened(tmp_path, out, *convert) == set()
    assert len(list(out.rglob("*.nii.gz"))) == 15
    masks = out / "Dataset501_UTSWGlioma" / "labelsTr"
    words = ("-ref", masks, "-pred", masks)
    assert opened(tmp_path, out, "comnet", "evaluate", *words, "--protocol", "brats2023", "-o", out / "s") == set()
    assert opened(tmp_path, out, "comnet", "report", out / "page.html", *words) == set()
    assert opened(tmp_path, out, "comnet", "phantom", out / "phantom", "--cases", "1", "--spacing", "6") == set()
    predict = ("-i", patients, "-o", out / "p", "-m", model, "-f", "0", "--disable_tta", "-device", "cpu")
    maps = ("--save_probabilities", "--entropy", "--probability-maps")
    assert opened(tmp_path, out, "comnet", "predict", *predict, *maps) == set()
    assert len(list((out / "p").glob("*.npz"))) == 3


@pytest.mark.chain
def test_training_writes_in_place_what_is_nnunets_and_no_more(blobs: Path, tmp_path: Path) -> None:
    """Of what Python opens; its images are written by SimpleITK."""
    plans = json.loads((blobs / f"{PLANS_NAME}.json").read_text())
    tiny = {"base_channels": 4, "patch_size": (32, 32, 32), "max_epochs": 2, "steps_per_epoch": 1, "save_every": 1}
    settings = make_settings("demo", **tiny)
    plans |= {"comnet": settings.model_dump(mode="json"), "plans_name": "TinyPlans"}
    plans["configurations"]["3d_fullres"] |= {"architecture": settings.architecture(), "patch_size": [32, 32, 32]}
    (blobs / "TinyPlans.json").write_text(json.dumps(plans))
    results = tmp_path / "results"
    words = ("nnUNetv2_train", "501", "3d_fullres", "0", "-tr", "nnUNetTrainerCoMNeT", "-p", "TinyPlans")
    found = opened(tmp_path, tmp_path, *words, "-device", "cpu", nnUNet_results=str(results))
    assert {owner for owner, _ in found} == {"theirs"}
    assert {name for _, name in found} == NNUNETS
    fold = next(results.glob("*/*/fold_0"))
    assert (fold / "checkpoint_final.pth").is_file()
    assert not list(fold.glob("checkpoint_latest.pth"))
