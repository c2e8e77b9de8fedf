"""What the tables of the page say: every evaluation by case and in summary, and which case is worst."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from nnunetv2_comnet.errors import ComnetError
from nnunetv2_comnet.evaluation.dice import region_dice
from nnunetv2_comnet.evaluation.results import METRICS, MISSING, SCORED, CaseScores, Evaluation, Metric
from nnunetv2_comnet.html_report.sources import CaseFiles
from nnunetv2_comnet.html_report.volumes import read_labels, read_map
from nnunetv2_comnet.progress import Progress
from nnunetv2_comnet.regions import short_name
from nnunetv2_comnet.statistics import Table, describe, mean_of_known

Files = Callable[[str], CaseFiles]
RANKED_BY = "dice"


def dice_only(
    cases: Sequence[str], files: Files, regions: Mapping[str, tuple[int, ...]], progress: Progress
) -> Evaluation:
    """Computes Dice of the cases that have a truth; a case without a usable prediction says why it has none."""
    scored, extra = [], []
    for case in progress(cases, "ordering"):
        found = files(case)
        if found.truth is None:
            extra.append(case)
        else:
            scored.append(_case_dice(found, regions))
    names = tuple(short_name(region) for region in reversed(list(regions)))
    return Evaluation("Dice of voxels", "", "", names, tuple(scored), tuple(extra))


def _case_dice(files: CaseFiles, regions: Mapping[str, tuple[int, ...]]) -> CaseScores:
    if files.truth is None or files.prediction is None:
        return CaseScores(files.case, MISSING, "there is no prediction", {})
    try:
        prediction, truth = read_labels(files.prediction, files.truth)
    except ComnetError as error:
        return CaseScores(files.case, "unreadable", str(error), {})
    scores = region_dice(truth, prediction, regions)
    return CaseScores(files.case, SCORED, "", {short_name(name): {"dice": value} for name, value in scores.items()})


def by_score(evaluation: Evaluation) -> list[str]:
    """Sorts the cases, worst first: those without a score, then by the mean of `ranking_metric` over regions.

    Predictions that have no reference come last.
    """
    metric = ranking_metric(evaluation)
    means = mean_of_known(evaluation.table(metric.name), axis=1) if metric else np.full(len(evaluation.cases), math.nan)
    sign = -1 if metric and metric.better == "lower" else 1
    keys = {
        case.case: (case.state == SCORED and not math.isnan(mean), 0.0 if math.isnan(mean) else sign * mean, case.case)
        for case, mean in zip(evaluation.cases, means, strict=True)
    }
    return [*sorted(keys, key=keys.__getitem__), *sorted(set(evaluation.extra) - keys.keys())]


def ranking_metric(evaluation: Evaluation) -> Metric | None:
    """Chooses Dice where it was scored, else the first metric that has a better direction; None without any."""
    usable = [METRICS[name] for name in evaluation.metrics if name in METRICS and METRICS[name].better]
    return next((metric for metric in usable if metric.name == RANKED_BY), usable[0] if usable else None)


def by_uncertainty(cases: Sequence[str], files: Files, progress: Progress) -> tuple[list[str], str]:
    """Sorts the cases, most uncertain first, and says how that was measured; by name where there are no maps."""
    kind = next((kind for kind in ("disagreement", "entropy") if any(kind in files(c).maps for c in cases)), None)
    if kind is None:
        return sorted(cases), "by name"
    values = {case: _mean_in_tumour(files(case), kind) for case in progress(cases, "ordering")}
    order = sorted(cases, key=lambda case: (-values[case], case))
    return order, f"most uncertain first: mean {kind} over the predicted tumour"


def _mean_in_tumour(files: CaseFiles, kind: str) -> float:
    """Averages a map over predicted voxels; its largest value where nothing is predicted, infinite if unreadable."""
    if files.prediction is None or kind not in files.maps:
        return math.inf
    try:
        tumour, values = read_labels(files.prediction)[0] > 0, read_map(files.maps[kind])
    except ComnetError:
        return math.inf
    if tumour.shape != values.shape:
        return math.inf
    return float(values[tumour].mean() if tumour.any() else values.max())


def as_page_data(name: str, evaluation: Evaluation) -> dict[str, Any]:
    """Writes an evaluation for the page: values[metric][region] per case; mean, sd (n - 1), median and n per column."""
    metrics = evaluation.metrics
    tables = {metric: evaluation.table(metric) for metric in metrics}
    return {
        "name": name,
        "protocol": evaluation.protocol,
        "regions": list(evaluation.regions),
        "metrics": [_metric(metric) for metric in metrics],
        "cases": {
            case.case: {
                "state": case.state,
                "note": case.note,
                "values": [[_number(v) for v in tables[metric][row]] for metric in metrics],
            }
            for row, case in enumerate(evaluation.cases)
        },
        "summary": [[*map(_summary, table.T), _summary(mean_of_known(table, axis=1))] for table in tables.values()],
        "extra": list(evaluation.extra),
    }


def _metric(name: str) -> dict[str, Any]:
    metric = METRICS.get(name, Metric(name, name, None))
    return {"name": metric.name, "label": metric.label, "better": metric.better, "digits": metric.digits}


def _summary(column: Table) -> dict[str, Any]:
    count, *numbers = describe(column)
    return {"n": count, **dict(zip(("mean", "sd", "median"), map(_number, numbers), strict=True))}


def _number(value: Any) -> float | str | None:
    """Rounds to six digits; JSON has neither NaN (null) nor infinity (a text)."""
    if math.isnan(value):
        return None
    return float(f"{value:.6g}") if math.isfinite(value) else ("inf" if value > 0 else "-inf")
