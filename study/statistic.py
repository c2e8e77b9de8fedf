"""Means, and paired differences with their bootstrap intervals, of the scores of all patients."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nnunetv2_comnet.statistics import paired_interval
from study.settings import AVERAGE, BOOTSTRAP_SEED, PAIRS, REFERENCES, REGIONS, ROW_NAMES

COLUMNS = (*REGIONS, AVERAGE)
METRICS = ("dice", "hd95_mm")
Table = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """Mean of paired differences over patients and its 95 % bootstrap interval (patients resampled)."""

    mean: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether 0 lies outside the interval."""
        return self.low > 0 or self.high < 0


def table(results: Sequence[dict[str, Any]], row: str, metric: str) -> Table:
    """(patients, 4): the metric of one row in the regions, and their average."""
    scores = np.array([[result["rows"][row][region][metric] for region in REGIONS] for result in results], np.float64)
    return np.column_stack([scores, scores.mean(axis=1)])


def difference(first: Table, second: Table) -> Difference:
    """Of paired scores (patients,), first minus second."""
    paired = first - second
    return Difference(float(paired.mean()), *paired_interval(paired, BOOTSTRAP_SEED))


def summarise(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """rows: means and differences to each row's reference by metric and column; pairs: of the average Dice; gate."""
    rows: dict[str, Any] = {}
    for key, name in ROW_NAMES.items():
        reference_key = REFERENCES.get(key)
        entry: dict[str, Any] = {"name": name, "reference": reference_key, "mean": {}, "difference": {}}
        for metric in METRICS:
            scores, reference = table(results, key, metric), table(results, reference_key or key, metric)
            entry["mean"][metric] = dict(zip(COLUMNS, scores.mean(axis=0).tolist(), strict=True))
            entry["difference"][metric] = {
                column: asdict(difference(scores[:, index], reference[:, index]))
                for index, column in enumerate(COLUMNS)
            }
        rows[key] = entry
    pairs = [
        {
            "first": first,
            "second": second,
            **asdict(difference(table(results, first, "dice")[:, -1], table(results, second, "dice")[:, -1])),
        }
        for first, second in PAIRS
    ]
    return {"rows": rows, "pairs": pairs, "gate": _beyond_the_gate(results)}


def _beyond_the_gate(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Per region, over all patients: voxels that the ensemble has wrong, and the share where the gate is shut."""
    totals = {}
    for region in REGIONS:
        wrong, shut = (sum(result["errors"][region][what] for result in results) for what in ("wrong", "gate_shut"))
        totals[region] = {"wrong": wrong, "gate_shut": shut, "share": shut / wrong if wrong else 0.0}
    return totals
