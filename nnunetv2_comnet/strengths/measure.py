"""Measures the Dice of held-out cases at every correction strength, and writes calibration.json beside the model.

Every case is predicted by the fold that did not see it, in nnU-Net's own way and on its own grid. Resampling is linear,
so logits and correction are resampled once and every strength follows exactly.
"""

import os
from collections.abc import Sequence
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
from nnunetv2_comnet.strengths.choose_strength import Choice, Table, choose, require_two_folds
from nnunetv2_comnet.strengths.strengths_file import FILE, STRENGTHS, Strengths

MEASURED = "calibration_cases.json"  # what an interrupted run has measured so far


class _Measured(BaseModel):
    """An interrupted run's file: what it depended on (`_run`), and Dice (R, len(STRENGTHS)) by case."""

    model_config = ConfigDict(extra="allow")

    dice: dict[str, list[list[float]]]


def measure_strengths(
    model_folder: Path, preprocessed: Path, *, options: Options, device: str, progress: Progress = silent
) -> dict[str, Choice]:
    """Chooses the strengths of the refiner from every fold's held-out cases, and stores them with the model.

    Args:
        model_folder: what nnU-Net trained the refiner into.
        preprocessed: the dataset's folder in nnUNet_preprocessed.
        options: how the cases are predicted; later predictions should use the same.
        device: "auto", "cpu", "cuda" or "mps".
        progress: shows how far it is.

    Raises:
        ConfigurationError: the model has no refiner, or a single fold.
        DataError: a fold, or a held-out case's image or truth, is missing; nothing was computed or written then.
    """
    model = open_model(model_folder, None)
    hashes = {str(path.relative_to(model.path)): sha256(path) for path in model.checkpoints}
    measured = _already_measured(model, hashes, options)
    held_out = held_out_cases(model.path, read_splits(preprocessed / SPLITS), model.folds)
    require_two_folds(held_out)  # before hours of measuring, as the checks of the files
    left = {fold: missing for fold, cases in held_out.items() if (missing := [c for c in cases if c not in measured])}
    for fold, cases in left.items():
        predictor = CoMNeTPredictor(model.path, [fold], options=options, device=device)
        if fold == next(iter(left)):
            _require_files(predictor, preprocessed, [case for missing in left.values() for case in missing])
        for case in progress(cases, f"held-out cases of fold {fold}"):
            measured[case] = _dice_by_strength(predictor, preprocessed, case).tolist()
            write_json(model.path / MEASURED, {**_run(hashes, options), "dice": measured})
    order = [(fold, case) for fold, cases in held_out.items() for case in cases]
    table: Table = np.array([measured[case] for _, case in order], dtype=np.float64)
    choices = dict(zip(model.dataset.regions, choose(table, [fold for fold, _ in order]), strict=True))
    _store(model, choices, hashes, [case for _, case in order], options)
    return choices


def _require_files(predictor: CoMNeTPredictor, preprocessed: Path, cases: Sequence[str]) -> None:
    """Raises `DataError` for the first case whose preprocessed image or true mask is missing."""
    folder = _data_folder(predictor, preprocessed)
    try:
        known = set(infer_dataset_class(str(folder)).get_identifiers(str(folder)))
    except (AssertionError, OSError):  # as nnU-Net does for a folder that is empty or missing
        known = set()
    for case in cases:
        if case not in known:
            raise DataError(_unreadable(case, folder))
        require_truth(preprocessed, case, predictor.dataset.file_ending)


def _data_folder(predictor: CoMNeTPredictor, preprocessed: Path) -> Path:
    return preprocessed / str(predictor.configuration_manager.data_identifier)


def _unreadable(case: str, folder: Path) -> str:
    return f"case {case} cannot be read from {folder}; preprocess the dataset again"


def _dice_by_strength(predictor: CoMNeTPredictor, preprocessed: Path, case: str) -> Table:
    """Predicts one case and computes its Dice (R, len(STRENGTHS)) on its own grid."""
    folder = _data_folder(predictor, preprocessed)
    try:
        data, _, _, properties = infer_dataset_class(str(folder))(str(folder), [case]).load_case(case)
    except Exception as error:  # whatever a broken file makes the reader throw
        raise DataError(_unreadable(case, folder)) from error
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
    """Reads the region masks (R, Z, Y, X) of the whole image, axes as in the plans."""
    path = require_truth(preprocessed, case, predictor.dataset.file_ending)
    labels, _ = predictor.writer.read_seg(str(path))
    labels = labels[0].transpose(predictor.plans_manager.transpose_forward)
    return predictor.regions.masks(labels)


def _dice(predicted: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_], beyond: npt.NDArray[np.int64]) -> Table:
    """Computes Dice per region: 1 where both masks are empty, 0 where one is."""
    axes = (1, 2, 3)
    sizes = predicted.sum(axis=axes) + truth.sum(axis=axes) + beyond
    overlap = (predicted & truth).sum(axis=axes)
    return np.where(sizes > 0, 2 * overlap / np.maximum(sizes, 1), 1.0)


def _run(hashes: dict[str, str], options: Options) -> dict[str, Any]:
    """Lists what measurements depend on: those made with anything else are not used again."""
    names = ("steps", "samples", "eta", "seed", "tile_step_size", "use_mirroring")
    return {"checkpoints": hashes, "strengths": list(STRENGTHS), **{name: getattr(options, name) for name in names}}


def _already_measured(model: ModelFolder, hashes: dict[str, str], options: Options) -> dict[str, list[list[float]]]:
    path = model.path / MEASURED
    if not path.is_file():
        return {}
    stored = read_checked(path, _Measured, "delete it to measure again")
    run = _run(hashes, options)
    return stored.dice if {name: getattr(stored, name, None) for name in run} == run else {}


def _store(
    model: ModelFolder, choices: dict[str, Choice], hashes: dict[str, str], cases: list[str], options: Options
) -> None:
    """Writes the strengths file, and the strengths into plans.json, which stock prediction and zips carry."""
    evidence = {
        "regions": {region: asdict(choice) for region, choice in choices.items()},
        "cases": cases,
        **{name: value for name, value in _run(hashes, options).items() if name != "checkpoints"},
    }
    strength = {region: choice.strength for region, choice in choices.items()}
    stored = Strengths(format=1, strength=strength, checkpoints=hashes, evidence=evidence)
    write_json(model.path / FILE, stored.model_dump(mode="json"))
    plans = read_json(model.path / "plans.json")
    if SECTION not in plans:
        raise ConfigurationError(f"{model.path / 'plans.json'} has no '{SECTION}' section; train with our trainer")
    plans[SECTION].setdefault("refiner", {})["strength"] = list(strength.values())
    write_json(model.path / "plans.json", plans)
    os.remove(model.path / MEASURED)
