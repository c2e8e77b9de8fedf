"""comnet merge-parts: the parts of one prediction joined; whatever is missing is named, with the part that had it."""

import csv
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

DESCRIPTION = {
    "channel_names": {"0": "T1n", "1": "T1c", "2": "T2w", "3": "FLAIR"},
    "labels": {"background": 0, "whole tumor": [1, 2, 3], "tumor core": [1, 3], "enhancing tumor": [3]},
    "file_ending": ".nii.gz",
}
CASES = ("A", "B", "C", "D", "E")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for case in CASES:
        for channel in range(4):
            (folder / f"{case}_{channel:04d}.nii.gz").touch()
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "dataset.json").write_text(json.dumps(DESCRIPTION))
    return folder


def write_part(
    out: Path,
    suffix: str,
    done: Sequence[str],
    failed: Sequence[str] = (),
    *,
    masks: Sequence[str] | None = None,
    **changed: Any,
) -> None:
    """The files that a worker leaves, by the format that docs and tests of comnet predict describe."""
    run = {
        "versions": {"torch": "2"}, "checkpoints": {"fold_0/checkpoint_final.pth": "ab"}, "options": {"seed": 0},
        "strengths": None, "postprocessing": None, "device": "cpu", **changed,
    }  # fmt: skip
    states = [(case, "done") for case in done] + [(case, "failed") for case in failed]
    run["cases"] = {case: {"state": state, "seconds": 1.5} for case, state in states}
    (out / f"comnet_run{suffix}.json").write_text(json.dumps(run))
    rows = [f"{case},{100 * (1 + CASES.index(case))}.0,50.0,0.0,0.1,0.05,0.0" for case in done]
    head = "case,WT_mm3,TC_mm3,ET_mm3,WT_ml,TC_ml,ET_ml"
    (out / f"volumes{suffix}.csv").write_text("\n".join([head, *rows]) + "\n")
    if failed:
        reasons = {case: f"{case} cannot be read" for case in failed}
        (out / f"failures{suffix}.json").write_text(json.dumps(reasons))
    for case in done if masks is None else masks:
        (out / f"{case}.nii.gz").touch()


def rows(out: Path) -> dict[str, str]:
    with open(out / "volumes.csv", newline="") as stream:
        return {row["case"]: row["WT_mm3"] for row in csv.DictReader(stream)}


def states(out: Path) -> dict[str, str]:
    cases = json.loads((out / "comnet_run.json").read_text())["cases"]
    return {case: entry["state"] for case, entry in cases.items()}


def test_whole_parts_become_one_record(images: Path, out: Path, comnet: Any) -> None:
    write_part(out, "_part0of2", "ACE")
    write_part(out, "_part1of2", "BD", device="cuda (A100)")
    assert comnet("merge-parts", out, "-i", images) == (0, f"joined 2 records: 5 of 5 cases are whole in {out}\n", "")
    assert rows(out) == {"A": "100.0", "B": "200.0", "C": "300.0", "D": "400.0", "E": "500.0"}
    assert states(out) == dict.fromkeys(CASES, "done")
    assert not (out / "failures.json").exists()
    run = json.loads((out / "comnet_run.json").read_text())
    assert {name: part["device"] for name, part in run["parts"].items()} == {"0 of 2": "cpu", "1 of 2": "cuda (A100)"}
    # A second time it says the same: the joined record is not taken for a part.
    assert comnet("merge-parts", out, "-i", images)[0] == 0
    assert states(out) == dict.fromkeys(CASES, "done")


def test_a_part_that_never_ran_is_named_with_its_cases(images: Path, out: Path, comnet: Any) -> None:
    write_part(out, "_part0of2", "ACE")
    code, said, wrong = comnet("merge-parts", out, "-i", images)
    assert (code, wrong.count("\n")) == (1, 1)
    assert said == f"joined 1 records: 3 of 5 cases are whole in {out}\n"
    assert f"2 of 5 cases are missing (all reasons in {out / 'failures.json'}): B: not predicted" in wrong
    assert "part 1 of 2 left no record; run it" in wrong
    assert set(json.loads((out / "failures.json").read_text())) == {"B", "D"}
    assert states(out) == {"A": "done", "B": "missing", "C": "done", "D": "missing", "E": "done"}
    assert set(rows(out)) == {"A", "C", "E"}
    # The part comes after all: nothing is missing, and the reasons are gone.
    write_part(out, "_part1of2", "BD")
    assert comnet("merge-parts", out, "-i", images)[0] == 0
    assert not (out / "failures.json").exists()


@pytest.mark.parametrize(
    ("masks", "reason"),
    [("AC", "not predicted"), ("ACE", "its mask is there, but not in any record")],
    ids=["killed before the mask", "killed between mask and record"],
)
def test_a_part_that_died_is_told_from_one_that_never_ran(
    images: Path, out: Path, comnet: Any, masks: str, reason: str
) -> None:
    write_part(out, "_part0of2", "AC", masks=masks)
    write_part(out, "_part1of2", "BD")
    code, _, wrong = comnet("merge-parts", out, "-i", images)
    assert code == 1
    assert f"E: {reason}: part 0 of 2 ended early" in wrong
    assert "run it again with --continue_prediction" in wrong


