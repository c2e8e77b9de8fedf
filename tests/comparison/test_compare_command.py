"""comnet compare as users call it: stored scores and predictions, what is written, and one line for each mistake."""

import csv
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK

from nnunetv2_comnet.comparison.sources import load_evaluations, parse_models
from nnunetv2_comnet.evaluation.results import MISSING, SCORED, CaseScores, Evaluation, read_evaluation
from nnunetv2_comnet.label_schemes import ED, ET, NCR

CASES = [f"P{index}" for index in range(8)]


def label_map(shift: int = 0) -> np.ndarray:
    """A box of oedema around a box of core, 12 x 12 x 12 voxels; `shift` moves it along x."""
    labels = np.zeros((12, 12, 12), np.uint8)
    labels[2:9, 2:9, 2 + shift : 9 + shift] = ED
    labels[4:7, 4:7, 4 + shift : 7 + shift] = NCR
    labels[5, 4:7, 4 + shift : 7 + shift] = ET
    return labels


def write_map(path: Path, labels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(labels), str(path))


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """truth, and predictions of two models: `near` is right, `far` one voxel off, on eight cases."""
    for case in CASES:
        for folder, shift in (("truth", 0), ("near", 0), ("far", 1)):
            write_map(tmp_path / folder / f"{case}.nii.gz", label_map(shift))
    return tmp_path


def stored(folder: Path, reference: Path, *values: float, protocol: str = "legacy", state: str = SCORED) -> Path:
    """A folder with evaluation.json alone: Dice and HD95 of WT."""
    cases = tuple(
        CaseScores(case, state, "", {"WT": {"dice": value, "hd95_mm": 10 * (1 - value)}})
        for case, value in zip(CASES, values, strict=False)
    )
    Evaluation(protocol, str(reference), str(folder / "predictions"), ("WT",), cases).write(folder)
    return folder


