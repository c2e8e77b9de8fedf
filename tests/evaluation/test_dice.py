"""Dice against numbers worked by hand, the empty policy, and tables of two folders."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from nnunetv2_comnet.errors import ConfigurationError, DataError
from nnunetv2_comnet.evaluation.dice import DiceTable, dice, dice_table, region_dice
from nnunetv2_comnet.label_schemes import BRATS_123, ED, ET, NCR

REGIONS = BRATS_123.regions

TRUTH = np.array([[[ED, ED, NCR, ET], [ED, ED, NCR, ET]]], np.uint8)
# ET 1 of 2 found and none wrong: 2/3. TC 3 of 4: 6/7. WT 7 of 8: 14/15.
PREDICTION = np.array([[[ED, ED, NCR, ET], [ED, ED, NCR, 0]]], np.uint8)


def _write(folder: Path, name: str, labels: np.ndarray, spacing: float = 1.0) -> None:
    folder.mkdir(exist_ok=True)
    image = SimpleITK.GetImageFromArray(labels)
    image.SetSpacing((spacing, spacing, spacing))
    SimpleITK.WriteImage(image, str(folder / f"{name}.nii.gz"))


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([1, 1, 0, 0], [1, 1, 0, 0], 1.0),
        ([1, 1, 0, 0], [0, 0, 1, 1], 0.0),
        ([1, 1, 0, 0], [1, 0, 0, 0], 2 / 3),
        ([1, 1, 1, 0], [0, 1, 1, 1], 4 / 6),
        ([0, 0], [0, 0], 1.0),
        ([0, 0], [0, 1], 0.0),
        ([0, 1], [0, 0], 0.0),
    ],
)
def test_dice_by_hand(a: list[int], b: list[int], expected: float) -> None:
    assert dice(a, b) == pytest.approx(expected)
    assert dice(b, a) == dice(a, b)


def test_other_shapes_are_refused() -> None:
    with pytest.raises(DataError):
        dice([1, 0], [1, 0, 0])


def test_regions_by_hand() -> None:
    scores = region_dice(TRUTH, PREDICTION, REGIONS)
    assert list(scores.values()) == pytest.approx([14 / 15, 6 / 7, 2 / 3])


def test_table_of_two_folders(tmp_path: Path) -> None:
    for case, prediction in (("A", PREDICTION), ("B", TRUTH)):
        _write(tmp_path / "truth", case, TRUTH)
        _write(tmp_path / "prediction", case, prediction)
    _write(tmp_path / "prediction", "C", TRUTH)  # without a reference: left aside
    table = dice_table(tmp_path / "truth", tmp_path / "prediction", REGIONS)
    assert table.cases == ("A", "B")
    assert table.regions == ("ET", "TC", "WT")
    assert table.scores.tolist() == [pytest.approx([2 / 3, 6 / 7, 14 / 15]), [1, 1, 1]]
    assert table.averages[0] == pytest.approx((2 / 3 + 6 / 7 + 14 / 15) / 3)


TABLE = DiceTable(("A", "B"), ("ET", "WT"), np.array([[0.5, 1.0], [0.7, 0.8]]))


def test_rows() -> None:
    assert [TABLE.header, *TABLE.rows()] == [
        ["case", "ET", "WT", "average"],
        ["A", "0.5000", "1.0000", "0.7500"],
        ["B", "0.7000", "0.8000", "0.7500"],
        ["mean", "0.6000", "0.9000", "0.7500"],
        ["sd", "0.1414", "0.1414", "0.0000"],
    ]


def test_text_is_aligned() -> None:
    lines = TABLE.as_text().splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[-2].split() == ["mean", "0.6000", "0.9000", "0.7500"]


def test_one_case_has_no_deviation() -> None:
    assert [row[0] for row in DiceTable(("A",), ("ET",), np.array([[0.5]])).rows()] == ["A", "mean"]


def test_missing_prediction_is_named(tmp_path: Path) -> None:
    _write(tmp_path / "truth", "A", TRUTH)
    _write(tmp_path / "truth", "B", TRUTH)
    _write(tmp_path / "prediction", "A", TRUTH)
    with pytest.raises(DataError, match=r"B\.nii\.gz"):
        dice_table(tmp_path / "truth", tmp_path / "prediction", REGIONS)


def test_other_grid_is_named(tmp_path: Path) -> None:
    _write(tmp_path / "truth", "A", TRUTH)
    _write(tmp_path / "prediction", "A", TRUTH, spacing=2.0)
    with pytest.raises(DataError, match=r"A\.nii\.gz.*spacing.*\(2, 2, 2\).*\(1, 1, 1\)"):
        dice_table(tmp_path / "truth", tmp_path / "prediction", REGIONS)


def test_broken_file_is_named(tmp_path: Path) -> None:
    _write(tmp_path / "truth", "A", TRUTH)
    (tmp_path / "prediction").mkdir()
    (tmp_path / "prediction" / "A.nii.gz").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"A\.nii\.gz"):
        dice_table(tmp_path / "truth", tmp_path / "prediction", REGIONS)


def test_empty_reference_folder_and_no_regions(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="reference"):
        dice_table(tmp_path, tmp_path, REGIONS)
    with pytest.raises(ConfigurationError):
        dice_table(tmp_path, tmp_path, {})
