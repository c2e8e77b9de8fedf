"""Means of the rows, and their differences over the same patients, by the product's own comparison."""

from collections.abc import Mapping, Sequence
from typing import Any

from nnunetv2_comnet.comparison.compare import compare
from nnunetv2_comnet.comparison.outcome import Comparison
from nnunetv2_comnet.comparison.pairing import AVERAGE
from nnunetv2_comnet.evaluation.results import SCORED, CaseScores, Evaluation
from nnunetv2_comnet.text_tables import with_interval
from study.settings import BOOTSTRAP_SEED, METRICS, PAIRS, PROTOCOL, REFERENCES, REGIONS, ROW_NAMES

COLUMNS = (*REGIONS, AVERAGE)


def summarise(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """rows: means and differences to each row's reference by metric and column; pairs: of the average Dice; gate."""
    rows: dict[str, Any] = {key: {"name": name, "reference": REFERENCES.get(key)} for key, name in ROW_NAMES.items()}
    for reference in set(REFERENCES.values()):
        keys = [reference, *(key for key in ROW_NAMES if REFERENCES.get(key) == reference)]
        comparison = compare_rows(results, keys, reference)
        for key in keys:
            rows[key] |= {"mean": means(comparison, key), "difference": differences(comparison, key)}
    pairs = [
        {"first": one, "second": other, **differences(compare_rows(results, (one, other), other), one)["dice"][AVERAGE]}
        for one, other in PAIRS
    ]
    return {"rows": rows, "pairs": pairs, "gate": _beyond_the_gate(results)}


def compare_rows(results: Sequence[dict[str, Any]], keys: Sequence[str], reference: str) -> Comparison:
    """Compares rows of the patients' scores with one of them."""
    cases = {key: tuple(CaseScores(each["case"], SCORED, "", each["rows"][key]) for each in results) for key in keys}
    evaluations = {key: Evaluation(PROTOCOL, "", "", REGIONS, of_key) for key, of_key in cases.items()}
    return compare(evaluations, metrics=METRICS, against=reference, seed=BOOTSTRAP_SEED)


def means(comparison: Comparison, model: str) -> dict[str, dict[str, float]]:
    """Metric -> column -> mean over patients."""
    found: dict[str, dict[str, float]] = {metric: {} for metric in comparison.metrics}
    for scores in comparison.scores:
        if scores.model == model:
            found[scores.metric][scores.region] = scores.mean
    return found


def differences(comparison: Comparison, model: str) -> dict[str, dict[str, dict[str, float]]]:
    """Metric -> column -> mean of the differences to the reference, low and high end of its interval."""
    found: dict[str, dict[str, dict[str, float]]] = {metric: {} for metric in comparison.metrics}
    for each in comparison.differences:
        if each.first == model:
            found[each.metric][each.region] = {"mean": each.mean, "low": each.low, "high": each.high}
    return found


def shown(found: Mapping[str, float], digits: int = 4) -> str:
    """A difference and its interval, as text."""
    return with_interval(found["mean"], found["low"], found["high"], digits)


def excludes_zero(found: Mapping[str, float]) -> bool:
    """Whether 0 lies outside the interval of a difference."""
    return found["low"] > 0 or found["high"] < 0


def _beyond_the_gate(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Per region, over all patients: voxels that the ensemble has wrong, and the share where the gate is shut."""
    totals = {}
    for region in REGIONS:
        wrong, shut = (sum(result["errors"][region][what] for result in results) for what in ("wrong", "gate_shut"))
        totals[region] = {"wrong": wrong, "gate_shut": shut, "share": shut / wrong if wrong else 0.0}
    return totals