def test_predictions_are_scored_and_everything_is_written(run: Any, folders: Path) -> None:
    out = folders / "out"
    answer = run(
        "comnet", "compare", f"near={folders / 'near'}", f"far={folders / 'far'}", "-ref", str(folders / "truth"),
        "--protocol", "legacy", "--metrics", "dice", "-o", str(out),
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    # WT moved by one of its 7 planes: Dice 1 against 6/7. Eight pairs of one sign; four tests, with the average.
    content = json.loads((out / "comparison.json").read_text())
    whole = next(each for each in content["differences"] if each["region"] == "WT")
    assert whole["mean"] == pytest.approx(1 - 6 / 7)
    assert whole["p"] == pytest.approx(2 / 2**8)
    assert whole["p_holm"] == pytest.approx(4 * 2 / 2**8)
    assert whole["verdict"] == "near better"
    assert content["ranking"]["mean_ranks"] == {"near": 1.0, "far": 2.0}
    assert "near better" in answer.stdout
    assert str(out / "comparison.json") in answer.stdout
    assert "| WT | near - far | near better | 8 |" in (out / "comparison.md").read_text()
    rows = list(csv.DictReader((out / "comparison.csv").open()))
    assert [row["region"] for row in rows] == ["ET", "TC", "WT", "average"]
    # What was scored is kept in OUT, with all metrics; the predictions' own folders are as they were.
    assert "hd95_mm" in read_evaluation(out / "scores" / "far").metrics
    assert not (folders / "far" / "evaluation.json").exists()
    again = run(
        "comnet", "compare", f"near={out / 'scores' / 'near'}", f"far={out / 'scores' / 'far'}", "--metrics", "dice"
    )
    assert again.returncode == 0, again.stderr
    assert again.stdout in answer.stdout


def test_stored_scores_are_used_as_they_are_without_any_images(run: Any, tmp_path: Path) -> None:
    reference = tmp_path / "truth"
    one = stored(tmp_path / "one", reference, 0.9, 0.8, 0.7)
    two = stored(tmp_path / "two", reference, 0.8, 0.8, 0.9)
    three = stored(tmp_path / "three", reference, 0.5, 0.4, 0.3, state=MISSING)
    answer = run("comnet", "compare", f"one={one}", f"two={two}", f"three={three}", "--against", "two")
    assert answer.returncode == 0, answer.stderr
    lists = (["--metrics", "dice", "hd95_mm", f"three={three}"], [f"three={three}", "--metrics", "dice,hd95_mm"])
    for words in lists:  # the protocol's default, named
        same = run("comnet", "compare", f"one={one}", "--against", "two", f"two={two}", *words)
        assert same.stdout == answer.stdout, same.stderr
    assert "one - two" in answer.stdout
    assert "three - two" in answer.stdout
    assert "one - three" not in answer.stdout
    assert "None of the 4 tests can reach p 0.05" in answer.stdout
    assert "three, missing-prediction: 3 cases (P0, P1, P2); kept, with the protocol's penalty scores." in answer.stdout


def test_scores_that_no_longer_hold_are_made_anew(folders: Path) -> None:
    truth, near = folders / "truth", folders / "near"
    wrong = [0.123] * len(CASES)

    def dice_of(source: Path, reference: Path = truth, protocol: str = "legacy") -> float:
        models = {"model": source, "other": folders / "far"}
        found = load_evaluations(models, reference, protocol, ["dice"])["model"]
        return float(found.table("dice")[0, found.regions.index("WT")])

    stored(near, truth, *wrong)
    assert dice_of(near) == 0.123  # of this protocol and truth, and newer than all masks
    assert dice_of(near, protocol="brats2023") == 1.0
    other = folders / "truth2"
    for case in CASES:
        write_map(other / f"{case}.nii.gz", label_map(1))
    assert dice_of(near, reference=other) == pytest.approx(6 / 7)
    later = time.time() + 60
    os.utime(near / "P3.nii.gz", (later, later))
    assert dice_of(near) == 1.0
    stored(near, truth, *wrong)
    os.utime(near / "evaluation.json", (later + 60, later + 60))
    assert dice_of(near) == 0.123
    (near / "P5.nii.gz").unlink()
    assert dice_of(near) == 1.0
    assert read_evaluation(near).table("dice")[0, 0] == 0.123  # the user's own file is not touched


def test_scores_apart_from_the_predictions_know_where_these_are(folders: Path) -> None:
    scores = stored(folders / "scores", folders / "truth", 0.5, protocol="brats2023")
    (folders / "near").rename(scores / "predictions")
    models = {"apart": scores, "far": folders / "far"}
    found = load_evaluations(models, folders / "truth", "legacy", ["dice"])["apart"]
    assert found.table("dice").min() == 1.0
    assert found.protocol == "legacy"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["one=DIR/one", "two=DIR/two", "--metrics", "volume_truth_mm3"], "volume_truth_mm3"),
        (["one=DIR/one", "two=DIR/two", "--metrics", "brier"], "brier"),
        (["one=DIR/one", "two=DIR/two", "--protocol", "brats2023"], "evaluation.json"),
        (["one=DIR/one", "old=DIR/old"], "brats2023"),
        (["one=DIR/one", "moved=DIR/moved"], "other-truth"),
        (["one=DIR/one", "two=DIR/two", "-ref", "DIR/absent"], "absent"),
        (["one=DIR/one", "two=DIR/two", "-ref", "DIR/empty"], "one"),
        (["one=DIR/one", "later=DIR/later"], "later"),
        (["images=DIR/images", "more=DIR/more", "--protocol", "legacy"], "-ref"),
    ],
)  # fmt: skip
def test_a_mistake_gets_one_line(run: Any, tmp_path: Path, arguments: list[str], said: str) -> None:
    """Others are in the corpus of bad inputs."""
    reference = tmp_path / "truth"
    for name in ("one", "two"):
        stored(tmp_path / name, reference, 0.9, 0.8)
    stored(tmp_path / "old", reference, 0.9, 0.8, protocol="brats2023")
    stored(tmp_path / "moved", tmp_path / "other-truth", 0.9, 0.8)
    Evaluation(
        "legacy", str(reference), "", ("WT",), (CaseScores("Q", SCORED, "", {"WT": {"dice": 1.0, "hd95_mm": 0}}),)
    ).write(tmp_path / "later")
    (tmp_path / "empty").mkdir()
    for name in ("images", "more"):
        write_map(tmp_path / name / "P0.nii.gz", label_map())
    before = sorted(path for path in tmp_path.rglob("*"))
    answer = run("comnet", "compare", *(word.replace("DIR", str(tmp_path)) for word in arguments))
    assert answer.returncode == 1
    assert answer.stdout == ""
    assert answer.stderr.startswith("comnet: error: "), answer.stderr
    assert answer.stderr.count("\n") == 1
    assert said in answer.stderr
    assert sorted(path for path in tmp_path.rglob("*")) == before


def test_no_model_at_all_is_a_usage_error(run: Any) -> None:
    answer = run("comnet", "compare")
    assert answer.returncode == 2
    assert "NAME=DIR" in answer.stderr


def test_help_says_what_is_computed(run: Any) -> None:
    answer = run("comnet", "compare", "--help")
    assert answer.returncode == 0
    for word in ("NAME=DIR", "-ref", "--protocol", "--metrics", "--against", "--seed", "--jobs", "Wilcoxon", "Holm"):
        assert word in answer.stdout


def test_names_and_folders_are_read_as_given(tmp_path: Path) -> None:
    (tmp_path / "a=b").mkdir()
    (tmp_path / "c").mkdir()
    models = parse_models([f"my model-1.0={tmp_path / 'a=b'}", f"ours+={tmp_path / 'c'}"])
    assert models == {"my model-1.0": tmp_path / "a=b", "ours+": tmp_path / "c"}
