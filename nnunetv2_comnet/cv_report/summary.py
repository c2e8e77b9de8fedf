"""From scores of cases to the numbers of the paper's table: means over folds, differences from the paper, pairs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nnunetv2_comnet.comparison.compare import compare
from nnunetv2_comnet.comparison.outcome import Comparison
from nnunetv2_comnet.cv_report.paper import AVERAGE, PAPER
from nnunetv2_comnet.cv_report.scoring import FOLD_OF
from nnunetv2_comnet.evaluation.results import METRICS, Evaluation
from nnunetv2_comnet.statistics import Table, mean_of_known

DDOF = 1  # standard deviation over folds: the sample's, n - 1


@dataclass(frozen=True)
class Row:
    """One model. folds: their numbers. by_fold: (folds, columns), each the mean over the fold's held-out cases."""

    name: str
    trainer: str
    folds: tuple[int, ...]
    cases: int
    by_fold: Table

    @property
    def mean(self) -> Table:
        """(columns,) over folds."""
        return self.by_fold.mean(axis=0)

    @property
    def sd(self) -> Table:
        """(columns,) over folds, n - 1; NaN with a single fold."""
        if len(self.folds) < 2:
            return np.full(self.by_fold.shape[1], np.nan)
        return self.by_fold.std(axis=0, ddof=DDOF)


@dataclass(frozen=True)
class CvTable:
    """One metric: columns are the regions, then their average; a row per model, in the order given."""

    metric: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    @property
    def best(self) -> list[set[int]]:
        """Per column the rows with the best mean, to the digits shown; none where there is one model only."""
        if len(self.rows) < 2:
            return [set() for _ in self.columns]
        metric = METRICS[self.metric]
        means = np.round([row.mean for row in self.rows], metric.digits)
        best = np.fmax.reduce(means) if metric.better == "higher" else np.fmin.reduce(means)  # fmax passes over NaN
        return [set(np.flatnonzero(column == value).tolist()) for column, value in zip(means.T, best, strict=True)]

    def beside_paper(self, row: Row) -> dict[str, tuple[float, float, float]]:
        """Sets a row beside the paper's: by column the paper's mean and deviation, and ours minus the paper's mean.

        Empty where the trainer stands for none of the paper's models; the paper gives Dice only.
        """
        paper = PAPER[row.trainer].dice if self.metric == "dice" and row.trainer in PAPER else {}
        ours = dict(zip(self.columns, row.mean.tolist(), strict=True))
        return {column: (*paper[column], ours[column] - paper[column][0]) for column in self.columns if column in paper}


def cv_table(metric: str, evaluations: Mapping[str, Evaluation], trainers: Mapping[str, str]) -> CvTable:
    """Brings a metric's scores into a table; `trainers` gives each model's trainer, and all have the same regions."""
    regions = next(iter(evaluations.values())).regions
    rows = tuple(_row(name, trainers[name], metric, evaluation) for name, evaluation in evaluations.items())
    return CvTable(metric, (*regions, AVERAGE), rows)


def paired(evaluations: Mapping[str, Evaluation], metrics: Sequence[str]) -> Comparison | None:
    """Compares all pairs over their common cases, a later model minus an earlier one; None for a single model."""
    if len(evaluations) < 2:
        return None
    return compare(dict(reversed(list(evaluations.items()))), metrics=metrics)


def _row(name: str, trainer: str, metric: str, evaluation: Evaluation) -> Row:
    scores = evaluation.table(metric)
    scores = np.where(np.isfinite(scores), scores, np.nan)
    fold_of = evaluation.information[FOLD_OF]
    of_case = np.array([int(fold_of[case.case]) for case in evaluation.cases])
    folds = tuple(sorted(set(of_case.tolist())))
    by_region = np.array([mean_of_known(scores[of_case == fold], axis=0) for fold in folds])
    return Row(name, trainer, folds, len(of_case), np.column_stack([by_region, by_region.mean(axis=1)]))
