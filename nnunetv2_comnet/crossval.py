"""splits_final.json, nnU-Net's folds of a cross-validation, read with its shape checked."""

from pathlib import Path

from nnunetv2_comnet.errors import DataError
from nnunetv2_comnet.files import read_json

FILE = "splits_final.json"
Split = dict[str, list[str]]


def read_splits(path: Path) -> list[Split]:
    """The folds, each with the cases of `train` and of `val`. Raises `DataError` for another file."""
    splits = read_json(path)
    if not isinstance(splits, list) or not all(_is_split(split) for split in splits):
        raise DataError(f"{path} is not nnU-Net's list of folds with 'train' and 'val'; restore it")
    return splits


def require_fold(path: Path, fold: int | str, known: set[str]) -> None:
    """Raises `DataError` where a fold of that file cannot be trained on the cases `known`."""
    splits = read_splits(path)
    if not isinstance(fold, int):  # "all" needs no split
        return
    if fold >= len(splits):
        raise DataError(f"{path} has {len(splits)} folds, numbered from 0: there is no fold {fold}")
    train, val = splits[fold]["train"], splits[fold]["val"]
    for name, cases in (("train", train), ("val", val)):
        if not cases:
            raise DataError(f"{path}: fold {fold} has no case in '{name}'; give it some")
    if both := sorted(set(train) & set(val)):
        raise DataError(f"{path}: fold {fold} trains on {both[0]} and validates on it; take it out of one")
    if absent := sorted({*train, *val} - known):
        raise DataError(f"{path}: fold {fold} names {absent[0]}, which is not preprocessed; do that, or take it out")


def _is_split(split: object) -> bool:
    return isinstance(split, dict) and all(
        isinstance(split.get(part), list) and all(isinstance(case, str) for case in split[part])
        for part in ("train", "val")
    )
