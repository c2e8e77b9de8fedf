"""The page of the study on missing images: what it shows, the table, how it was made."""

import dataclasses
import importlib.metadata
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nnunetv2_comnet.comparison.compare import compare
from nnunetv2_comnet.comparison.pairing import AVERAGE
from nnunetv2_comnet.evaluation.results import Evaluation
from nnunetv2_comnet.files import write_json, write_text
from nnunetv2_comnet.text_tables import markdown, number
from study.differences import COLUMNS, differences, means, shown
from study.missing_settings import FOLD, MISSING_CHANNELS, MODELS, WITH, WITHOUT, Model
from study.progress import Progress
from study.report import PACKAGES, memory_gb, processor
from study.settings import BOOTSTRAP_SEED, REGIONS

Scores = Sequence[Mapping[str, Evaluation]]  # in the order of MISSING_CHANNELS, by the name of the model


def write(progress: Progress, scores: Scores, target: Path) -> None:
    """target.json and target.md."""
    report = {
        "study": dataclasses.asdict(progress.study),
        "models": [dataclasses.asdict(model) for model in MODELS],
        "hardware": {"processor": processor(), "cores": os.cpu_count(), "memory_gb": memory_gb()},
        "versions": {"python": platform.python_version(), **{p: importlib.metadata.version(p) for p in PACKAGES}},
        "seconds": {"total": round(progress.total_seconds, 1), **progress.log["stages"]},
        "rows": [_row(missing, of_models) for missing, of_models in zip(MISSING_CHANNELS, scores, strict=True)],
        "patients": {model.name: _of_patients([each[model.name] for each in scores]) for model in MODELS},
    }
    write_json(target.with_suffix(".json"), report)
    write_text(target.with_suffix(".md"), page(report))


def _of_patients(evaluations: Sequence[Evaluation]) -> dict[str, dict[str, dict[str, float]]]:
    """Case -> what is missing -> Dice by region."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for missing, evaluation in zip(MISSING_CHANNELS, evaluations, strict=True):
        for case in evaluation.cases:
            dice = {region: scores["dice"] for region, scores in case.regions.items()}
            found.setdefault(case.case, {})[_name(missing)] = dice
    return found


def _row(missing: tuple[str, ...], of_models: Mapping[str, Evaluation]) -> dict[str, Any]:
    """Mean Dice of each model by region, and the paired difference of the average: with dropout minus without."""
    comparison = compare(of_models, metrics=("dice",), against=WITHOUT.name, seed=BOOTSTRAP_SEED)
    return {
        "missing_channels": list(missing),
        "mean": {name: means(comparison, name)["dice"] for name in of_models},
        "difference": differences(comparison, WITH.name)["dice"][AVERAGE],
    }


def page(report: dict[str, Any]) -> str:
    """The page."""
    header = ["missing", *(f"with: {c}" for c in COLUMNS), *(f"zeros: {c}" for c in COLUMNS), "difference"]
    rows = [
        [
            _name(row["missing_channels"]),
            *(number(row["mean"][model.name][column], 4) for model in MODELS for column in COLUMNS),
            shown(row["difference"]),
        ]
        for row in report["rows"]
    ]
    parts = [
        "# Patients who lack images: Dice",
        finding(report),
        f"Mean Dice over {report['study']['held_out']} held-out patients. *with*: the model trained with modality "
        f"dropout {WITH.modality_dropout:g}, its patients lack the images in earnest. *zeros*: the same training "
        "without it; `comnet predict` refuses such patients, and here the study's script has put zeros in the place of "
        "the images, to show why. *difference*: of the average, with minus zeros, mean of the paired differences and "
        "its 95 % bootstrap interval over patients.",
        markdown(header, rows),
        _caption(report),
    ]
    return "\n\n".join(parts) + "\n"


def finding(report: dict[str, Any]) -> str:
    """What the table shows, whatever it is."""
    complete, *others = report["rows"]
    single = [row for row in others if len(row["missing_channels"]) == 1]

    def mean(rows: Sequence[dict[str, Any]], model: Model) -> str:
        return number(float(np.mean([row["mean"][model.name][AVERAGE] for row in rows])), 4)

    def lost(row: dict[str, Any], region: str) -> float:
        return float(complete["mean"][WITH.name][region] - row["mean"][WITH.name][region])

    worst, region = max(((row, region) for row in single for region in REGIONS), key=lambda pair: lost(*pair))
    return (
        f"With all images, the model trained with dropout reaches an average Dice of {mean([complete], WITH)}, the one "
        f"without {mean([complete], WITHOUT)} (difference {shown(complete['difference'])}); with one "
        f"image missing (mean of the four rows), {mean(single, WITH)} against {mean(single, WITHOUT)} of the other fed "
        f"zeros. What dropout cannot give back is largest in {region} without {_name(worst['missing_channels'])}: "
        f"{number(complete['mean'][WITH.name][region], 4)} with all images, "
        f"{number(worst['mean'][WITH.name][region], 4)} then. "
        f"{_favoured(report['rows'])}"
    )


def _favoured(rows: Sequence[dict[str, Any]]) -> str:
    """Which rows' intervals exclude 0, and on which side."""
    better = [_name(row["missing_channels"]) for row in rows if row["difference"]["low"] > 0]
    worse = [_name(row["missing_channels"]) for row in rows if row["difference"]["high"] < 0]
    return (
        f"The interval of the difference speaks for dropout where these are missing: {'; '.join(better) or '-'}; "
        f"against it where these are missing: {'; '.join(worse) or '-'}."
    )


def _caption(report: dict[str, Any]) -> str:
    study, hardware, seconds = report["study"], report["hardware"], report["seconds"]
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    stages = "; ".join(f"{stage} {value:.0f} s" for stage, value in seconds.items() if stage != "total")
    return (
        "**How it was made.** `make missing-modality`. Generated patients, no real ones: "
        f"`comnet phantom --seed {study['phantom_seed']} --spacing {study['spacing_mm']:g}`, numbers 1 to "
        f"{study['patients']} for fold {FOLD} of five, {study['held_out_start']} to "
        f"{study['held_out_start'] + study['held_out'] - 1} held out. Stage 1 only, one fold: "
        f"`comnet plan --preset demo {' '.join(study['plan_flags'])} --modality-dropout P`, P = "
        f"{' and '.join(f'{model.modality_dropout:g}' for model in MODELS)}; same seed, so both begin with the same "
        "weights and see the same patches, but for missing channels. The best epoch is chosen on complete patients. No "
        "mirroring, no post-processing. Dice of two empty masks 1, of one empty mask 0. Bootstrap seed "
        f"{BOOTSTRAP_SEED}.\n\n"
        f"{hardware['processor']}, {hardware['cores']} cores, {hardware['memory_gb']} GB; both models at a time, one "
        f"thread each; {seconds['total'] / 60:.0f} minutes on a shared machine ({stages}). {versions}."
    )


def _name(missing: Sequence[str]) -> str:
    return ", ".join(missing) or "nothing"
