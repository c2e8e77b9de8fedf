"""Writes the study: everything as JSON, the table in Markdown, the figure."""

import dataclasses
import importlib.metadata
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nnunetv2_comnet.comparison.pairing import AVERAGE
from nnunetv2_comnet.evaluation.protocols import protocol_named
from nnunetv2_comnet.files import read_json, write_json, write_text
from nnunetv2_comnet.regions import short_name
from nnunetv2_comnet.text_tables import interval, markdown, number
from study import figure
from study.differences import COLUMNS, excludes_zero, shown, summarise
from study.progress import Progress
from study.settings import (
    BOOTSTRAP_SEED,
    CROSS,
    DEFAULT,
    MAIN,
    PLANS,
    PROTOCOL,
    REGIONS,
    ROW_NAMES,
    SAMPLING_SEED,
    TRAIN_NAME,
    Study,
)
from study.training import strengths_file_of

PACKAGES = ("nnunetv2-comnet", "nnunetv2", "torch", "numpy", "surface-distance")


def write(progress: Progress, results: Sequence[dict[str, Any]], target: Path) -> None:
    """target.json, target.md and target.png from the scores of all held-out patients."""
    plans = read_json(progress.folder / "preprocessed" / TRAIN_NAME / f"{PLANS}.json")
    report = {
        "study": dataclasses.asdict(progress.study),
        "settings": plans["comnet"],
        "hardware": {"processor": processor(), "cores": os.cpu_count(), "memory_gb": memory_gb()},
        "versions": {"python": platform.python_version(), **{p: importlib.metadata.version(p) for p in PACKAGES}},
        "seconds": {"total": round(progress.total_seconds, 1), **progress.log["stages"]},
        "seconds_of_folds": progress.log["folds"],
        "calibration": {DEFAULT: _calibration(progress.folder, DEFAULT)},
        **summarise(results),
        "patients": [{name: result[name] for name in ("case", "rows", "errors")} for result in results],
    }
    write_json(target.with_suffix(".json"), report)
    write_text(target.with_suffix(".md"), page(report, progress.study, target.name))
    figure.draw(report, target.with_suffix(".png"))


def page(report: dict[str, Any], study: Study, name: str) -> str:
    """The page: what the intervals support, the figure, the tables, how it was made."""
    count = len(report["patients"])
    parts = [
        "# Does the refiner help?",
        _lengths_sentence(report["settings"]),
        "\n".join(f"- {line}" for line in findings(report)),
        f"![Paired differences of Dice to stage 1, with 95 % intervals]({name}.png)",
        f"Means over {count} held-out patients; in brackets the 95 % bootstrap interval of the mean paired difference "
        "to the reference above the row: the stage 1 ensemble, or the first or the last fold alone.",
        markdown(["Dice", *COLUMNS, "difference of the average"], _mean_rows(report, "dice", 4)),
        markdown(["Difference of Dice", *COLUMNS], _difference_rows(report, "dice", 4)),
        f"HD95, mm, as `comnet evaluate --protocol {PROTOCOL}` measures it (less is better; both masks empty 0, one "
        f"empty {protocol_named(PROTOCOL).penalty(()):.2f}, as in BraTS until 2022):",
        markdown(["HD95, mm", *COLUMNS, "difference of the average"], _mean_rows(report, "hd95_mm", 2)),
        markdown(["Difference of HD95, mm", *COLUMNS], _difference_rows(report, "hd95_mm", 2)),
        "Calibrated strengths alpha, chosen on the training half's held-out folds; gain in nested cross-validation:",
        markdown(["trainer", *(f"{region}: alpha, gain" for region in REGIONS)], _strength_rows(report)),
        _gate_sentence(report),
        _caption(report, study, count),
    ]
    return "\n\n".join(parts) + "\n"


def findings(report: dict[str, Any]) -> list[str]:
    """What the intervals support, in plain words: of both calibrated pairings by region, then of the pairs of rows."""
    count = len(report["patients"])
    lines = []
    for key, name in ((MAIN, "Refined by fold"), (CROSS, "Refined crosswise")):
        for column in (AVERAGE, *REGIONS):
            what = "average Dice" if column == AVERAGE else f"Dice of {column}"
            found = report["rows"][key]["difference"]["dice"][column]
            lines.append(
                f"{name} changed the {what} of the stage 1 ensemble by {number(found['mean'], 4, sign=True)} "
                f"(95 % interval {interval(found['low'], found['high'], 4)}, {count} patients): "
                + _verdict(report, column, found)
            )
    for pair in report["pairs"]:
        verdict = ("better" if pair["mean"] > 0 else "worse") if excludes_zero(pair) else "no difference is shown"
        lines.append(f"*{ROW_NAMES[pair['first']]}* against *{ROW_NAMES[pair['second']]}*: {shown(pair)}: {verdict}.")
    return lines


