"""Label schemes by hand; the proof against nnU-Net's own painting is in dataset_conversion/test_convert_regions.py."""

import numpy as np
import pytest

from nnunetv2_comnet.errors import ConfigurationError
from nnunetv2_comnet.regions import BRATS_124, BRATS_PED, paint_order


def test_paint_orders_by_hand() -> None:
    assert BRATS_124.regions_class_order == (2, 1, 3)
    # Whole tumour leaves oedema, core leaves non-enhancing tumour, then the cystic part, then enhancing tumour.
    assert BRATS_PED.regions_class_order == (2, 1, 4, 3)


@pytest.mark.parametrize(
    "regions", [{"a": (1, 2, 3), "b": (3,)}, {"a": (1,), "b": (1, 2)}], ids=["two labels left", "none left"]
)
def test_a_scheme_that_no_label_map_can_hold_is_refused(regions) -> None:
    with pytest.raises(ConfigurationError, match="exactly one must be left"):
        paint_order(regions)


def test_source_labels_map_to_the_written_ones() -> None:
    assert BRATS_124.canonical(np.array([0, 1, 2, 4])).tolist() == [0, 1, 2, 3]
    assert BRATS_PED.canonical(np.array([0, 1, 2, 3, 4])).tolist() == [0, 3, 1, 4, 2]


def test_a_users_label_map_extends_the_scheme_and_is_checked() -> None:
    assert BRATS_124.with_label_map({3: 1, 5: 0}).canonical(np.array([3, 5, 4])).tolist() == [1, 0, 3]
    with pytest.raises(ConfigurationError, match="label map 3:7"):
        BRATS_124.with_label_map({3: 7})
