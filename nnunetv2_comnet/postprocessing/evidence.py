"""What a fitting found, in plain values for the file and in lines for the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nnunetv2_comnet.postprocessing.fitting import CRITERION, Fit, Gain, Off, Step
from nnunetv2_comnet.postprocessing.measuring import Question, Table
from nnunetv2_comnet.postprocessing.rules import Rule
from nnunetv2_comnet.regions import short_name
from nnunetv2_comnet.text_tables import aligned, number, with_interval

OFF, ANY_SIZE = "off", "any size"
_DIGITS = 6


def evidence_of(fit: Fit, question: Question, protocol: str) -> dict[str, Any]:
    """Writes the evidence of a fit as comnet_postprocessing.json holds it."""
    return {
        "protocol": protocol,
        "metrics": list(question.metrics),
        "objective": "mean over regions and metrics of a case; paired by case",
        "criterion": CRITERION,
        "cases": len(fit.cases),
        "folds": {str(fold): list(fit.cases.values()).count(fold) for fold in sorted(set(fit.cases.values()))},
        "voxel_mm3": fit.voxel_mm3,
        "nested_gain_of_all_rules": _gain(fit.gain),
        "before": _means(fit.before, question),
        "after": _means(fit.after, question),
        "steps": [_step(step) for step in fit.steps],
    }


def rules_table(fit: Fit) -> str:
    """Writes a line per rule that was tried: what was chosen, what it gains, whether it is kept and why not."""
    header = ("rule", "region", "chosen", "gain, nested (95 % interval)", "cases", "kept")
    rows = []
    for step in fit.steps:
        gain = step.nested
        chosen = OFF if step.chosen is Off else f"{step.family.parameter} {_plain(step.chosen)}"
        verdict = "yes" if step.kept else f"no: {step.why}"
        measured = with_interval(gain.mean, gain.low, gain.high, 4)
        rows.append([step.family.rule, step.family.region, chosen, measured, str(step.changed), verdict])
    return aligned(header, rows, words=len(header))


def means_table(fit: Fit, question: Question) -> str:
    """Writes a line per region and metric: the protocol's mean before and after."""
    before, after = _means(fit.before, question), _means(fit.after, question)
    rows = [
        [region, metric, number(before[region][metric], 4), number(after[region][metric], 4)]
        for region in before
        for metric in question.metrics
    ]
    return aligned(("region", "metric", "before", "after"), rows, words=2)


def rule_lines(rules: Sequence[Rule]) -> list[str]:
    """Lists the rules in their order, numbered."""
    return [f"{number}. {rule.describe()}" for number, rule in enumerate(rules, start=1)]


def _step(step: Step) -> dict[str, Any]:
    return {
        "rule": step.family.rule,
        "region": step.family.region,
        "parameter": step.family.parameter,
        "kept": step.kept,
        "why": step.why,
        "chosen": _plain(step.chosen),
        "chosen_by_the_other_folds": {str(fold): _plain(value) for fold, value in step.by_fold.items()},
        "nested_gain": _gain(step.nested),
        "cases_changed": step.changed,
        "candidates": {
            str(_plain(value)): round(mean, _DIGITS) for value, mean in zip(step.family.values, step.gains, strict=True)
        },
    }


def _plain(value: Any) -> Any:
    if value is Off:
        return OFF
    return ANY_SIZE if value is None else value


def _gain(gain: Gain) -> dict[str, float]:
    return {name: round(value, _DIGITS) for name, value in vars(gain).items()}


def _means(table: Table, question: Question) -> Mapping[str, Mapping[str, float | None]]:
    return {
        short_name(region): {
            metric: None if np.isnan(value) else round(float(value), _DIGITS)
            for metric, value in zip(question.metrics, row, strict=True)
        }
        for region, row in zip(question.regions, table, strict=True)
    }