def _verdict(report: dict[str, Any], column: str, found: dict[str, Any]) -> str:
    strengths = report["calibration"][DEFAULT]
    off = [region for region in ((column,) if column in REGIONS else REGIONS) if strengths[region]["strength"] == 0]
    if len(off) == (1 if column in REGIONS else len(REGIONS)):
        return "the calibration chose strength 0, so nothing was changed."
    if not excludes_zero(found):
        return "the interval includes 0, so neither a gain nor a loss is shown."
    return f"the interval excludes 0, so this is a {'gain' if found['mean'] > 0 else 'loss'} on these patients."


def _mean_rows(report: dict[str, Any], metric: str, digits: int) -> list[list[str]]:
    rows = []
    for row in report["rows"].values():
        means = [number(row["mean"][metric][column], digits) for column in COLUMNS]
        change = shown(row["difference"][metric][AVERAGE], digits) if row["reference"] else "reference"
        rows.append([row["name"], *means, change])
    return rows


def _difference_rows(report: dict[str, Any], metric: str, digits: int) -> list[list[str]]:
    return [
        [row["name"], *(shown(row["difference"][metric][column], digits) for column in COLUMNS)]
        for row in report["rows"].values()
        if row["reference"]
    ]


def _strength_rows(report: dict[str, Any]) -> list[list[str]]:
    return [
        [trainer, *(f"{of[r]['strength']:g}, {shown({**of[r], 'mean': of[r]['gain']})}" for r in REGIONS)]
        for trainer, of in report["calibration"].items()
    ]


def _gate_sentence(report: dict[str, Any]) -> str:
    shares = ", ".join(f"{region} {100 * of['share']:.2f} % of {of['wrong']}" for region, of in report["gate"].items())
    return (
        f"Voxels that the stage 1 ensemble has wrong and that lie where the gate is shut, out of a refiner's reach: "
        f"{shares}. The oracles start from the ensemble's map. *Codes of the true residual*: each fold's autoencoder "
        "encodes, quantises and decodes the true residual, which corrects through the gate at alpha = 1; mean of the "
        "folds' probabilities. *Truth where the gate is open* is the most that any refiner behind this gate can reach."
    )


def _lengths_sentence(settings: dict[str, Any]) -> str:
    refiner = settings["refiner"]
    stage_1_steps = settings["max_epochs"] * settings["steps_per_epoch"]
    refiner_steps = refiner["max_epochs"] * (refiner["steps_per_epoch"] or settings["steps_per_epoch"])
    return (
        f"Stage 1 was trained for {stage_1_steps:,} steps here, each refiner for {refiner_steps:,}. What is said below "
        "holds for such a stage 1; [method](method.md#a-control-for-compute) has a control with a longer one."
    )


def _caption(report: dict[str, Any], study: Study, count: int) -> str:
    settings, seconds = report["settings"], report["seconds"]
    refiner, hardware = settings["refiner"], report["hardware"]
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    stages = "; ".join(f"{stage} {value:.0f} s" for stage, value in seconds.items() if stage != "total")
    last = study.held_out_start + study.held_out - 1
    return (
        "**How it was made.** `make refinement-study`. Generated patients, no real ones: "
        f"`comnet phantom --seed {study.phantom_seed} --spacing {study.spacing_mm:g}`, numbers 1 to {study.patients} "
        f"for training (folds {', '.join(map(str, study.folds))} of five), {study.held_out_start} to {last} held out "
        f"({count} scored). `comnet plan --preset demo {' '.join(study.plan_flags)}`; fold f trains with seed "
        f"{settings['seed']} + f and samples with seed {SAMPLING_SEED} + f; {refiner['num_inference_steps']} reverse "
        f"steps unless said; stage 1 mirrored; each region's map thresholded at 0.5, no postprocessing. "
        f"Bootstrap over patients, seed {BOOTSTRAP_SEED}. Dice of two empty masks 1, of one empty mask 0. "
        "*calibrated*: the trainer's own strengths per region, measured by fold, one sample per fold averaged; "
        "*alpha = 1*: full strength in every region. "
        "*Crosswise*: each fold's refiner corrects the map of the fold before it. *Own map*, *last fold's map*: the "
        "first fold's refiner alone, on its own fold's map and on one of a model that it was trained on. *One fold*: "
        "each fold's model alone, the mean of their scores per patient.\n\n"
        f"{hardware['processor']}, {hardware['cores']} cores, {hardware['memory_gb']} GB; {study.workers} processes of "
        f"one thread; {seconds['total'] / 60:.0f} minutes ({stages}). {versions}."
    )


def _calibration(out: Path, trainer: str) -> dict[str, Any]:
    """Region -> strength, gain and its interval, as `comnet calibrate` measured them."""
    regions = strengths_file_of(out, trainer).evidence["regions"]
    found = {short_name(region): choice for region, choice in regions.items()}
    return {region: found[region] for region in REGIONS}


def processor() -> str:
    for line in _lines("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def memory_gb() -> int | None:
    for line in _lines("/proc/meminfo"):
        if line.startswith("MemTotal"):
            return round(int(line.split()[1]) / 1024**2)
    return None


def _lines(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8").splitlines() if Path(path).is_file() else []
