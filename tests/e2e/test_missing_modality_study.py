"""The study on missing images from beginning to end, with a training too short to learn much."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from study.missing_settings import MISSING_CHANNELS, MODELS, QUICK

ROOT = Path(__file__).parents[2]
NAME = "missing_modality_study"
MEMBERS = {"ET": (3,), "TC": (1, 3), "WT": (1, 2, 3)}  # labels of the converted masks

pytestmark = pytest.mark.long


def run_study(folder: Path) -> None:
    words = [sys.executable, "-m", "study.missing_modality", str(folder), "--quick"]
    ran = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=1200)
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-3000:]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("study") / "study output"
    run_study(out)
    return out


@pytest.fixture(scope="module")
def report(folder: Path) -> dict[str, Any]:
    written: dict[str, Any] = json.loads((folder / f"{NAME}.json").read_text())
    return written


def plain_dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * (a & b).sum() / (a.sum() + b.sum()) if a.any() or b.any() else 1.0


def labels_of(path: Path) -> np.ndarray:
    return np.asarray(nibabel.load(path).dataobj)


def test_every_cell_is_the_mean_of_plain_dice(folder: Path, report: dict[str, Any]) -> None:
    assert [tuple(row["missing_channels"]) for row in report["rows"]] == list(MISSING_CHANNELS)
    truths = sorted((folder / "raw" / "Dataset502_HeldOut" / "labelsTr").glob("*.nii.gz"))
    assert len(truths) == QUICK.held_out
    found = set()
    for model in MODELS:
        for row in report["rows"]:
            masks = folder / model.name / "predictions" / ("_".join(row["missing_channels"]) or "complete")
            for region, members in MEMBERS.items():
                dice = [
                    plain_dice(np.isin(labels_of(path), members), np.isin(labels_of(masks / path.name), members))
                    for path in truths
                ]
                assert row["mean"][model.name][region] == pytest.approx(np.mean(dice), abs=1e-12)
                found.add(round(float(np.mean(dice)), 6))
    assert len(found) > len(MISSING_CHANNELS), "cells that are all alike would test nothing"
    page = (folder / f"{NAME}.md").read_text()
    cells = [line.split("|")[1].strip() for line in page.splitlines() if line.startswith("| ")]
    assert cells == [
        "missing",
        "---",
        "nothing",
        *(", ".join(missing) for missing in MISSING_CHANNELS[1:]),
    ]


def test_the_models_differ_in_dropout_alone_and_patients_lack_their_images(folder: Path) -> None:
    plans = [
        json.loads(next((folder / model.name / "results").glob("*/*/plans.json")).read_text())["comnet"]
        for model in MODELS
    ]
    assert [section.pop("modality_dropout") for section in plans] == [0.5, 0.0]
    assert plans[0] == plans[1]
    record = json.loads((folder / MODELS[0].name / "predictions" / "T1c_FLAIR" / "comnet_run.json").read_text())
    assert len(record["cases"]) == QUICK.held_out
    assert all(entry["missing_channels"] == ["T1c", "FLAIR"] for entry in record["cases"].values())


def test_a_second_run_redoes_nothing(folder: Path) -> None:
    made = [*folder.glob("*/results/*/*/fold_0/checkpoint_final.pth"), *folder.glob("*/predictions/*/*.nii.gz")]
    assert len(made) == len(MODELS) * (1 + len(MISSING_CHANNELS) * QUICK.held_out)
    before = {path: path.stat().st_mtime_ns for path in made}
    run_study(folder)
    assert {path: path.stat().st_mtime_ns for path in made} == before
