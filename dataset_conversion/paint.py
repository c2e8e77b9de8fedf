"""Proves that nnU-Net's painting of regions gives back every label, before a dataset is written with that order.

The loop is that of nnU-Net's `LabelManager.convert_probabilities_to_segmentation`; a wrong order swaps labels without
a word (MIC-DKFZ/nnUNet issues 2900, 3042).
"""

from itertools import combinations

import numpy as np
import numpy.typing as npt

from nnunetv2_comnet.errors import ConfigurationError
from nnunetv2_comnet.regions import LabelScheme


def paint(regions: npt.NDArray[np.bool_], order: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Paints predicted regions, shape (regions, ...), one over the other: each with its label of `order`."""
    result = np.zeros(regions.shape[1:], np.uint8)
    for region, label in zip(regions, order, strict=True):
        result[region] = label
    return result


def prove_paint_order(scheme: LabelScheme) -> None:
    """Encodes every combination of labels as regions, paints it and compares. Raises `ConfigurationError`."""
    order = scheme.regions_class_order
    labels = sorted({label for members in scheme.regions.values() for label in members})
    if labels != list(range(1, len(labels) + 1)):
        raise ConfigurationError(
            f"scheme {scheme.name} writes labels {labels}; nnU-Net needs 1, 2, 3, ... without gaps"
        )
    for size in range(len(labels) + 1):
        for present in combinations(labels, size):
            truth = np.array([0, *present], np.uint8)
            regions = np.stack([np.isin(truth, members) for members in scheme.regions.values()])
            if not np.array_equal(paint(regions, order), truth):
                raise ConfigurationError(
                    f"scheme {scheme.name}: painting in the order {order} does not give back {present}"
                )
