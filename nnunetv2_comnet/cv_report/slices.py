"""Slices of truth above prediction for each model: its best, its median and its worst held-out case."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nnunetv2_comnet.cv_report.dataset import CvDataset
from nnunetv2_comnet.cv_report.held_out import HeldOut
from nnunetv2_comnet.errors import DataError
from nnunetv2_comnet.evaluation.figures import FigureCase, truth_against_prediction
from nnunetv2_comnet.evaluation.images import ENDING
from nnunetv2_comnet.evaluation.results import Evaluation
from nnunetv2_comnet.nifti import read_sitk
from nnunetv2_comnet.statistics import mean_of_known

WIDTH_PX = 1000


def best_median_worst(evaluation: Evaluation) -> dict[str, str]:
    """Chooses cases by their average Dice: "best", "median" (the lower of two) and "worst", each case once."""
    average = mean_of_known(evaluation.table("dice"), axis=1)
    ranked = [evaluation.cases[index].case for index in np.argsort(average, kind="stable") if average[index] >= 0]
    chosen: dict[str, str] = {}
    if ranked:
        for what, case in (("best", ranked[-1]), ("worst", ranked[0]), ("median", ranked[(len(ranked) - 1) // 2])):
            if case not in chosen.values():
                chosen[what] = case
    return {what: chosen[what] for what in ("best", "median", "worst") if what in chosen}


def slices(held_out: HeldOut, evaluation: Evaluation, dataset: CvDataset, base: Path) -> list[Path]:
    """Writes base.png and base.pdf; raises `DataError` where an image is not to be found or cannot be read."""
    number, channel = dataset.shown_channel
    cases = []
    for what, case in best_median_worst(evaluation).items():
        image = dataset.image(case, number)
        if image is None:
            raise DataError(f"no image of channel {channel} for {case} in nnUNet_raw, so no slices are drawn")
        mask = held_out.validation(case) / (case + ENDING)
        scan, spacing_mm_zyx = _lps(image)
        truth, prediction = (_lps(path)[0] for path in (dataset.reference / (case + ENDING), mask))
        cases.append(FigureCase(f"{what}: {case}", {channel: scan}, truth, prediction, spacing_mm_zyx))
    targets = [base.with_name(base.name + ending) for ending in (".png", ".pdf")]
    for target in targets:
        truth_against_prediction(cases, target, channel, dataset.regions, WIDTH_PX)
    return targets


def _lps(path: Path) -> tuple[npt.NDArray[Any], tuple[float, float, float]]:
    """Reads voxels (z, y, x) to superior, posterior, left, as the pictures need them, and their edges in mm."""
    import SimpleITK

    image = SimpleITK.DICOMOrient(read_sitk(path), "LPS")
    x, y, z = image.GetSpacing()
    return SimpleITK.GetArrayFromImage(image), (z, y, x)
