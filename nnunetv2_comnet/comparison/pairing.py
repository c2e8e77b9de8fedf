"""Brings the evaluations of several models onto the same cases, and says what could not be paired."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nnunetv2_comnet.errors import DataError
from nnunetv2_comnet.evaluation.results import METRICS, SCORED, CaseScores, Evaluation
from nnunetv2_comnet.statistics import Table

AVERAGE = "average"
_SHOWN = 3  # cases named in a remark; the evaluations have them all
_VOLUME_TOLERANCE = 1e-6  # relative: one truth has one volume, written to few digits at worst


@dataclass(frozen=True)
class PairedScores:
    """Scores of several models on the same cases.

    Attributes:
        columns: regions, then their average where there are several (NaN where one region has no value).
        tables: model -> metric -> (cases, columns), NaN where there is no value.
        remarks: a sentence for each thing left out.
    """

    cases: tuple[str, ...]
    columns: tuple[str, ...]
    metrics: tuple[str, ...]
    tables: Mapping[str, Mapping[str, Table]]
    remarks: tuple[str, ...]

    @property
    def models(self) -> list[str]:
        """Names in the order given."""
        return list(self.tables)

    def column(self, model: str, metric: str, column: str) -> Table:
        """Returns the scores (cases,) of one region or the average."""
        return self.tables[model][metric][:, self.columns.index(column)]

    def for_ranking(self) -> tuple[dict[str, Table], list[bool]]:
        """Returns each model's scores (cases, metrics x regions) without the average, and whether higher is better."""
        regions = [index for index, column in enumerate(self.columns) if column != AVERAGE]
        scores = {
            model: np.concatenate([tables[metric][:, regions] for metric in self.metrics], axis=1)
            for model, tables in self.tables.items()
        }
        return scores, [METRICS[metric].better == "higher" for metric in self.metrics for _ in regions]


def pair_cases(evaluations: Mapping[str, Evaluation], metrics: Sequence[str]) -> PairedScores:
    """Pairs the cases that every evaluation has, sorted by name. Raises `DataError` where they do not match."""
    first_name, first = next(iter(evaluations.items()))
    for name, evaluation in evaluations.items():
        if evaluation.protocol != first.protocol:
            raise DataError(
                f"{first_name} was scored by protocol {first.protocol}, {name} by {evaluation.protocol}; "
                "evaluate both by one protocol"
            )
    regions = [region for region in first.regions if all(region in each.regions for each in evaluations.values())]
    if not regions:
        raise DataError(f"the evaluations of {', '.join(evaluations)} have no region in common; evaluate them alike")
    cases = sorted(set.intersection(*({case.case for case in each.cases} for each in evaluations.values())))
    if not cases:
        raise DataError(f"the evaluations of {', '.join(evaluations)} have no case in common; nothing can be paired")
    _check_truths(evaluations, cases, regions)
    columns = (*regions, AVERAGE) if len(regions) > 1 else tuple(regions)
    tables = {
        name: {metric: _table(evaluation, metric, cases, regions) for metric in metrics}
        for name, evaluation in evaluations.items()
    }
    return PairedScores(
        tuple(cases), columns, tuple(metrics), tables, tuple(_remarks(evaluations, set(cases), regions))
    )


def _rows(evaluation: Evaluation, metric: str, cases: Sequence[str], regions: Sequence[str]) -> Table:
    row_of = {case.case: row for row, case in enumerate(evaluation.cases)}
    rows = [row_of[case] for case in cases]
    return evaluation.table(metric)[np.ix_(rows, [evaluation.regions.index(region) for region in regions])]


def _table(evaluation: Evaluation, metric: str, cases: Sequence[str], regions: Sequence[str]) -> Table:
    table = _rows(evaluation, metric, cases, regions)
    table = np.where(np.isfinite(table), table, np.nan)  # an infinite distance has no mean and no difference
    return np.column_stack([table, table.mean(axis=1)]) if len(regions) > 1 else table


def _check_truths(evaluations: Mapping[str, Evaluation], cases: Sequence[str], regions: Sequence[str]) -> None:
    """Raises `DataError` where the true volumes differ: the folders' names alone would not show other masks."""
    metric = "volume_truth_mm3"
    volumes = {name: _rows(evaluation, metric, cases, regions) for name, evaluation in evaluations.items()}
    (first_name, first), *others = volumes.items()
    for name, other in others:
        differs = np.argwhere(np.abs(first - other) > _VOLUME_TOLERANCE * np.maximum(first, other))  # not where NaN
        if len(differs):
            case, region = differs[0]
            raise DataError(
                f"{first_name} and {name} were scored against different truths: {regions[region]} of {cases[case]} has "
                f"{first[case, region]:.0f} and {other[case, region]:.0f} mm3; evaluate both against one reference"
            )


def _remarks(evaluations: Mapping[str, Evaluation], common: set[str], regions: Sequence[str]) -> list[str]:
    remarks = []
    for name, evaluation in evaluations.items():
        alone = [case.case for case in evaluation.cases if case.case not in common]
        if alone:
            remarks.append(
                f"{_cases(alone)} of {name} left out: not in every evaluation; the comparison is about the other "
                f"{len(common)}."
            )
        remarks += _without_prediction(name, evaluation, common)
        unused = [region for region in evaluation.regions if region not in regions]
        if unused:
            remarks.append(f"Region {', '.join(unused)} of {name} left out: not in every evaluation.")
    return remarks


def _without_prediction(name: str, evaluation: Evaluation, common: set[str]) -> list[str]:
    unscored = [case for case in evaluation.cases if case.case in common and case.state != SCORED]
    remarks = []
    for state in Counter(case.state for case in unscored):
        for penalised in (True, False):
            cases = [case.case for case in unscored if case.state == state and _has_scores(case) == penalised]
            if cases:
                kept = "kept, with the protocol's penalty scores" if penalised else "no scores, so left out"
                remarks.append(f"{name}, {state}: {_cases(cases)}; {kept}.")
    return remarks


def _has_scores(case: CaseScores) -> bool:
    return any(math.isfinite(value) for scores in case.regions.values() for value in scores.values())


def _cases(names: Sequence[str]) -> str:
    """Writes '2 cases (A, B)', at most three of them by name."""
    shown = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
    return f"{len(names)} {'case' if len(names) == 1 else 'cases'} ({shown})"
