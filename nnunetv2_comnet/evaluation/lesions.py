"""Which lesion is compared with which, by the two schemes of the BraTS protocols.

BY_DILATION (2023, 2024): a true lesion is compared with all predicted components that its dilation touches, taken
together; a component that touches none is a false positive. ONE_TO_ONE (2026): components are paired one with one so
that the sum of their Dice is largest.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nnunetv2_comnet.evaluation.components import (
    Numbers,
    components,
    joined_by_dilation,
    joined_over,
    number_pairs,
    renumbered,
    voxel_counts,
    without_small,
)
from nnunetv2_comnet.evaluation.protocols import NONE, ONE_TO_ONE, TISSUES, LesionRule, Protocol
from nnunetv2_comnet.regions import region_mask

LEAST_DICE = 1e-6  # of a pair in ONE_TO_ONE
_NO_PAIR = 1 + 1e-6  # the cost of no pair: which of equally good pairings is chosen depends on it
LabelMap = npt.NDArray[np.integer]


@dataclass(frozen=True)
class Lesions:
    """A region's lesions by number, (Z, Y, X): of the truth, of the truth dilated, and of the prediction."""

    truth: Numbers
    reach: Numbers
    prediction: Numbers


@dataclass(frozen=True)
class Pairing:
    """The pairs and counts that enter the lesion-wise scores.

    Attributes:
        pairs: a true lesion's number and those of the predicted ones it is compared with; each enters the means.
        worst: misses and false positives that enter the means as worst scores.
        nothing_is: "both", "one" or "undefined": the entry of the empty-mask table where there is nothing to average.
        found: count of true lesions found.
        false: count of predicted lesions that are not true.
        missed: count of true lesions missed.
    """

    pairs: tuple[tuple[int, tuple[int, ...]], ...]
    worst: int
    nothing_is: str
    found: int
    false: int
    missed: int


def lesions_of(
    truth: LabelMap, prediction: LabelMap, region: str, labels: tuple[int, ...], protocol: Protocol
) -> Lesions:
    """Numbers the lesions of a region (short name, written labels) in two label maps (Z, Y, X)."""
    rule = protocol.rule_of(region)
    in_truth, in_prediction = region_mask(truth, labels), region_mask(prediction, labels)
    if protocol.lesions == NONE:
        nothing = np.zeros((0, 0, 0), np.int32)
        return Lesions(nothing, nothing, in_prediction.astype(np.int32))
    if protocol.lesions == ONE_TO_ONE:
        numbers = components(in_truth)
        return Lesions(numbers, numbers, components(in_prediction))
    numbers, reach = joined_by_dilation(in_truth, rule.dilations)
    if not protocol.filtered:
        return Lesions(numbers, reach, components(in_prediction))
    predicted = _filtered(in_prediction, rule)
    for name in rule.joined_over:
        tissue_rule, tissue = protocol.rule_of(name), TISSUES[name]
        beside, _ = joined_by_dilation(region_mask(truth, tissue), tissue_rule.dilations)
        new = joined_over(numbers, beside)
        numbers, reach = renumbered(numbers, new), renumbered(reach, new)
        new = joined_over(predicted, _filtered(region_mask(prediction, tissue), tissue_rule))
        predicted = renumbered(predicted, new)
    return Lesions(numbers, reach, predicted)


def pair_lesions(lesions: Lesions, protocol: Protocol, region: str, voxel_mm3: float) -> Pairing:
    """Pairs the lesions of a region as the protocol does, which must have lesion-wise scores."""
    if protocol.lesions == ONE_TO_ONE:
        return _one_to_one(lesions, protocol, voxel_mm3)
    return _by_dilation(lesions, protocol.rule_of(region).ignored, voxel_mm3)


def _filtered(mask: npt.NDArray[np.bool_], rule: LesionRule) -> Numbers:
    numbers, _ = joined_by_dilation(mask, rule.dilations)
    return without_small(numbers, rule.ignored)


def _by_dilation(lesions: Lesions, ignored_mm3: float, voxel_mm3: float) -> Pairing:
    touching: dict[int, list[int]] = {}
    for lesion, component in number_pairs(lesions.reach, lesions.prediction):
        touching.setdefault(lesion, []).append(component)
    touched = {component for found in touching.values() for component in found}
    false = len(_present(lesions.prediction) - touched)
    volumes = voxel_counts(lesions.truth) * voxel_mm3
    counted = sorted(lesion for lesion in _present(lesions.truth) if volumes[lesion] > ignored_mm3)
    pairs = tuple((lesion, tuple(touching[lesion])) for lesion in counted if lesion in touching)
    missed = len(counted) - len(pairs)
    return Pairing(pairs, missed + false, "both", len(pairs), false, missed)


def _one_to_one(lesions: Lesions, protocol: Protocol, voxel_mm3: float) -> Pairing:
    volumes = voxel_counts(lesions.truth)
    matched = _best_pairs(lesions, volumes)
    truths, predictions = len(_present(lesions.truth)), len(_present(lesions.prediction))
    found, false, missed = len(matched), predictions - len(matched), truths - len(matched)
    pairs = tuple((lesion, (component,)) for lesion, component in matched)
    if protocol.large_mm3 is None:
        return Pairing(pairs, 0, "one" if truths + predictions else "both", found, false, missed)
    large = {lesion for lesion in _present(lesions.truth) if volumes[lesion] * voxel_mm3 >= protocol.large_mm3}
    if not large:
        return Pairing((), 0, "undefined", found, false, missed)
    pairs = tuple(pair for pair in pairs if pair[0] in large)
    return Pairing(pairs, len(large) - len(pairs) + false, "one", found, false, missed)


def _best_pairs(lesions: Lesions, volumes: npt.NDArray[np.integer]) -> list[tuple[int, int]]:
    """Finds the one-to-one pairing with the largest sum of Dice; pairs below LEAST_DICE do not count."""
    from scipy.optimize import linear_sum_assignment

    sizes = voxel_counts(lesions.prediction)
    if len(volumes) < 2 or len(sizes) < 2:
        return []
    cost = np.full((len(volumes) - 1, len(sizes) - 1), _NO_PAIR)
    for (lesion, component), shared in number_pairs(lesions.truth, lesions.prediction).items():
        dice = 2 * shared / (volumes[lesion] + sizes[component])
        if dice >= LEAST_DICE:
            cost[lesion - 1, component - 1] = 1 - dice
    rows, columns = linear_sum_assignment(cost)
    return [(int(i) + 1, int(j) + 1) for i, j in zip(rows, columns, strict=True) if cost[i, j] < 1]


def _present(numbers: Numbers) -> set[int]:
    return set(np.flatnonzero(voxel_counts(numbers)).tolist())


def mean_score(scores: list[float], pairing: Pairing, worst: float, nothing: float) -> float:
    """Averages the pairs' scores and `worst` for every miss and false positive; `nothing` where there is neither."""
    entries = len(scores) + pairing.worst
    return (math.fsum(scores) + pairing.worst * worst) / entries if entries else nothing
