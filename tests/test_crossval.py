"""The files of a cross-validation, by hand."""

from pathlib import Path

import pytest

from nnunetv2_comnet.crossval import folds_with, held_out_cases, is_splits, predicted_cases
from nnunetv2_comnet.errors import DataError

SPLITS = [{"train": ["c", "d"], "val": ["b", "a"]}, {"train": ["a", "b"], "val": ["c", "d"]}]


def validated(model: Path, fold: object, *cases: str) -> Path:
    folder = model / f"fold_{fold}" / "validation"
    folder.mkdir(parents=True)
    for case in cases:
        (folder / f"{case}.nii.gz").touch()
    return folder


def test_splits_are_told_by_their_shape() -> None:
    assert is_splits(SPLITS)
    assert not any(map(is_splits, ({}, [1], [{"train": []}], [{"train": [], "val": "a"}], [{"train": [1], "val": []}])))


def test_folds_are_listed_by_number_and_all_comes_last(tmp_path: Path) -> None:
    for fold in (10, 2, "all"):
        validated(tmp_path, fold)
    (tmp_path / "fold_3").mkdir()
    assert folds_with(tmp_path) == [2, 3, 10, "all"]
    assert folds_with(tmp_path, "validation") == [2, 10, "all"]
    assert folds_with(tmp_path / "not there") == []


def test_held_out_cases_are_those_of_the_splits(tmp_path: Path) -> None:
    assert held_out_cases(tmp_path, SPLITS, [0, "all"]) == {0: ["a", "b"]}
    with pytest.raises(DataError, match=r"splits_final\.json"):
        held_out_cases(tmp_path, SPLITS, [0, 2])


def test_a_predicted_case_must_have_been_held_out(tmp_path: Path) -> None:
    folder = validated(tmp_path, 0, "b")
    assert predicted_cases(tmp_path, SPLITS, 0, ".nii.gz") == ["b"]
    (folder / "z.nii.gz").touch()
    with pytest.raises(DataError, match="z: "):
        predicted_cases(tmp_path, SPLITS, 0, ".nii.gz")
    (folder / "d.nii.gz").touch()
    with pytest.raises(DataError, match="d: fold 0"):
        predicted_cases(tmp_path, SPLITS, 0, ".nii.gz")
