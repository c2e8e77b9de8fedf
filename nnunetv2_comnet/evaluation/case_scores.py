"""All scores of one case that need no probabilities: region by region, under a named protocol."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
from scipy.ndimage import find_objects

from nnunetv2_comnet.errors import ConfigurationError, DataError
from nnunetv2_comnet.evaluation.lesions import LabelMap, Lesions, Pairing, lesions_of, mean_score, pair_lesions
from nnunetv2_comnet.evaluation.overlap import Overlap, overlap_scores
from nnunetv2_comnet.evaluation.protocols import (
    BY_DILATION,
    NONE,
    ONE_TO_ONE,
    PENALTY,
    Protocol,
    protocol_named,
)
from nnunetv2_comnet.evaluation.results import METRICS
from nnunetv2_comnet.evaluation.surfaces import Surfaces
from nnunetv2_comnet.grid import box_around
from nnunetv2_comnet.regions import region_mask, short_name

Scores = dict[str, float]
TOLERANCES_MM: Mapping[str, float] = {"nsd_0.5mm": 0.5, "nsd_1mm": 1.0, "nsd_2mm": 2.0}
_LESION = "lesion_"
_COUNTS = ("lesion_f1", "lesion_tp", "lesion_fp", "lesion_fn")
_VOXELS = ("dice", "iou", "precision", "sensitivity")
_VOLUMES = ("volume_truth_mm3", "volume_predicted_mm3", "volume_difference_mm3")


def score_case(
    truth: LabelMap,
    prediction: LabelMap,
    spacing_mm_zyx: Sequence[float],
    regions: Mapping[str, tuple[int, ...]],
    protocol: Protocol | str,
    *,
    only: Collection[str] | None = None,
) -> dict[str, Scores]:
    """Scores a prediction against the truth, both label maps in written numbering on one grid.

    Args:
        truth: label map (Z, Y, X).
        prediction: label map of the same shape.
        spacing_mm_zyx: edge lengths of a voxel in mm.
        regions: name -> written labels, as in a label scheme.
        protocol: a protocol, or its name.
        only: names of `METRICS` to compute; None: all but those of probabilities. Surfaces take most of the time.

    Returns:
        Short region name -> metric -> value, innermost region first; NaN where the protocol leaves a metric undefined.
        Protocols without lesion-wise scores have no such keys.

    Raises:
        DataError: the shapes differ.
        ConfigurationError: the protocol or a metric is not known.
    """
    rules = protocol_named(protocol) if isinstance(protocol, str) else protocol
    if unknown := sorted(set(only or ()) - METRICS.keys()):
        raise ConfigurationError(f"unknown metric '{unknown[0]}'; there are: {', '.join(METRICS)}")
    if truth.shape != prediction.shape:
        raise DataError(f"the truth has shape {truth.shape}, the prediction {prediction.shape}; resample one of them")
    wanted = METRICS.keys() if only is None else set(only)
    if rules.lesions == BY_DILATION and not rules.filtered and not any(name.startswith(_LESION) for name in wanted):
        rules = replace(rules, lesions=NONE)  # nothing else of these protocols depends on lesions
    penalty = rules.penalty(truth.shape)
    box = box_around((truth > 0) | (prediction > 0), rules.margin) or (slice(0, 1),) * truth.ndim
    truth, prediction = truth[box], prediction[box]
    scores = {}
    for name, labels in reversed(list(regions.items())):
        short = short_name(name)
        lesions = lesions_of(truth, prediction, short, labels, rules)
        region = _Region(region_mask(truth, labels), lesions, short, spacing_mm_zyx, rules, penalty)
        scores[short] = region.scores(wanted)
    return scores


def missing_scores(
    truth: LabelMap,
    spacing_mm_zyx: Sequence[float],
    regions: Mapping[str, tuple[int, ...]],
    protocol: Protocol | str,
    *,
    only: Collection[str] | None = None,
) -> dict[str, Scores]:
    """Scores a case that has no usable prediction: the worst of everything, also where the truth is empty.

    Every true lesion counts as missed; the 2026 tool counts none. The arguments are those of `score_case`.
    """
    rules = protocol_named(protocol) if isinstance(protocol, str) else protocol
    counted = [*_VOLUMES, *_COUNTS]
    scores = score_case(truth, np.zeros_like(truth), spacing_mm_zyx, regions, rules, only=counted)
    penalty = rules.penalty(truth.shape)
    for region in scores.values():
        region |= dict.fromkeys(("volume_predicted_mm3", "volume_difference_mm3"), math.nan)
        region |= dict.fromkeys((*_VOXELS, *TOLERANCES_MM), 0.0) | dict.fromkeys(("hd95_mm", "assd_mm"), penalty)
        if rules.lesions != NONE:
            region |= {"lesion_f1": 0.0, "lesion_dice": 0.0, "lesion_hd95_mm": penalty}
            region |= {"lesion_nsd_0.5mm": 0.0, "lesion_nsd_1mm": 0.0}
            region["lesion_fn"] = 0.0 if rules.tool_counts else region["lesion_fn"]
    wanted = METRICS.keys() if only is None else set(only)
    return {name: {m: region[m] for m in METRICS if m in wanted and m in region} for name, region in scores.items()}


class _Region:
    """One region of one case, cropped; surfaces and pairs of lesions are computed when they are first needed."""

    def __init__(
        self,
        truth: np.ndarray,
        lesions: Lesions,
        name: str,
        spacing_mm: Sequence[float],
        protocol: Protocol,
        penalty: float,
    ) -> None:
        self._truth, self._prediction = truth, lesions.prediction > 0
        self._lesions, self._name, self._spacing_mm = lesions, name, tuple(spacing_mm)
        self._protocol, self._penalty = protocol, penalty
        self._voxel_mm3 = math.prod(self._spacing_mm)
        self._overlap = Overlap.of(self._truth, self._prediction)

    def scores(self, wanted: Collection[str]) -> Scores:
        found = overlap_scores(self._overlap, self._protocol, self._voxel_mm3)
        distances = {"hd95_mm": self._hd95_mm, "assd_mm": lambda s: s.assd_mm(self._protocol.hd95)}
        overlaps = {name: self._nsd(tolerance) for name, tolerance in TOLERANCES_MM.items()}
        for name, measure in {**distances, **overlaps}.items():
            if name in wanted:
                found[name] = self._of_surfaces(name, measure)
        if self._protocol.lesions != NONE and any(name.startswith(_LESION) for name in wanted):
            found |= self._counts() | self._lesion_means(wanted)
        return {name: found[name] for name in METRICS if name in wanted and name in found}

    def _hd95_mm(self, surfaces: Surfaces) -> float:
        return surfaces.hd95_mm(self._protocol.hd95)

    def _nsd(self, tolerance_mm: float) -> Callable[[Surfaces], float]:
        return lambda surfaces: surfaces.nsd(self._protocol.nsd, tolerance_mm, self._protocol.nsd_guard)

    def _of_surfaces(self, name: str, measure: Callable[[Surfaces], float]) -> float:
        said = self._overlap.empty(self._protocol, "nsd" if name in TOLERANCES_MM else name)
        if said is None and self._protocol.lesions == ONE_TO_ONE and not self._pairing.found and name != "assd_mm":
            said = self._protocol.empty["nsd" if name in TOLERANCES_MM else name].one  # the 2026 tool's rule
        if said is not None:
            return self._penalty if said == PENALTY else said
        return measure(self._surfaces)

    def _counts(self) -> Scores:
        pairing = self._pairing
        entries = 2 * pairing.found + pairing.false + pairing.missed
        return {
            "lesion_f1": 2 * pairing.found / entries if entries else self._protocol.empty["lesion"].both,
            "lesion_tp": float(pairing.found),
            "lesion_fp": float(pairing.false),
            "lesion_fn": float(pairing.missed),
        }

    def _lesion_means(self, wanted: Collection[str]) -> Scores:
        measures: dict[str, Callable[[Surfaces], float]] = {
            "lesion_hd95_mm": self._hd95_mm,
            **{_LESION + name: self._nsd(TOLERANCES_MM[name]) for name in ("nsd_0.5mm", "nsd_1mm")},
        }
        found: dict[str, list[float]] = {name: [] for name in ("lesion_dice", *measures) if name in wanted}
        for lesion, components in self._pairing.pairs if found else ():
            truth, prediction = self._cut(lesion, components)
            if "lesion_dice" in found:
                found["lesion_dice"].append(Overlap.of(truth, prediction).dice)
            if found.keys() - {"lesion_dice"}:
                surfaces = self._surfaces_of(truth, prediction)
                for name in found.keys() - {"lesion_dice"}:
                    found[name].append(measures[name](surfaces))
        return {name: self._lesion_mean(name, values) for name, values in found.items()}

    def _lesion_mean(self, name: str, values: list[float]) -> float:
        entry = self._protocol.empty[name if name == "lesion_hd95_mm" else "lesion"]
        nothing = {"both": entry.both, "one": entry.one, "undefined": math.nan}[self._pairing.nothing_is]
        worst = self._penalty if name == "lesion_hd95_mm" else 0.0
        return mean_score(values, self._pairing, worst, self._penalty if nothing == PENALTY else nothing)

    def _cut(self, lesion: int, components: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Cuts the masks of a lesion and of the components it is paired with to the box around them."""
        truth_boxes, prediction_boxes = self._boxes
        boxes = [truth_boxes[lesion - 1], *(prediction_boxes[component - 1] for component in components)]
        box = tuple(slice(min(s.start for s in axis), max(s.stop for s in axis)) for axis in zip(*boxes, strict=True))
        return self._lesions.truth[box] == lesion, np.isin(self._lesions.prediction[box], components)

    def _surfaces_of(self, truth: np.ndarray, prediction: np.ndarray) -> Surfaces:
        """Measures a pair's surfaces; reuses the region's where the pair is the whole region, as in single tumours."""
        if truth.sum() == self._overlap.truth and prediction.sum() == self._overlap.prediction:
            return self._surfaces
        return Surfaces(truth, prediction, self._spacing_mm)

    @cached_property
    def _boxes(self) -> tuple[list, list]:
        return find_objects(self._lesions.truth), find_objects(self._lesions.prediction)

    @cached_property
    def _surfaces(self) -> Surfaces:
        return Surfaces(self._truth, self._prediction, self._spacing_mm)

    @cached_property
    def _pairing(self) -> Pairing:
        return pair_lesions(self._lesions, self._protocol, self._name, self._voxel_mm3)
