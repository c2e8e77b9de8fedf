"""comnet evaluate as users call it: what it writes, and what it says of each thing that is wrong."""

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK

from nnunetv2_comnet.errors import ConfigurationError, DataError
from nnunetv2_comnet.evaluation.evaluate import evaluate_folder
from nnunetv2_comnet.evaluation.results import read_evaluation

SHAPE = (20, 24, 22)


def tumour(shift: int = 0) -> np.ndarray:
    """Oedema of 12 x 12 x 12, in it an ET of 6 x 6 x 6, in that a core of 2 x 2 x 2."""
    mask = np.zeros(SHAPE, np.uint8)
    for label, start, end in ((2, 4, 16), (3, 6, 12), (1, 8, 10)):
        mask[start:end, start:end, start + shift : end + shift] = label
    return mask


def write(path: Path, voxels: np.ndarray, spacing: tuple[float, ...] = (1.0, 1.0, 1.0), **grid: Any) -> Path:
    image = SimpleITK.GetImageFromArray(voxels)
    image.SetSpacing(spacing)
    for name, value in grid.items():
        getattr(image, f"Set{name}")(value)
    path.parent.mkdir(parents=True, exist_ok=True)
    SimpleITK.WriteImage(image, str(path))
    return path


def command(folders: tuple[Path, Path], protocol: str, *more: str | Path) -> list[str]:
    reference, prediction = map(str, folders)
    words = ["comnet", "evaluate", "-ref", reference, "-pred", prediction, "--protocol", protocol]
    return [*words, *map(str, more)]


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two cases, one predicted perfectly, one shifted by one voxel."""
    reference, prediction = tmp_path / "labelsTr", tmp_path / "predicted"
    for case, shift in (("A", 0), ("B", 1)):
        write(reference / f"{case}.nii.gz", tumour())
        write(prediction / f"{case}.nii.gz", tumour(shift))
    return reference, prediction


def test_a_folder_is_scored_and_the_files_say_so(run: Any, folders: tuple[Path, Path], tmp_path: Path) -> None:
    _, prediction = folders
    out = tmp_path / "scores"
    answer = run(*command(folders, "brats2023", "-o", out))
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr == ""
    assert "scored 2 of 2 cases by brats2023" in answer.stdout
    # B is shifted by one voxel: of 12, so that 11 * 144 of 1728 are shared, for WT: Dice 11/12; of 6 for TC: 5/6.
    evaluation = read_evaluation(out)
    assert evaluation.regions == ("ET", "TC", "WT")
    assert evaluation.table("dice")[:, 1:].tolist() == [[1, 1], [pytest.approx(5 / 6), pytest.approx(11 / 12)]]
    assert evaluation.table("hd95_mm")[:, 2].tolist() == [0, 1]
    rows = list(csv.DictReader((out / "cases.csv").open()))
    assert [(row["case"], row["region"], row["state"]) for row in rows[:2]] == [
        ("A", "ET", "scored"),
        ("A", "TC", "scored"),
    ]
    summary = {(row["metric"], row["region"]): row for row in csv.DictReader((out / "summary.csv").open())}
    assert float(summary["dice", "WT"]["mean"]) == pytest.approx((1 + 11 / 12) / 2, abs=1e-5)
    assert not list(prediction.glob("evaluation.json"))


def test_without_a_target_the_files_lie_beside_the_predictions(run: Any, folders: tuple[Path, Path]) -> None:
    _, prediction = folders
    run(*command(folders, "brats2024:met"))
    assert json.loads((prediction / "evaluation.json").read_text())["protocol"] == "brats2024:met"


def damaged(folders: tuple[Path, Path]) -> tuple[Path, Path]:
    reference, prediction = folders
    for case in "CDEFGHI":
        write(reference / f"{case}.nii.gz", tumour())
    write(prediction / "C.nii.gz", tumour(), spacing=(1.0, 1.0, 2.0))
    write(prediction / "D.nii.gz", tumour(), Origin=(5.0, 0.0, 0.0))
    write(prediction / "E.nii.gz", tumour(), Direction=(-1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
    write(prediction / "F.nii.gz", tumour()[:-1])
    write(prediction / "G.nii.gz", np.where(tumour() == 3, 4, tumour()).astype(np.uint8))
    (prediction / "H.nii.gz").write_bytes(b"no image")
    (reference / "J.nii.gz").write_bytes(b"no image")
    write(reference / "K.nii.gz", np.where(tumour() == 3, 4, tumour()).astype(np.uint8))
    for case in "JKX":
        write(prediction / f"{case}.nii.gz", tumour())
    return reference, prediction


STATES = {
    "A": "scored", "B": "scored", "C": "other-grid", "D": "other-grid", "E": "other-grid", "F": "other-grid",
    "G": "unknown-label", "H": "unreadable-prediction", "I": "missing-prediction", "J": "unusable-reference",
    "K": "unusable-reference",
}  # fmt: skip
SAID = {
    "C": "another grid: spacing in mm (1, 1, 2) where (1, 1, 1) is expected",
    "D": "another grid: origin in mm (-5, 0, 0) where (0, 0, 0)",
    "E": "another grid: direction (1, 0, 0, 0, -1, 0, 0, 0, 1) where",
    "F": "another grid: shape (22, 24, 19) where (22, 24, 20)",
    "G": "has label 4, which no region holds",
    "H": "cannot be read: it is not gzipped",
    "I": "I.nii.gz does not exist; scored as missing",
    "J": "cannot be read: it is not gzipped",
    "K": "has label 4, which is none of its dataset's",
}


def test_whatever_is_wrong_is_said_and_no_case_is_dropped(run: Any, folders: tuple[Path, Path], tmp_path: Path) -> None:
    words = command(damaged(folders), "brats2023", "-o", tmp_path / "out")
    answer = run(*words)
    assert answer.returncode == 0
    assert "scored 2 of 11 cases" in answer.stdout
    evaluation = read_evaluation(tmp_path / "out")
    assert {case.case: case.state for case in evaluation.cases} == STATES
    assert evaluation.extra == ("X",)
    for case in evaluation.cases:
        assert SAID.get(case.case, "") in case.note
        if case.state == "unusable-reference":
            assert case.regions == {}
        elif case.state != "scored":
            assert case.regions["WT"]["dice"] == 0
            assert case.regions["WT"]["lesion_hd95_mm"] == 374
            assert case.regions["WT"]["lesion_fn"] == 1
            assert math.isnan(case.regions["WT"]["volume_predicted_mm3"])
    assert answer.stderr.count("warning: ") == 10  # nine cases, the extra file
    assert "X: extra prediction" in answer.stderr
    strict = run(*words, "--strict")
    assert strict.returncode == 1
    assert "comnet: error: 9 of 11 cases" in strict.stderr


def test_if_nothing_could_be_scored_the_command_fails(run: Any, folders: tuple[Path, Path], tmp_path: Path) -> None:
    reference, _ = folders
    (tmp_path / "empty").mkdir()
    answer = run(*command((reference, tmp_path / "empty"), "legacy"))
    assert answer.returncode == 1
    assert "A: " in answer.stderr
    assert len(read_evaluation(tmp_path / "empty").cases) == 2


def test_two_processes_give_what_one_gives_in_the_same_order(
    run: Any, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    damaged(folders)
    for jobs in ("1", "2"):
        answer = run(*command(folders, "brats2026", "--jobs", jobs, "-o", tmp_path / jobs))
        assert answer.returncode == 0, answer.stderr
    for name in ("evaluation.json", "cases.csv", "summary.csv"):
        assert (tmp_path / "1" / name).read_text() == (tmp_path / "2" / name).read_text()


def test_probabilities_beside_the_predictions_are_scored(run: Any, folders: tuple[Path, Path]) -> None:
    reference, prediction = folders
    labels = {"WT": (1, 2, 3), "TC": (1, 3), "ET": (3,)}
    for case in "AB":
        write(reference.parent / "imagesTr" / f"{case}_0000.nii.gz", np.ones(SHAPE, np.float32))
        for region, members in labels.items():
            certain = np.isin(tumour(), members).astype(np.float32) * 0.9
            write(prediction / "probabilities" / f"{case}_{region}.nii.gz", certain)
    answer = run(*command(folders, "legacy"))
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr == ""
    evaluation = read_evaluation(prediction)
    # 0.9 where all are true, 0 where none is: wrong by 0.1 on the region's voxels; WT has 12^3 of 20 * 24 * 22.
    share = 12**3 / (20 * 24 * 22)
    assert evaluation.table("ece_brain")[0, 2] == pytest.approx(0.1 * share, rel=1e-5)
    assert evaluation.table("brier")[1, 2] == pytest.approx(0.01 * share, rel=1e-4)
    assert evaluation.table("ece_tumour")[0, 2] > 0.1 * share
    table = evaluation.information["reliability"]["regions"]["WT"]["brain"]
    assert table["voxels"][0] + table["voxels"][8] + table["voxels"][9] == 2 * 20 * 24 * 22
    assert 1.0 in (table["observed"][8], table["observed"][9])


def test_missing_maps_and_images_are_said(folders: tuple[Path, Path]) -> None:
    reference, prediction = folders
    maps = prediction / "probabilities"
    write(maps / "A_ET.nii.gz", np.zeros(SHAPE, np.float32))
    for region in ("ET", "TC", "WT"):
        write(maps / f"B_{region}.nii.gz", np.zeros(SHAPE, np.float32))
    first, second = evaluate_folder(reference, prediction, "legacy", probabilities=maps).cases
    assert first.state == second.state == "scored"
    assert "no calibration: " in first.note
    assert "ece_tumour" not in first.regions["WT"]
    assert "no calibration in the brain" in second.note
    assert second.regions["WT"]["ece_tumour"] > 0
    assert "brier" not in second.regions["WT"]


def test_regions_come_from_the_dataset_above_the_folders(folders: tuple[Path, Path]) -> None:
    reference, prediction = folders
    labels = {"background": 0, "whole tumor": [1, 2, 3, 4], "resection cavity": [4], "ignore": 5}
    (reference.parent / "dataset.json").write_text(json.dumps({"labels": labels}))
    evaluation = evaluate_folder(reference, prediction, "brats2024", only={"dice"})
    assert evaluation.regions == ("RC", "WT")
    assert evaluation.metrics == ("dice",)
    assert evaluation.information["labels"]["RC"] == [4]
    given = evaluate_folder(reference, prediction, "legacy", regions={"enhancing tumor": (3,)}, only={"dice"})
    assert given.regions == ("ET",)
    assert [case.state for case in given.cases] == ["scored", "scored"]  # the other two labels are known still
    (reference.parent / "dataset.json").write_text('{"labels": {"a": "one"}}')
    with pytest.raises(DataError):
        evaluate_folder(reference, prediction, "legacy")


def test_every_region_of_the_protocol_on_request(run: Any, folders: tuple[Path, Path]) -> None:
    _, prediction = folders
    answer = run(*command(folders, "brats2024", "--all-regions"))
    assert answer.returncode == 0, answer.stderr
    evaluation = read_evaluation(prediction)
    assert evaluation.regions == ("ET", "TC", "WT", "NETC", "SNFH", "RC")
    assert evaluation.table("lesion_dice")[:, 5].tolist() == [1, 1]  # no cavity, none predicted


def test_progress_wraps_the_cases_and_jobs_are_counted(folders: tuple[Path, Path]) -> None:
    seen = []

    def progress(outcomes: Any, title: str, total: int) -> Any:
        for outcome in outcomes:
            seen.append((outcome.scores.case, title, total))
            yield outcome

    evaluate_folder(*folders, "legacy", only={"dice"}, progress=progress)
    assert seen == [("A", "evaluating", 2), ("B", "evaluating", 2)]
    with pytest.raises(ConfigurationError):
        evaluate_folder(*folders, "legacy", jobs=0)
    with pytest.raises(DataError, match="absent"):
        evaluate_folder(folders[0], folders[0] / "absent", "legacy")
    with pytest.raises(DataError, match="absent"):
        read_evaluation(folders[0] / "absent")
