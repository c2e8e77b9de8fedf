"""Scores of a folder of predictions: what `comnet evaluate` writes and every later step reads.

evaluation.json holds all; cases.csv has a line per case and region, summary.csv a line per region and metric.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nnunetv2_comnet.errors import DataError
from nnunetv2_comnet.files import read_json, write_json, write_text
from nnunetv2_comnet.statistics import Table, describe
from nnunetv2_comnet.text_tables import csv_table

FILE, FORMAT = "evaluation.json", 1
SCORED, MISSING = "scored", "missing-prediction"
# What was wrong: with the prediction, and with the reference.
UNREADABLE, OTHER_GRID, UNKNOWN_LABEL = "unreadable-prediction", "other-grid", "unknown-label"
BAD_REFERENCE = "unusable-reference"


@dataclass(frozen=True)
class Metric:
    """A score's name in files, its name for readers, and which way is better (None: neither)."""

    name: str
    label: str
    better: str | None
    digits: int = 4


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("dice", "Dice", "higher"),
        Metric("iou", "IoU", "higher"),
        Metric("hd95_mm", "HD95, mm", "lower", 2),
        Metric("assd_mm", "average surface distance, mm", "lower", 2),
        Metric("nsd_0.5mm", "NSD at 0.5 mm", "higher"),
        Metric("nsd_1mm", "NSD at 1 mm", "higher"),
        Metric("nsd_2mm", "NSD at 2 mm", "higher"),
        Metric("precision", "precision", "higher"),
        Metric("sensitivity", "sensitivity", "higher"),
        Metric("volume_truth_mm3", "true volume, mm3", None, 0),
        Metric("volume_predicted_mm3", "predicted volume, mm3", None, 0),
        Metric("volume_difference_mm3", "predicted minus true volume, mm3", None, 0),
        Metric("lesion_dice", "lesion-wise Dice", "higher"),
        Metric("lesion_hd95_mm", "lesion-wise HD95, mm", "lower", 2),
        Metric("lesion_nsd_0.5mm", "lesion-wise NSD at 0.5 mm", "higher"),
        Metric("lesion_nsd_1mm", "lesion-wise NSD at 1 mm", "higher"),
        Metric("lesion_f1", "lesion F1", "higher"),
        Metric("lesion_tp", "lesions found", "higher", 0),
        Metric("lesion_fp", "false lesions", "lower", 0),
        Metric("lesion_fn", "lesions missed", "lower", 0),
        Metric("ece_brain", "expected calibration error, brain", "lower"),
        Metric("ece_tumour", "expected calibration error, dilated tumour", "lower"),
        Metric("brier", "Brier score, brain", "lower"),
    )
}
OF_PROBABILITIES = ("ece_brain", "ece_tumour", "brier")


@dataclass(frozen=True)
class CaseScores:
    """One case: a case without a usable prediction has the scores that its protocol gives a missing one.

    Attributes:
        case: its name.
        state: SCORED, or another of this module's constants.
        note: what was wrong, in a sentence, or "".
        regions: short name (ET, TC, WT) -> metric -> value, NaN where a metric is not defined; empty where the
            reference cannot be used.
    """

    case: str
    state: str
    note: str
    regions: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Evaluation:
    """Scores of every case of a reference folder under one protocol; extra: predictions that have no reference."""

    protocol: str
    reference: str
    prediction: str
    regions: tuple[str, ...]
    cases: tuple[CaseScores, ...]
    extra: tuple[str, ...] = ()
    information: Mapping[str, Any] = field(default_factory=dict)

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that occur, in the order of METRICS; unknown names after them."""
        found = {name for case in self.cases for scores in case.regions.values() for name in scores}
        return (*(name for name in METRICS if name in found), *sorted(found - METRICS.keys()))

    def table(self, metric: str) -> Table:
        """Returns a metric of all cases, (cases, regions), NaN where there is no value."""
        rows = [[case.regions.get(region, {}).get(metric, math.nan) for region in self.regions] for case in self.cases]
        return np.array(rows, np.float64).reshape(len(self.cases), len(self.regions))

    def write(self, folder: Path) -> None:
        """Writes evaluation.json, cases.csv and summary.csv, each whole or not at all."""
        write_json(folder / FILE, _as_json(self))
        write_text(folder / "cases.csv", _cases_csv(self))
        write_text(folder / "summary.csv", _summary_csv(self))


def read_evaluation(source: Path) -> Evaluation:
    """Reads evaluation.json, or the one in a folder. Raises `DataError` for another file."""
    path = source / FILE if source.is_dir() else source
    content = read_json(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise DataError(f"{path} is not an evaluation of format {FORMAT}; write it with `comnet evaluate`")
    try:
        cases = tuple(
            CaseScores(
                case,
                entry["state"],
                entry["note"],
                {region: {m: _number(v) for m, v in scores.items()} for region, scores in entry["regions"].items()},
            )
            for case, entry in content["cases"].items()
        )
        return Evaluation(
            content["protocol"],
            content["reference"],
            content["prediction"],
            tuple(content["regions"]),
            cases,
            tuple(content["extra"]),
            content["information"],
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise DataError(f"{path} is damaged ({error!r}); write it again with `comnet evaluate`") from error


def _as_json(evaluation: Evaluation) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "protocol": evaluation.protocol,
        "reference": evaluation.reference,
        "prediction": evaluation.prediction,
        "regions": list(evaluation.regions),
        "extra": list(evaluation.extra),
        "information": dict(evaluation.information),
        "cases": {
            case.case: {
                "state": case.state,
                "note": case.note,
                "regions": {
                    region: {m: None if math.isnan(v) else v for m, v in scores.items()}
                    for region, scores in case.regions.items()
                },
            }
            for case in evaluation.cases
        },
    }


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _cases_csv(evaluation: Evaluation) -> str:
    metrics = evaluation.metrics
    lines = [
        [
            case.case,
            region,
            case.state,
            *(case.regions.get(region, {}).get(m, math.nan) for m in metrics),
            case.note,
        ]
        for case in evaluation.cases
        for region in evaluation.regions
    ]
    return csv_table(["case", "region", "state", *metrics, "note"], lines)


def _summary_csv(evaluation: Evaluation) -> str:
    lines: list[list[object]] = []
    for metric in evaluation.metrics:
        for region, column in zip(evaluation.regions, evaluation.table(metric).T, strict=True):
            lines.append([metric, region, *describe(column)])
    return csv_table(["metric", "region", "cases", "mean", "sd", "median"], lines)
