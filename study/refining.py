"""The probability maps of the table's rows, for one held-out patient at a time."""

import copy
import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from nnunetv2_comnet.inference.averaging import RunningMean
from nnunetv2_comnet.inference.fold_maps import LEAST_PROBABILITY
from nnunetv2_comnet.inference.options import Options
from nnunetv2_comnet.inference.predictor import CoMNeTPredictor
from nnunetv2_comnet.refinement import Refiner, Sampling, refine_volume
from nnunetv2_comnet.refinement.gate import logit_correction
from nnunetv2_comnet.refinement.refiner import coarse_probabilities
from study.coarse_maps import Bools, Patient
from study.patients import images_of
from study.settings import (
    AGREEMENT,
    CROSS,
    DEFAULT,
    FULL_STRENGTH,
    MAIN,
    REFINED_ROWS,
    SAMPLING_SEED,
    TILE_STEP,
    RefinedRow,
    folds_of,
)
from study.training import model_folder, strengths_of

Maps = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Refiners:
    """A trainer's refiners by fold, its plans' reverse steps, its calibrated alpha per region (None: has none)."""

    by_fold: dict[int, Refiner]
    steps: int
    strengths: tuple[float, ...] | None


@functools.lru_cache(maxsize=8)
def load_refiners(out: Path, trainer: str, folds: tuple[int, ...]) -> Refiners:
    """Reads the checkpoints of a stage 2 trainer; its averaged weights are what predicts."""
    folder = model_folder(out, trainer)
    predictor = CoMNeTPredictor(folder, folds, device="cpu")
    by_fold = {}
    for fold, weights in zip(folds, predictor.list_of_parameters, strict=True):
        predictor.network.load_state_dict(weights)
        average = predictor.network.ema
        assert isinstance(average, Refiner)
        by_fold[fold] = copy.deepcopy(average).eval()
    return Refiners(by_fold, predictor.steps, strengths_of(folder))


class PatientMaps:
    """Maps of one patient, (R, D, H, W) float32 probabilities on its crop. What two rows share is computed once."""

    def __init__(self, out: Path, patient: Patient, folds: tuple[int, ...]) -> None:
        self.out, self.patient, self.folds = out, patient, folds
        self.single = [logits.float().sigmoid().numpy() for logits in patient.logits]
        self.ensemble = _mean(self.single)
        self.ensemble_logits = torch.logit(torch.from_numpy(self.ensemble), eps=LEAST_PROBABILITY)
        self._corrections: dict[tuple[object, ...], Tensor] = {}

    def refined(self, row: RefinedRow) -> Maps:
        """A row's map: the folds' refined probabilities, averaged."""
        folds = self.folds[: row.folds]
        refiners = load_refiners(self.out, row.trainer, folds_of(row.trainer, self.folds))
        strengths = refiners.strengths if row.calibrated else (1.0,) * len(self.patient.regions)
        assert strengths is not None, f"{row.trainer} is not calibrated"
        alpha = torch.tensor(strengths)[:, None, None, None]
        maps = []
        for index, fold in enumerate(folds):
            source = (index - 1) % len(self.folds) if row.order == "cross" else index
            coarse = self.ensemble_logits if row.order == "ensemble" else self.patient.logits[source].float()
            logits = coarse + alpha * self._correction(row, refiners, fold, source, coarse)
            if row.order != "ensemble":
                logits = logits.half().float()  # as prediction hands them on
            maps.append(logits.sigmoid().numpy())
        return _mean(maps)

    def _correction(self, row: RefinedRow, refiners: Refiners, fold: int, source: int, coarse: Tensor) -> Tensor:
        """gate * delta (R, D, H, W) at full strength: alpha only scales it, region by region."""
        steps = row.steps or refiners.steps
        key = (row.trainer, row.order == "ensemble", steps, row.samples, fold, source)
        if key not in self._corrections:
            self._corrections[key] = refine_volume(
                refiners.by_fold[fold],
                self.patient.image,
                coarse,
                strengths=(1.0,) * len(coarse),
                sampling=Sampling(steps, samples=row.samples, seed=SAMPLING_SEED + fold),
                tile_step=TILE_STEP,
            ).correction
        return self._corrections[key]

    @torch.inference_mode()
    def autoencoder_ceiling(self) -> Maps:
        """The ensemble's map, corrected by the codes of its true residual: what a denoiser without error would give.

        Every fold's autoencoder of the default trainer does so, through the gate, at alpha = 1; the mean of the folds.
        """
        refiners = load_refiners(self.out, DEFAULT, self.folds).by_fold.values()
        return _mean([self._with_true_codes(refiner) for refiner in refiners])

    def _with_true_codes(self, refiner: Refiner) -> Maps:
        sides = self.ensemble_logits.shape[1:]
        divisor = refiner.config.side_divisor
        beyond = [n for side in reversed(sides) for n in (0, -side % divisor)]
        lowest = float(self.ensemble_logits.amin().clamp(max=-1))
        logits = F.pad(self.ensemble_logits, beyond, value=lowest)[None]
        truth = F.pad(torch.from_numpy(self.patient.truth_inside).float(), beyond)[None]
        codes, _ = refiner.quantizer.lookup(refiner.encoder(truth - coarse_probabilities(logits)))
        final = logits + refiner.gate(logits) * logit_correction(logits, refiner.decode(codes))
        probabilities: Maps = final[0, :, : sides[0], : sides[1], : sides[2]].sigmoid().numpy()
        return probabilities

    def gate_open(self) -> Bools:
        """(R, D, H, W): voxels of the ensemble's map that the default refiner may change."""
        refiner = load_refiners(self.out, DEFAULT, self.folds).by_fold[self.folds[0]]
        is_open: Bools = (refiner.gate(self.ensemble_logits[None])[0] > 0).numpy()
        return is_open


def check_agreement(out: Path, patient: Patient, folds: tuple[int, ...]) -> None:
    """The study's maps are those that `comnet predict` would use: calibrated, and at full strength."""
    for row in (row for row in REFINED_ROWS if row.key in (MAIN, FULL_STRENGTH, CROSS)):
        strengths = {} if row.calibrated else dict.fromkeys(patient.regions, 1.0)
        options = Options(refine=row.order, strengths=strengths, seed=SAMPLING_SEED, tile_step_size=TILE_STEP)
        predictor = CoMNeTPredictor(model_folder(out, DEFAULT), folds, options=options, device="cpu")
        predicted = predictor.predict(images_of(out, patient.case)).probabilities
        ours = np.zeros_like(predicted)
        z, y, x = patient.box
        ours[:, z, y, x] = PatientMaps(out, patient, folds).refined(row)
        largest = float(np.abs(ours - predicted).max())
        assert largest <= AGREEMENT, f"{patient.case}, {row.name}: differs from prediction by {largest}"


def _mean(maps: list[Maps]) -> Maps:
    mean = RunningMean()
    for values in maps:
        mean.add(values)
    return mean.mean
