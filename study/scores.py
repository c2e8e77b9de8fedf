"""Dice and HD95 per region of one patient, for every row; one patient to a worker process."""

import functools
from pathlib import Path
from typing import Any

import numpy as np

from nnunetv2_comnet.evaluation.case_scores import score_case
from nnunetv2_comnet.files import read_json, sha256, write_json
from nnunetv2_comnet.inference.model_folder import CHECKPOINT
from nnunetv2_comnet.regions import THRESHOLD
from study.coarse_maps import Bools, Patient, read_coarse
from study.refining import PatientMaps
from study.settings import (
    AUTOENCODER,
    BEFORE,
    ENSEMBLE,
    FIRST,
    GATE,
    METRICS,
    PROTOCOL,
    REFINED_ROWS,
    REGIONS,
    SINGLE,
    STAGE_1,
    STAGE_2,
    folds_of,
)
from study.training import model_folder, strengths_of

Scores = dict[str, dict[str, float]]  # region -> {"dice", "hd95_mm"}


def score_patient(out: Path, case: str, folds: tuple[int, ...]) -> dict[str, Any]:
    """All rows of one patient: kept in a file, read from it where it is of these models."""
    path, models = out / "scores" / f"{case}.json", _models(out, folds)
    if path.is_file():
        stored: dict[str, Any] = read_json(path)
        if stored["models"] == models:
            return stored
    patient = read_coarse(out, case)
    maps = PatientMaps(out, patient, folds)
    rows = {SINGLE: _mean_scores([score(patient, single > THRESHOLD) for single in maps.single])}
    ensemble = maps.ensemble > THRESHOLD
    rows[ENSEMBLE] = score(patient, ensemble)
    rows[FIRST], rows[BEFORE] = (score(patient, maps.single[index] > THRESHOLD) for index in (0, -1))
    for row in REFINED_ROWS:
        rows[row.key] = score(patient, maps.refined(row) > THRESHOLD)
    rows[AUTOENCODER] = score(patient, maps.autoencoder_ceiling() > THRESHOLD)
    is_open = maps.gate_open()
    rows[GATE] = score(patient, np.where(is_open, patient.truth_inside, ensemble))
    result = {"case": case, "models": models, "rows": rows, "errors": _errors(patient, ensemble, is_open)}
    write_json(path, result)
    return result


def score(patient: Patient, inside: Bools) -> Scores:
    """Dice and HD95 of masks (R, D, H, W) of the crop, on the whole image, as `comnet evaluate` measures them."""
    scores: Scores = {}
    for name, truth, predicted in zip(patient.regions, patient.truth, patient.whole(inside), strict=True):
        masks = (mask.astype(np.uint8) for mask in (truth, predicted))  # one region at a time: they need not be nested
        scores |= score_case(*masks, patient.spacing_mm, {name: (1,)}, PROTOCOL, only=METRICS)
    return {name: scores[name] for name in REGIONS}


def _mean_scores(many: list[Scores]) -> Scores:
    return {
        region: {metric: float(np.mean([one[region][metric] for one in many])) for metric in METRICS}
        for region in REGIONS
    }


def _errors(patient: Patient, ensemble: Bools, is_open: Bools) -> dict[str, dict[str, int]]:
    """Voxels per region that the ensemble has wrong, and those of them where the gate is shut (or that are cropped)."""
    wrong = patient.truth != patient.whole(ensemble)
    shut = wrong & ~patient.whole(is_open)
    counts = {
        name: {"wrong": int(wrong[index].sum()), "gate_shut": int(shut[index].sum())}
        for index, name in enumerate(patient.regions)
    }
    return {name: counts[name] for name in REGIONS}


@functools.lru_cache(maxsize=1)
def _models(out: Path, folds: tuple[int, ...]) -> dict[str, Any]:
    """What tells scores of these checkpoints and strengths, by this protocol, from those of others."""
    models: dict[str, Any] = {"protocol": PROTOCOL}
    for trainer in (STAGE_1, *STAGE_2):
        folder = model_folder(out, trainer)
        strengths = strengths_of(folder)
        models[trainer] = {
            "checkpoints": [sha256(folder / f"fold_{fold}" / CHECKPOINT)[:16] for fold in folds_of(trainer, folds)],
            "strengths": None if strengths is None else list(strengths),
        }
    return models
