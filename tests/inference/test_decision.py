"""Nesting, thresholds and painting, on regions worked by hand."""

import numpy as np

from nnunetv2_comnet.inference.decision import containers, decide, nest, region_volumes_mm3
from nnunetv2_comnet.regions import BRATS_123, BRATS_CAVITY, BRATS_PED

TUMOR, CAVITY, PED = BRATS_123.regions, BRATS_CAVITY.regions, BRATS_PED.regions


def column(*rows: tuple[float, ...]) -> np.ndarray:
    """One row per region, one column per voxel -> (R, 1, 1, X)."""
    return np.array(rows, np.float32)[:, None, None, :]


def test_which_region_lies_in_which_is_read_off_the_labels() -> None:
    assert containers(TUMOR) == {
        "whole tumor": [],
        "tumor core": ["whole tumor"],
        "enhancing tumor": ["whole tumor", "tumor core"],
    }
    assert containers(CAVITY)["resection cavity"] == []
    assert containers(PED)["cystic component"] == ["whole tumor", "tumor core"]
    assert containers(PED)["enhancing tumor"] == ["whole tumor", "tumor core"]


def test_nesting_takes_the_minimum_from_the_outside_in_and_spares_the_cavity() -> None:
    wt, tc, et, rc = (0.2, 0.9, 0.6), (0.8, 0.4, 0.7), (0.9, 0.9, 0.5), (0.9, 0.1, 0.9)
    given = column(wt, tc, et, rc)
    nested = nest(given, CAVITY)
    assert np.array_equal(nested, column((0.2, 0.9, 0.6), (0.2, 0.4, 0.6), (0.2, 0.4, 0.5), rc))
    assert np.array_equal(given, column(wt, tc, et, rc))
    # The order of the channels does not matter.
    turned = dict(reversed(TUMOR.items()))
    assert np.array_equal(nest(column(et, tc, wt), turned), nest(column(wt, tc, et), TUMOR)[::-1])


def test_painting_thresholds_and_nesting() -> None:
    # Voxels: all inside; WT alone; ET alone; exactly at 0.5; nothing.
    p = column((0.9, 0.9, 0.1, 0.5, 0.0), (0.8, 0.2, 0.1, 0.5, 0.0), (0.7, 0.1, 0.6, 0.5, 0.0))
    assert decide(p, TUMOR, (2, 1, 3)).ravel().tolist() == [3, 2, 3, 0, 0]
    assert decide(nest(p, TUMOR), TUMOR, (2, 1, 3), nested=True).ravel().tolist() == [3, 2, 0, 0, 0]
    assert decide(p, TUMOR, (2, 1, 3), {"enhancing tumor": 0.75}).ravel().tolist() == [1, 2, 0, 0, 0]
    # A low threshold of ET does not leave the core where the core's own is not reached.
    low = {"enhancing tumor": 0.05}
    assert decide(p, TUMOR, (2, 1, 3), low).ravel().tolist() == [3, 3, 3, 3, 0]
    assert decide(nest(p, TUMOR), TUMOR, (2, 1, 3), low, nested=True).ravel().tolist() == [3, 2, 0, 0, 0]


def test_volumes_count_each_regions_labels() -> None:
    labels = np.array([[[0, 1, 1, 2, 3, 3, 3]]], np.uint8)
    assert region_volumes_mm3(labels, TUMOR, (2.0, 1.0, 0.5)) == {
        "whole tumor": 6.0,
        "tumor core": 5.0,
        "enhancing tumor": 3.0,
    }
