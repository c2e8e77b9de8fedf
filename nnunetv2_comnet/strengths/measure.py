"""Measures how held-out cases fare at every correction strength, and writes calibration.json beside the model.

Every case is predicted by the fold that did not see it, in nnU-Net's own way and on its own grid. Resampling is linear,
so logits and correction are resampled once and every strength follows exactly.
"""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class
from pydantic import BaseModel, ConfigDict

from nnunetv2_comnet.crossval import SPLITS, held_out_cases, read_splits, require_truth
from nnunetv2_comnet.errors import ConfigurationError, DataError
from nnunetv2_comnet.files import read_checked, read_json, sha256, write_json
from nnunetv2_comnet.inference.model_folder import ModelFolder, open_model
from nnunetv2_comnet.inference.nnunet_output import nnunet_messages_to_log
from nnunetv2_comnet.inference.options import Options
from nnunetv2_comnet.inference.predictor import CoMNeTPredictor
from nnunetv2_comnet.plans import SECTION
from nnunetv2_comnet.progress import Progress, silent
from nnunetv2_comnet.strengths.choose_strength import Choice, Table, choose
from nnunetv2_comnet.strengths.strengths_file import FILE, STRENGTHS, Calibration

MEASURED = "calibration_cases.json"  # what an interrupted run has measured so far
Maps = npt.NDArray[np.float32]


class _Measured(BaseModel):
    """What an interrupted run has left: what it depended on (`_run`), and Dice (R, len(STRENGTHS)) by case."""

    model_config = ConfigDict(extra="allow")

    dice: dict[str, list[list[float]]]


def calibrate(
    model_folder: Path, preprocessed: Path, *, options: Options, device: str, progress: Progress = silent
) -> dict[str, Choice]:
    """Calibrates the refiner of every fold in `model_folder` and stores the strengths with the model.

    preprocessed: the dataset's folder in nnUNet_preprocessed.
    Raises ConfigurationError for a model without a refiner, DataError for folds or cases that are missing.
    """
    model = open_model(model_folder, None)
    regions = list(model.dataset.regions)
    hashes = {str(path.relative_to(model.path)): sha256(path) for path in model.checkpoints}
    measured = _already_measured(model, hashes, options)
    held_out = held_out_cases(model.path, read_splits(preprocessed / SPLITS), model.folds)
    if len(held_out) < 2:  # said before hours of measuring
        raise ConfigurationError("a calibration needs the held-out cases of two folds or more; train more folds")
    for fold, cases in held_out.items():
        missing = [case for case in cases if case not in measured]
        if not missing:
            continue
        predictor = CoMNeTPredictor(model.path, [fold], options=options, device=device)
        for case in progress(missing, f"held-out cases of fold {fold}"):
            measured[case] = _dice_by_strength(predictor, preprocessed, case).tolist()
            write_json(model.path / MEASURED, {**_run(hashes, options), "dice": measured})
    order = [(fold, case) for fold, cases in held_out.items() for case in cases]
    table: Table = np.array([measured[case] for _, case in order], dtype=np.float64)
    choices = dict(zip(regions, choose(table, [fold for fold, _ in order]), strict=True))
    _store(model, choices, hashes, [case for _, case in order], options)
    return choices


def _dice_by_strength(predictor: CoMNeTPredictor, preprocessed: Path, case: str) -> Table:
    """Dice (R, len(STRENGTHS)) of one case on its own grid."""
    identifier = predictor.configuration_manager.data_identifier
    data_folder = str(preprocessed / identifier)
    try:
        data, _, _, properties = infer_dataset_class(data_folder)(data_folder, [case]).load_case(case)
    except Exception as error:  # whatever a missing or broken file makes the reader throw
        raise DataError(f"case {case} cannot be read from {data_folder}; preprocess the dataset again") from error
    with torch.inference_mode(), nnunet_messages_to_log():
        logits, correction = predictor.coarse_and_correction(torch.from_numpy(np.array(data[:])), properties)
        truth = _truth(predictor, preprocessed, case)
    box = tuple(slice(*side) for side in properties["bbox_used_for_cropping"])
    everywhere = (slice(None), *box)
    inside = truth[everywhere]
    beyond = truth.sum(axis=(1, 2, 3)) - inside.sum(axis=(1, 2, 3))  # cropping took these away: never found
    columns = [_dice(logits + np.float32(alpha) * correction > 0, inside, beyond) for alpha in STRENGTHS]
    return np.stack(columns, axis=1)


def _truth(predictor: CoMNeTPredictor, preprocessed: Path, case: str) -> npt.NDArray[np.bool_]:
    """Region masks (R, Z, Y, X) of the whole image, axes as in the plans."""
    path = require_truth(preprocessed, case, predictor.dataset.file_ending)
    labels, _ = predictor.writer.read_seg(str(path))
    labels = labels[0].transpose(predictor.plans_manager.transpose_forward)
    return predictor.regions.masks(labels)


def _dice(predicted: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_], beyond: npt.NDArray[np.int64]) -> Table:
    """Per region; both empty 1, one empty 0."""
    axes = (1, 2, 3)
    sizes = predicted.sum(axis=axes) + truth.sum(axis=axes) + beyond
    overlap = (predicted & truth).sum(axis=axes)
    return np.where(sizes > 0, 2 * overlap / np.maximum(sizes, 1), 1.0)


def _run(hashes: dict[str, str], options: Options) -> dict[str, Any]:
    """What measurements depend on; others are not taken over."""
    return {
        "checkpoints": hashes,
        "strengths": list(STRENGTHS),
        "steps": options.steps,
        "samples": options.samples,
        "eta": options.eta,
        "seed": options.seed,
        "tile_step_size": options.tile_step_size,
        "use_mirroring": options.use_mirroring,
    }


def _already_measured(model: ModelFolder, hashes: dict[str, str], options: Options) -> dict[str, list[list[float]]]:
    path = model.path / MEASURED
    if not path.is_file():
        return {}
    stored = read_checked(path, _Measured, "delete it to measure anew")
    run = _run(hashes, options)
    return stored.dice if {name: getattr(stored, name, None) for name in run} == run else {}


def _store(
    model: ModelFolder, choices: dict[str, Choice], hashes: dict[str, str], cases: list[str], options: Options
) -> None:
    """calibration.json with the evidence, and the strengths into plans.json, which stock prediction and zips carry."""
    evidence = {
        "regions": {region: asdict(choice) for region, choice in choices.items()},
        "cases": cases,
        **{name: value for name, value in _run(hashes, options).items() if name != "checkpoints"},
    }
    strength = {region: choice.strength for region, choice in choices.items()}
    calibration = Calibration(format=1, strength=strength, checkpoints=hashes, evidence=evidence)
    write_json(model.path / FILE, calibration.model_dump(mode="json"))
    plans = read_json(model.path / "plans.json")
    if SECTION not in plans:
        raise ConfigurationError(f"{model.path / 'plans.json'} has no '{SECTION}' section; train with our trainer")
    plans[SECTION].setdefault("refiner", {})["strength"] = list(strength.values())
    write_json(model.path / "plans.json", plans)
    os.remove(model.path / MEASURED)
