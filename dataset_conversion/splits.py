"""Folds for cross-validation by patient: the time points of one patient never lie in two folds."""

from collections.abc import Mapping
from itertools import chain

import numpy as np

from nnunetv2_comnet.crossval import Split


def make_splits(
    patients: Mapping[str, str], folds: int, seed: int, categories: Mapping[str, str] | None = None
) -> list[Split]:
    """Makes nnU-Net's `splits_final.json`: for each fold the cases of `train` and `val`, sorted.

    Patients are shuffled category by category and dealt out in turn; a category begins where the one before ended, so
    that folds differ by one patient at most, as a whole and within each category.

    Args:
        patients: The patient of each case.
        folds: How many folds.
        seed: Of numpy's generator.
        categories: The value to stratify by, of each patient.

    Returns:
        The folds; an empty list where there are fewer patients than folds.
    """
    names = sorted(set(patients.values()))
    if len(names) < folds:
        return []
    generator = np.random.default_rng(seed)
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault((categories or {}).get(name, ""), []).append(name)
    order = chain.from_iterable(generator.permutation(groups[category]).tolist() for category in sorted(groups))
    fold_of = {name: index % folds for index, name in enumerate(order)}
    cases = sorted(patients)
    return [
        {
            "train": [case for case in cases if fold_of[patients[case]] != fold],
            "val": [case for case in cases if fold_of[patients[case]] == fold],
        }
        for fold in range(folds)
    ]
