"""Chooses each region's correction strength from held-out cases: nested cross-validation with a paired interval."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nnunetv2_comnet.errors import ConfigurationError
from nnunetv2_comnet.statistics import paired_interval
from nnunetv2_comnet.strengths.strengths_file import STRENGTHS

Table = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Choice:
    """A region's strength and why.

    before, after: mean Dice at strength 0 and at the chosen one. gain: mean paired difference of cases whose strength
    was chosen on the other folds, with its bootstrap interval; the strength is 0 unless low is above 0.
    """

    strength: float
    best: float
    before: float
    after: float
    gain: float
    low: float
    high: float
    cases: int


def choose(table: Table, folds: Sequence[int | str]) -> list[Choice]:
    """Chooses for each region from Dice (N cases, R regions, len(STRENGTHS)) and the fold that held each case out.

    Raises `ConfigurationError` as `require_two_folds` does.
    """
    groups = np.array([str(fold) for fold in folds])
    require_two_folds(set(groups.tolist()))
    return [_choose_region(table[:, region], groups) for region in range(table.shape[1])]


def require_two_folds(folds: Collection[int | str]) -> None:
    """Raises `ConfigurationError` for fewer: no case could test a strength that it did not choose."""
    if len(folds) < 2:
        raise ConfigurationError("strengths need the held-out cases of two folds or more; train more folds")


def _choose_region(dice: Table, groups: npt.NDArray[np.str_]) -> Choice:
    gains = dice - dice[:, :1]  # (N, A), paired with strength 0
    nested = np.empty(len(dice))
    for group in sorted(set(groups.tolist())):
        held_out = groups == group
        nested[held_out] = gains[held_out, _best(gains[~held_out])]
    low, high = paired_interval(nested)
    best = _best(gains)
    chosen = best if low > 0 and gains[:, best].mean() > 0 else 0
    return Choice(
        strength=STRENGTHS[chosen],
        best=STRENGTHS[best],
        before=float(dice[:, 0].mean()),
        after=float(dice[:, chosen].mean()),
        gain=float(nested.mean()),
        low=low,
        high=high,
        cases=len(dice),
    )


def _best(gains: Table) -> int:
    """Finds the strength with the highest mean; of equals, the weakest."""
    return int(np.argmax(gains.mean(axis=0)))