def test_a_failed_patient_is_not_missing(images: Path, out: Path, comnet: Any) -> None:
    write_part(out, "_part0of2", "AC", "E")
    write_part(out, "_part1of2", "BD")
    code, _, wrong = comnet("merge-parts", out, "-i", images)
    assert code == 1
    assert "1 of 5 cases are failed" in wrong
    assert wrong.endswith("E: E cannot be read\n")
    code, _, wrong = comnet("merge-parts", out, "-i", images, "--allow-failed")
    assert code == 0
    assert wrong.startswith("warning: 1 of 5 cases are failed")
    assert states(out)["E"] == "failed"
    assert json.loads((out / "failures.json").read_text()) == {"E": "E cannot be read"}
    # Missing ones are never allowed.
    (out / "comnet_run_part1of2.json").unlink()
    code, _, wrong = comnet("merge-parts", out, "-i", images, "--allow-failed")
    assert code == 1
    assert "2 of 5 cases are missing and 1 failed" in wrong


def test_a_recorded_case_whose_files_are_gone_is_missing(images: Path, out: Path, comnet: Any) -> None:
    write_part(out, "_part0of2", "ACE")
    write_part(out, "_part1of2", "BD")
    (out / "entropy").mkdir()
    for case in "ABCD":
        for region in ("WT", "TC", "ET"):
            (out / "entropy" / f"{case}_{region}.nii.gz").touch()
    (out / "D.nii.gz").unlink()
    code, _, wrong = comnet("merge-parts", out, "-i", images)
    assert code == 1
    assert "2 of 5 cases are missing" in wrong
    assert "D: not all of its files are there: part 1 of 2" in wrong
    assert states(out)["E"] == "missing"  # the map that the others have is missing


@pytest.mark.parametrize(
    ("name", "value"),
    [("checkpoints", {"fold_0/checkpoint_final.pth": "cd"}), ("options", {"seed": 1}), ("postprocessing", "ef")],
)
def test_parts_of_different_models_or_options_are_refused(
    images: Path, out: Path, comnet: Any, name: str, value: Any
) -> None:
    write_part(out, "_part0of2", "ACE")
    write_part(out, "_part1of2", "BD", **{name: value})
    code, _, wrong = comnet("merge-parts", out, "-i", images)
    assert (code, wrong.count("\n")) == (1, 1)
    assert f"differ in '{name}'" in wrong
    assert not (out / "comnet_run.json").exists()


def test_other_divisions_join_where_they_agree(images: Path, out: Path, comnet: Any) -> None:
    """A part of two, and the rest by two of three: case by case it is the same prediction."""
    write_part(out, "_part0of2", "ACE")
    write_part(out, "_part1of3", "BE")
    write_part(out, "_part0of3", "AD")
    assert comnet("merge-parts", out, "-i", images)[0] == 0
    assert set(rows(out)) == set(CASES)
    table = out / "volumes_part0of3.csv"
    table.write_text(table.read_text().replace("A,100.0", "A,101.0"))
    code, _, wrong = comnet("merge-parts", out, "-i", images)
    assert code == 1
    assert "give A different volumes" in wrong


def test_a_prediction_that_was_not_shared_is_checked_too(images: Path, out: Path, comnet: Any) -> None:
    write_part(out, "", "ABCD")
    code, _, wrong = comnet("merge-parts", out, "-i", images)
    assert code == 1
    assert "E: " in wrong


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (lambda out: shutil.rmtree(out), "out"),
        (lambda out: None, "comnet_run.json"),
        (lambda out: (out / "comnet_run_part0of2.json").write_text("{}"), "comnet_run_part0of2.json"),
        (lambda out: (out / "comnet_run_part0of2.json").write_text("{"), "comnet_run_part0of2.json"),
    ],
)
def test_a_mistake_gets_one_line(images: Path, out: Path, comnet: Any, prepare: Any, said: str) -> None:
    prepare(out)
    code, _, wrong = comnet("merge-parts", out, "-i", images)
    assert (code, wrong.count("\n")) == (1, 1)
    assert said in wrong


def test_real_parts_of_a_real_prediction_join(model: Path, patients: Path, tmp_path: Path, comnet: Any) -> None:
    """Two commands of comnet predict; the joined table is that of one command over all."""
    words = ("predict", "-i", patients, "-m", model, "-device", "cpu", "--disable_tta", "--entropy")
    assert comnet(*words, "-o", tmp_path / "one")[0] == 0
    parts = (*words, "-o", tmp_path / "parts", "-num_parts", 2)
    assert comnet(*parts, "-part_id", 0)[0] == 0
    code, _, wrong = comnet("merge-parts", tmp_path / "parts", "-i", patients)
    assert code == 1
    assert "1 of 3 cases are missing" in wrong
    assert comnet(*parts, "-part_id", 1)[0] == 0
    assert comnet("merge-parts", tmp_path / "parts", "-i", patients)[0] == 0
    one, joined = ((tmp_path / name / "volumes.csv").read_text() for name in ("one", "parts"))
    assert joined == one
