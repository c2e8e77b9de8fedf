"""Label schemes, nesting, thresholds and painting by hand.

The proof against nnU-Net's own painting is in dataset_conversion/test_convert_regions.py.
"""

import pickle

import numpy as np
import pytest

from nnunetv2_comnet.errors import ConfigurationError
from nnunetv2_comnet.label_schemes import BRATS_123, BRATS_124, BRATS_CAVITY, BRATS_PED
from nnunetv2_comnet.regions import Regions, region_mask, short_name

TUMOR, CAVITY, PED = BRATS_123.regions, BRATS_CAVITY.regions, BRATS_PED.regions


def test_paint_orders_by_hand() -> None:
    assert BRATS_124.regions_class_order == (2, 1, 3)
    # Whole tumour leaves oedema, core leaves non-enhancing tumour, then the cystic part, then enhancing tumour.
    assert BRATS_PED.regions_class_order == (2, 1, 4, 3)


@pytest.mark.parametrize(
    "regions", [{"a": (1, 2, 3), "b": (3,)}, {"a": (1,), "b": (1, 2)}], ids=["two labels left", "none left"]
)
def test_a_scheme_that_no_label_map_can_hold_is_refused(regions) -> None:
    with pytest.raises(ConfigurationError):
        Regions(regions).require_plain_labels()


def test_source_labels_map_to_the_written_ones() -> None:
    assert BRATS_124.canonical(np.array([0, 1, 2, 4])).tolist() == [0, 1, 2, 3]
    assert BRATS_PED.canonical(np.array([0, 1, 2, 3, 4])).tolist() == [0, 3, 1, 4, 2]


def test_a_users_label_map_extends_the_scheme_and_is_checked() -> None:
    assert BRATS_124.with_label_map({3: 1, 5: 0}).canonical(np.array([3, 5, 4])).tolist() == [1, 0, 3]
    with pytest.raises(ConfigurationError, match="3:7"):
        BRATS_124.with_label_map({3: 7})


def column(*rows: tuple[float, ...]) -> np.ndarray:
    """One row per region, one column per voxel -> (R, 1, 1, X)."""
    return np.array(rows, np.float32)[:, None, None, :]


def test_which_region_lies_in_which_is_read_off_the_labels() -> None:
    assert {name: TUMOR.around(name) for name in TUMOR} == {
        "whole tumor": [],
        "tumor core": ["whole tumor"],
        "enhancing tumor": ["whole tumor", "tumor core"],
    }
    assert CAVITY.around("resection cavity") == []
    assert PED.around("cystic component") == ["whole tumor", "tumor core"]
    assert PED.around("enhancing tumor") == ["whole tumor", "tumor core"]


def test_nesting_takes_the_minimum_from_the_outside_in_and_spares_the_cavity() -> None:
    wt, tc, et, rc = (0.2, 0.9, 0.6), (0.8, 0.4, 0.7), (0.9, 0.9, 0.5), (0.9, 0.1, 0.9)
    given = column(wt, tc, et, rc)
    nested = CAVITY.nested(given)
    assert np.array_equal(nested, column((0.2, 0.9, 0.6), (0.2, 0.4, 0.6), (0.2, 0.4, 0.5), rc))
    assert np.array_equal(given, column(wt, tc, et, rc))
    # The order of the channels does not matter.
    turned = Regions({name: TUMOR[name] for name in reversed(list(TUMOR))})
    assert np.array_equal(turned.nested(column(et, tc, wt)), TUMOR.nested(column(wt, tc, et))[::-1])


def test_painting_thresholds_and_nesting() -> None:
    # Voxels: all inside; WT alone; ET alone; exactly at 0.5; nothing.
    p = column((0.9, 0.9, 0.1, 0.5, 0.0), (0.8, 0.2, 0.1, 0.5, 0.0), (0.7, 0.1, 0.6, 0.5, 0.0))
    assert TUMOR.decided(p).ravel().tolist() == [3, 2, 3, 0, 0]
    assert TUMOR.decided(TUMOR.nested(p), nesting="full").ravel().tolist() == [3, 2, 0, 0, 0]
    assert TUMOR.decided(p, {"enhancing tumor": 0.75}).ravel().tolist() == [1, 2, 0, 0, 0]
    # A low threshold of ET does not leave the core where the core's own is not reached.
    low = {"enhancing tumor": 0.05}
    assert TUMOR.decided(p, low).ravel().tolist() == [3, 3, 3, 3, 0]
    assert TUMOR.decided(TUMOR.nested(p), low, "full").ravel().tolist() == [3, 2, 0, 0, 0]


def test_volumes_count_each_regions_labels() -> None:
    labels = np.array([[[0, 1, 1, 2, 3, 3, 3]]], np.uint8)
    assert TUMOR.volumes_mm3(labels, (2.0, 1.0, 0.5)) == {
        "whole tumor": 6.0,
        "tumor core": 5.0,
        "enhancing tumor": 3.0,
    }


def test_regions_cannot_be_changed_and_reach_worker_processes() -> None:
    regions = Regions({"whole tumor": [1, 2], "core": [2]}, [1, 2])
    with pytest.raises(TypeError):
        regions["core"] = (1,)  # type: ignore[index]
    again = pickle.loads(pickle.dumps(regions))
    assert again == {"whole tumor": (1, 2), "core": (2,)}
    assert again.class_order == (1, 2)


def test_a_declared_order_that_swaps_labels_is_seen() -> None:
    assert Regions(TUMOR, (2, 1, 3)).mispainted == []
    assert Regions(TUMOR, (1, 2, 3)).mispainted == [1, 2]
    assert Regions(TUMOR, (1, 2, 3)).require_plain_labels().class_order == (2, 1, 3)


def test_a_short_name_can_stand_in_a_files_name() -> None:
    assert Regions({"whole tumor": (1,), "necrotic/core 2": (2,)}).short_names == ("WT", "necrotic_core_2")
    assert short_name("WT") == "WT"


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int32, np.float32])
def test_masks_are_those_of_any_type_of_label_map(kind: type) -> None:
    labels = np.array([0, 1, 2, 3, 9, 200], kind)
    assert region_mask(labels, (1, 3)).tolist() == [False, True, False, True, False, False]
    assert TUMOR.masks(labels).sum(axis=1).tolist() == [3, 2, 1]
