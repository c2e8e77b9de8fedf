"""Calibration of held-out probabilities, where the validation kept them (`nnUNetv2_train ... --val --npz`).

nnU-Net's npz hold (region, Z, Y, X) on the axes of its reader; the truth is turned onto the same, and a map that does
not give the predicted mask is not used.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nnunetv2_comnet.crossval import read_probabilities
from nnunetv2_comnet.cv_report.dataset import CvDataset
from nnunetv2_comnet.cv_report.held_out import HeldOut
from nnunetv2_comnet.errors import DataError
from nnunetv2_comnet.evaluation.calibration import TUMOUR, Bins, calibration, near_tumour, pooled
from nnunetv2_comnet.evaluation.images import ENDING
from nnunetv2_comnet.files import read_checked
from nnunetv2_comnet.nifti import read_sitk
from nnunetv2_comnet.progress import Progress, silent
from nnunetv2_comnet.regions import Regions, short_name

# nnU-Net's readers of NIfTI, and whether they turn an image before it becomes an array.
READERS = {"SimpleITKIO": None, "NibabelIO": None, "SimpleITKIOWithReorient": "RAS", "NibabelIOWithReorient": "RAS"}
_DIFFERENT = 0.01  # of the mask's voxels may differ: rounding where a probability is 0.5


@dataclass(frozen=True)
class Calibration:
    """How reliable a model's held-out probabilities are.

    Attributes:
        table: as in an evaluation's information["reliability"], over all cases that have probabilities; None: no case.
        cases: how many have them.
        notes: which ones were not used, and why.
    """

    table: dict[str, Any] | None
    cases: int
    notes: tuple[str, ...] = ()


def held_out_calibration(held_out: HeldOut, dataset: CvDataset, progress: Progress = silent) -> Calibration:
    """Measures reliability near the true tumour, region by region, over all held-out voxels together."""
    cases = [case for case in held_out.fold_of if (held_out.validation(case) / f"{case}.npz").is_file()]
    if not cases:
        return Calibration(None, 0)
    name = held_out.trained.name
    plans = read_checked(held_out.trained.folder / "plans.json", dict[str, Any], "restore it")
    reader = plans.get("image_reader_writer")
    if reader not in READERS:
        return Calibration(None, 0, (f"{name}: no reliability, since the axes of reader {reader} are not known",))
    notes: list[str] = []
    shown = progress(cases, "probabilities")
    table = pooled(_bins(held_out, dataset, READERS[reader], shown, notes))
    used = len(cases) - len(notes)
    if used < len(held_out.fold_of):
        notes.append(f"{name}: reliability over {used} of {len(held_out.fold_of)} held-out cases")
    return Calibration(table, used, tuple(notes))


def _bins(
    held_out: HeldOut, dataset: CvDataset, orientation: str | None, cases: Iterable[str], notes: list[str]
) -> Iterator[dict[str, dict[str, Bins]]]:
    for case in cases:
        folder = held_out.validation(case)
        try:
            maps = _maps(folder / f"{case}.npz", folder / (case + ENDING), dataset.regions, orientation)
            truth, spacing_mm_zyx = _oriented(dataset.reference / (case + ENDING), orientation)
        except DataError as error:
            notes.append(f"{held_out.trained.name}: probabilities of {case} are not used: {error}")
            continue
        near = near_tumour(truth > 0, spacing_mm_zyx)
        found = {}
        for probability, name in zip(maps, dataset.regions, strict=True):
            _, bins = calibration(probability, dataset.regions.mask(truth, name), None, near)
            found[short_name(name)] = {TUMOUR: bins[TUMOUR]}
        yield found


def _maps(npz: Path, mask: Path, regions: Regions, orientation: str | None) -> npt.NDArray[np.floating]:
    """Reads probabilities (region, Z, Y, X), and checks that they give the predicted mask."""
    predicted, _ = _oriented(mask, orientation)
    maps = read_probabilities(npz, (len(regions), *predicted.shape))
    if (regions.decided(maps) != predicted).sum() > _DIFFERENT * max(1, int((predicted > 0).sum())):
        raise DataError(f"{npz.name} is not of the mask beside it; make both again with --val --npz")
    return maps


def _oriented(path: Path, orientation: str | None) -> tuple[npt.NDArray[np.integer], tuple[float, ...]]:
    """Reads voxels (Z, Y, X) on the reader's axes, and the spacing in the same order."""
    import SimpleITK

    image = read_sitk(path)
    if orientation is not None:
        image = SimpleITK.DICOMOrient(image, orientation)
    return SimpleITK.GetArrayFromImage(image), tuple(reversed(image.GetSpacing()))


def ece_of(bins: Mapping[str, list[Any]]) -> float:
    """Computes the expected calibration error of a reliability table's region and place; NaN without voxels."""
    voxels, probability, observed = (np.array(bins[what], np.float64) for what in ("voxels", "probability", "observed"))
    return float(np.nansum(np.abs(probability - observed) * voxels) / voxels.sum()) if voxels.any() else float("nan")
