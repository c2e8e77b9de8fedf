"""From scores of cases to the numbers of the paper's table: means over folds, differences from the paper, pairs."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nnunetv2_comnet.comparison.compare import compare
from nnunetv2_comnet.comparison.outcome import Comparison
from nnunetv2_comnet.cv_report.paper import AVERAGE, PAPER, MeanAndSd
from nnunetv2_comnet.cv_report.scoring import FOLD_OF
from nnunetv2_comnet.evaluation.results import METRICS, Evaluation, Table

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
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a column without any value has no best
            best = np.nanmax(means, axis=0) if metric.better == "higher" else np.nanmin(means, axis=0)
        return [set(np.flatnonzero(means[:, column] == best[column]).tolist()) for column in range(len(self.columns))]


@dataclass(frozen=True)
class AgainstPaper:
    """A row of the paper beside ours: by column the paper's mean and deviation, and ours minus the paper's mean."""

    name: str
    paper_name: str
    paper: Mapping[str, MeanAndSd]
    difference: Mapping[str, float]


def cv_table(metric: str, evaluations: Mapping[str, Evaluation], trainers: Mapping[str, str]) -> CvTable:
    """The table of a metric; `trainers` gives each model's trainer. Models must have the same regions."""
    regions = next(iter(evaluations.values())).regions
    rows = tuple(_row(name, trainers[name], metric, evaluation) for name, evaluation in evaluations.items())
    return CvTable(metric, (*regions, AVERAGE), rows)


def fold_of_each(evaluation: Evaluation) -> list[int]:
    """The fold that held each case out, in the order of the evaluation's cases."""
    by_case = evaluation.information[FOLD_OF]
    return [int(by_case[case.case]) for case in evaluation.cases]


def with_average(table: Table) -> Table:
    """(cases, regions) -> (cases, regions + 1): the mean over the regions that have a value comes last."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a row without any value has no mean: NaN
        return np.column_stack([table, np.nanmean(table, axis=1)])


def against_paper(table: CvTable) -> list[AgainstPaper]:
    """Rows for the models that stand for one of the paper's; the paper gives Dice only."""
    if table.metric != "dice":
        return []
    found = []
    for row in table.rows:
        if row.trainer in PAPER:
            paper = PAPER[row.trainer]
            ours = dict(zip(table.columns, row.mean.tolist(), strict=True))
            differences = {column: ours[column] - mean for column, (mean, _) in paper.dice.items() if column in ours}
            found.append(AgainstPaper(row.name, paper.name, paper.dice, differences))
    return found


def paired(evaluations: Mapping[str, Evaluation], metrics: Sequence[str]) -> Comparison | None:
    """`compare` of all pairs over their common cases, a later model minus an earlier one; None for a single model."""
    if len(evaluations) < 2:
        return None
    return compare(dict(reversed(list(evaluations.items()))), metrics=metrics)


def _row(name: str, trainer: str, metric: str, evaluation: Evaluation) -> Row:
    scores = evaluation.table(metric)
    scores = np.where(np.isfinite(scores), scores, np.nan)
    of_case = np.array(fold_of_each(evaluation))
    folds = tuple(sorted(set(of_case.tolist())))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a fold in which no case has a value: NaN
        by_region = np.array([np.nanmean(scores[of_case == fold], axis=0) for fold in folds])
    return Row(name, trainer, folds, len(of_case), np.column_stack([by_region, by_region.mean(axis=1)]))
