"""splits_final.json: nnU-Net's list of folds, each with the cases that it trains on and those that it holds out."""

import os

from pydantic import BaseModel

from nnunetv2_comnet.files import read_checked

FILE = "splits_final.json"


class _Split(BaseModel):
    train: list[str]
    val: list[str]


def read_splits(path: str | os.PathLike[str]) -> list[dict[str, list[str]]]:
    """A dict with "train" and "val" per fold. Raises `DataError` that names what is wrong in the file."""
    mend = "expected nnU-Net's list of folds with 'train' and 'val': restore the file"
    return [fold.model_dump() for fold in read_checked(path, list[_Split], mend)]
