"""What the tables of the page say: every evaluation by case and in summary, and which case is worst."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nnunetv2_comnet.errors import ComnetError
from nnunetv2_comnet.evaluation.dice import region_dice
from nnunetv2_comnet.evaluation.results import METRICS, MISSING, SCORED, CaseScores, Evaluation, Metric
from nnunetv2_comnet.html_report.sources import CaseFiles
from nnunetv2_comnet.html_report.volumes import read_labels, read_map
from nnunetv2_comnet.progress import Progress
from nnunetv2_comnet.regions import short_name

Files = Callable[[str], CaseFiles]
RANKED_BY = "dice"


def dice_only(
    cases: Sequence[str], files: Files, regions: Mapping[str, tuple[int, ...]], progress: Progress
) -> Evaluation:
    """Dice of the cases that have a truth, where no evaluation is at hand; a case without Dice says why."""
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
    """Worst first: cases without a score, then by the mean Dice over regions, or of the first metric there is.

    Predictions that have no reference come last.
    """
    metric = ranking_metric(evaluation)
    means = _mean_of_rows(evaluation.table(metric.name)) if metric else np.full(len(evaluation.cases), math.nan)
    sign = -1 if metric and metric.better == "lower" else 1
    keys = {
        case.case: (case.state == SCORED and not math.isnan(mean), 0.0 if math.isnan(mean) else sign * mean, case.case)
        for case, mean in zip(evaluation.cases, means, strict=True)
    }
    return [*sorted(keys, key=keys.__getitem__), *sorted(set(evaluation.extra) - keys.keys())]


def ranking_metric(evaluation: Evaluation) -> Metric | None:
    """Dice where it was scored, else the first metric that has a better side; None without any."""
    usable = [METRICS[name] for name in evaluation.metrics if name in METRICS and METRICS[name].better]
    return next((metric for metric in usable if metric.name == RANKED_BY), usable[0] if usable else None)


def by_uncertainty(cases: Sequence[str], files: Files, progress: Progress) -> tuple[list[str], str]:
    """Most uncertain first, and how that was measured in words; by name where there are no maps."""
    kind = next((kind for kind in ("disagreement", "entropy") if any(kind in files(c).maps for c in cases)), None)
    if kind is None:
        return sorted(cases), "by name"
    values = {case: _mean_in_tumour(files(case), kind) for case in progress(cases, "ordering")}
    order = sorted(cases, key=lambda case: (-values[case], case))
    return order, f"most uncertain first: mean {kind} over the predicted tumour"


def _mean_in_tumour(files: CaseFiles, kind: str) -> float:
    """The map's mean over predicted voxels; its largest value where nothing is predicted; infinite if unreadable."""
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
    """The evaluation for the page: values[metric][region] per case, mean, sd (n-1), median and n per column."""
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
        "summary": [[_summary(column) for column in _with_mean(tables[metric]).T] for metric in metrics],
        "extra": list(evaluation.extra),
    }


def _metric(name: str) -> dict[str, Any]:
    metric = METRICS.get(name, Metric(name, name, None))
    return {"name": metric.name, "label": metric.label, "better": metric.better, "digits": metric.digits}


def _mean_of_rows(table: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The mean over the regions that have a value; NaN where none has."""
    known = ~np.isnan(table)
    count = known.sum(axis=1)
    means: npt.NDArray[np.float64] = np.where(known, table, 0).sum(axis=1) / np.where(count, count, np.nan)
    return means


def _with_mean(table: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.column_stack([table, _mean_of_rows(table)])


def _summary(column: npt.NDArray[np.float64]) -> dict[str, Any]:
    values = column[~np.isnan(column)]
    if not len(values):
        return {"n": 0, "mean": None, "sd": None, "median": None}
    finite = bool(np.isfinite(values).all())
    sd = float(values.std(ddof=1)) if len(values) > 1 and finite else math.nan
    return {"n": len(values), "mean": _number(values.mean()), "sd": _number(sd), "median": _number(np.median(values))}


def _number(value: Any) -> float | str | None:
    """JSON has neither NaN nor infinity."""
    if math.isnan(value):
        return None
    return float(f"{value:.6g}") if math.isfinite(value) else ("inf" if value > 0 else "-inf")
