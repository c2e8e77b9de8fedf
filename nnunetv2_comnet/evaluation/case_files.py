"""One case from its files to its scores; what is wrong with a file stands in the case's state and note."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nnunetv2_comnet.errors import DataError
from nnunetv2_comnet.evaluation.calibration import Bins, calibration, near_tumour
from nnunetv2_comnet.evaluation.case_scores import Scores, missing_scores, score_case
from nnunetv2_comnet.evaluation.images import Image, label_map, read_image, unknown_labels
from nnunetv2_comnet.evaluation.overlap import Mask
from nnunetv2_comnet.evaluation.results import (
    BAD_REFERENCE,
    METRICS,
    MISSING,
    OF_PROBABILITIES,
    OTHER_GRID,
    SCORED,
    UNKNOWN_LABEL,
    UNREADABLE,
    CaseScores,
)
from nnunetv2_comnet.label_schemes import ED, ET, NCR
from nnunetv2_comnet.regions import region_mask, short_name


@dataclass(frozen=True)
class CaseFiles:
    """The files of a case, and how they are scored; `probabilities` by short region name, empty where not wanted."""

    case: str
    reference: Path
    prediction: Path
    probabilities: Mapping[str, Path]
    image: Path | None
    regions: Mapping[str, tuple[int, ...]]
    protocol: str
    only: tuple[str, ...] | None

    @property
    def known_labels(self) -> set[int]:
        """Labels that may occur: those of the regions, and the three that every written mask may hold."""
        return {NCR, ED, ET, *(label for labels in self.regions.values() for label in labels)}

    def wants(self, metric: str) -> bool:
        """Says whether the metric is asked for."""
        return self.only is None or metric in self.only


@dataclass(frozen=True)
class Outcome:
    """A case's scores, and its bins of probability by region and place."""

    scores: CaseScores
    bins: Mapping[str, Mapping[str, Bins]] = field(default_factory=dict)


def evaluate_case(files: CaseFiles) -> Outcome:
    """Scores one case: an unusable prediction as a missing one; without a usable reference there are no scores."""
    try:
        truth = read_image(files.reference)
    except DataError as error:
        return Outcome(CaseScores(files.case, BAD_REFERENCE, str(error), {}))
    if strange := unknown_labels(truth, files.known_labels):
        note = (
            f"{files.reference} has label {strange}, which is none of its dataset's; convert it with `comnet convert`"
        )
        return Outcome(CaseScores(files.case, BAD_REFERENCE, note, {}))
    spacing_mm = truth.grid.spacing_mm_zyx
    state, note, prediction = _read_prediction(files, truth)
    if prediction is None:
        scores = missing_scores(label_map(truth), spacing_mm, files.regions, files.protocol, only=files.only)
        return Outcome(CaseScores(files.case, state, note, scores))
    scores = score_case(
        label_map(truth), label_map(prediction), spacing_mm, files.regions, files.protocol, only=files.only
    )
    note, bins = _add_calibration(files, truth, scores)
    ordered = {region: {m: values[m] for m in METRICS if m in values} for region, values in scores.items()}
    return Outcome(CaseScores(files.case, SCORED, note, ordered), bins)


def _read_prediction(files: CaseFiles, truth: Image) -> tuple[str, str, Image | None]:
    """Reads the prediction: its state, what is wrong with it or "", and the image where it can be scored."""
    if not os.path.lexists(files.prediction):  # a folder or a broken link is not missing, but unreadable
        return MISSING, f"{files.prediction} does not exist; scored as missing", None
    try:
        image = read_image(files.prediction)
    except DataError as error:
        return UNREADABLE, f"{error}; scored as missing", None
    if difference := image.grid.difference(truth.grid):
        return OTHER_GRID, f"{files.prediction} is on another grid: {difference}; scored as missing", None
    if strange := unknown_labels(image, files.known_labels):
        return UNKNOWN_LABEL, f"{files.prediction} has label {strange}, which no region holds; scored as missing", None
    return SCORED, "", image


def _add_calibration(
    files: CaseFiles, truth: Image, scores: dict[str, Scores]
) -> tuple[str, dict[str, dict[str, Bins]]]:
    """Adds the scores of probabilities to `scores`; returns what is wrong with them, or "", and the bins."""
    if not files.probabilities or not any(map(files.wants, OF_PROBABILITIES)):
        return "", {}
    labels = label_map(truth)
    near = near_tumour(labels > 0, truth.grid.spacing_mm_zyx)
    note, brain = _brain(files, truth)
    bins = {}
    for name, members in files.regions.items():
        short = short_name(name)
        try:
            probability = _read_map(files.probabilities[short], truth)
        except DataError as error:
            return f"no calibration: {error}", {}
        values, bins[short] = calibration(probability, region_mask(labels, members), brain, near)
        scores[short] |= {metric: value for metric, value in values.items() if files.wants(metric)}
    return note, bins


def _brain(files: CaseFiles, truth: Image) -> tuple[str, Mask | None]:
    """Marks the nonzero voxels of the first channel; without them, returns a note that says why."""
    if files.image is None or not files.image.is_file():
        where = "" if files.image is None else f" ({files.image} does not exist)"
        return f"no calibration in the brain: no image{where}; name the folder of images with --images", None
    try:
        return "", _read_map(files.image, truth) != 0
    except DataError as error:
        return f"no calibration in the brain: {error}", None


def _read_map(path: Path, truth: Image) -> np.ndarray:
    image = read_image(path)
    if difference := image.grid.difference(truth.grid):
        raise DataError(f"{path} is on another grid: {difference}")
    return image.voxels
