"""Label schemes: the paint order derived, proven against nnU-Net's own painting, and refused where there is none."""

import itertools

import numpy as np
import pytest
from nnunetv2.utilities.label_handling.label_handling import LabelManager

from nnunetv2_comnet.errors import ConfigurationError
from nnunetv2_comnet.regions import BRATS_124, BRATS_PED, SCHEMES, paint_order


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=str)
def test_every_label_survives_nnunets_painting(scheme) -> None:
    manager = LabelManager(scheme.dataset_json_labels(), list(scheme.regions_class_order))
    labels = np.array(sorted({label for members in scheme.regions.values() for label in members}))
    membership = np.array([[label in members for label in labels] for members in scheme.regions.values()], float)
    painted = manager.convert_probabilities_to_segmentation(membership[:, None, None, :])
    assert painted.ravel().tolist() == labels.tolist()


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=str)
def test_every_combination_of_predicted_regions_paints_the_last_one(scheme) -> None:
    manager = LabelManager(scheme.dataset_json_labels(), list(scheme.regions_class_order))
    for predicted in itertools.product([0.0, 1.0], repeat=len(scheme.regions)):
        painted = manager.convert_probabilities_to_segmentation(np.array(predicted)[:, None, None, None])
        expected = next((o for o, p in zip(scheme.regions_class_order[::-1], predicted[::-1], strict=True) if p), 0)
        assert int(painted.item()) == expected


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
