"""A cross-validation in nnU-Net's files: its folds, the cases that each held out, and which model served which case."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from nnunetv2_comnet.errors import DataError
from nnunetv2_comnet.files import read_json

SPLITS = "splits_final.json"
OUT_OF_FOLD = "out_of_fold.json"
RERUN = "nnUNetv2_train DATASET CONFIGURATION FOLD -tr TRAINER -p PLANS --val"
Fold = int | str  # a number, or "all"
Split = dict[str, list[str]]


class OutOfFold(BaseModel):
    """out_of_fold.json: which frozen stage 1 model gave which case its coarse map, for one fold of stage 2.

    Attributes:
        stage_1: path and SHA-256 of each checkpoint used, by fold.
        served_by: the fold whose model served a case.
        in_fold: the cases whose model was trained on them.
        warning: the same in a sentence, or "".
    """

    model_config = ConfigDict(frozen=True)

    stage_1: dict[str, dict[str, str]] = {}
    served_by: dict[str, Fold]
    in_fold: list[str]
    warning: str = ""


def is_splits(content: Any) -> bool:
    """Says whether the content of a JSON file has the shape of splits_final.json."""
    return isinstance(content, list) and all(
        isinstance(split, dict)
        and all(
            isinstance(split.get(part), list) and all(isinstance(case, str) for case in split[part])
            for part in ("train", "val")
        )
        for split in content
    )


def read_splits(path: Path) -> list[Split]:
    """Reads the folds, each with the cases of `train` and of `val`. Raises `DataError` for another file."""
    splits: list[Split] = read_json(path)
    if not is_splits(splits):
        raise DataError(f"{path} is not nnU-Net's list of folds with 'train' and 'val'; restore it")
    return splits


def require_fold(path: Path, fold: Fold, known: set[str]) -> None:
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


def fold_of_cases(splits: Sequence[Split], where: str | Path = SPLITS) -> dict[str, int]:
    """Finds the fold that held each case out. Raises `DataError`, naming `where`, for a case held out twice."""
    found: dict[str, int] = {}
    for fold, split in enumerate(splits):
        for case in split["val"]:
            if case in found:
                raise DataError(f"{where} holds {case} out in folds {found[case]} and {fold}; it must be in one")
            found[case] = fold
    return found


def folds_with(model: Path, content: str = "") -> list[Fold]:
    """Lists the folds of nnU-Net's folder of a model that hold a file or folder `content`; "all" comes last."""
    names = [path.name.removeprefix("fold_") for path in model.glob("fold_*") if (path / content).exists()]
    return [*sorted(int(name) for name in names if name.isdecimal()), *sorted(n for n in names if not n.isdecimal())]


def held_out_cases(model: Path, splits: Sequence[Split], folds: Iterable[Fold]) -> dict[int, list[str]]:
    """Lists each numbered fold's held-out cases, sorted. Raises `DataError` for a fold that the splits do not have."""
    numbered = [fold for fold in folds if isinstance(fold, int)]
    if numbered and max(numbered) >= len(splits):
        raise DataError(f"{model} has fold {max(numbered)}, but {SPLITS} has {len(splits)} folds")
    return {fold: sorted(splits[fold]["val"]) for fold in numbered}


def validation_folder(model: Path, fold: Fold) -> Path:
    """Returns the folder that nnU-Net predicts a fold's held-out cases into."""
    return model / f"fold_{fold}" / "validation"


def truth_folder(preprocessed: Path) -> Path:
    """Returns the folder of the true masks that nnU-Net keeps beside a dataset's preprocessed data."""
    return preprocessed / "gt_segmentations"


def require_truth(preprocessed: Path, case: str, ending: str) -> Path:
    """Finds the true mask of a held-out case. Raises `DataError` where it is missing."""
    path = truth_folder(preprocessed) / f"{case}{ending}"
    if not path.is_file():
        raise DataError(f"{path} does not exist: the truth of every held-out case is needed; preprocess again")
    return path


def predicted_cases(model: Path, splits: Sequence[Split], fold: int, ending: str) -> list[str]:
    """Lists the cases whose masks (files of that `ending`) lie in a fold's validation folder, sorted.

    Raises `DataError` where one of them was not held out: the fold's model saw it, or may have.
    """
    folder = validation_folder(model, fold)
    found = sorted(path.name.removesuffix(ending) for path in folder.glob(f"*{ending}"))
    wrong = [case for case in found if case not in splits[fold]["val"]]
    if wrong:
        seen = [case for case in wrong if case in splits[fold]["train"]]
        why = (
            f"fold {fold} trained on it, says {SPLITS}"
            if seen
            else f"{SPLITS} does not hold it out in fold {fold}, so that model may have seen it"
        )
        raise DataError(
            f"{folder} holds {len(wrong)} case(s) that are not held out, first {(seen or wrong)[0]}: {why}; restore "
            "the split that the fold was trained with, or train it again"
        )
    return found


def read_probabilities(path: Path, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Reads the probabilities (R, Z, Y, X) of nnU-Net's .npz. Raises `DataError` for another file or shape."""
    try:
        with np.load(path) as content:
            maps = np.asarray(content["probabilities"], np.float32)
    except Exception as error:  # numpy and zipfile raise what the damage happens to cause
        raise DataError(f"{path} holds no probabilities that can be read; write it again: {RERUN} --npz") from error
    if maps.shape != shape:
        raise DataError(f"{path} holds probabilities of shape {maps.shape}, expected {shape}: it is of another case")
    return maps


def serve(splits: Sequence[Split], trained: Sequence[Fold], own: Fold, *, coarse_maps: str) -> OutOfFold:
    """Serves every case of `splits` with the stage 1 model of a fold out of `trained`.

    Args:
        splits: the folds.
        trained: the folds of stage 1 that can serve.
        own: the fold whose refiner is trained; it serves its own validation cases, and those whose own model is
            missing.
        coarse_maps: "out-of-fold", or "in-fold": `own` serves all.

    Raises:
        DataError: a case is held out twice.
    """
    held_out_by = fold_of_cases(splits)
    served: dict[str, Fold] = {}
    for case in sorted({case for split in splits for part in ("train", "val") for case in split[part]}):
        wanted = own if coarse_maps == "in-fold" else held_out_by.get(case, own)
        served[case] = wanted if wanted in trained else own
    return OutOfFold(served_by=served, in_fold=[case for case, fold in served.items() if fold != held_out_by.get(case)])
