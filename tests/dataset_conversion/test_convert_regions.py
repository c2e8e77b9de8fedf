"""`regions_class_order` against nnU-Net itself: its LabelManager encodes and paints, all labels, all combinations."""

import itertools

import numpy as np
import pytest
from nnunetv2.utilities.label_handling.label_handling import LabelManager

from nnunetv2_comnet.dataset_conversion.layouts import LAYOUTS
from nnunetv2_comnet.errors import ConfigurationError
from nnunetv2_comnet.label_schemes import SCHEMES, LabelScheme
from nnunetv2_comnet.regions import Regions


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)
def test_every_label_survives_nnunets_painting(scheme):
    scheme.require_painted_back()
    manager = LabelManager(scheme.dataset_json_labels(), regions_class_order=list(scheme.regions_class_order))
    labels = np.array([0, *manager.all_labels[1:]])
    assert sorted({*scheme.to_canonical.values(), 0}) == labels.tolist()
    encoded = np.stack([np.isin(labels, np.atleast_1d(region)) for region in manager.foreground_regions])
    painted = manager.convert_probabilities_to_segmentation(encoded.astype(np.float32)[:, None, None])
    np.testing.assert_array_equal(painted.ravel(), labels)


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)
def test_our_painting_is_nnunets_for_every_combination_of_regions(scheme):
    manager = LabelManager(scheme.dataset_json_labels(), regions_class_order=list(scheme.regions_class_order))
    combinations = np.array(list(itertools.product([0, 1], repeat=len(scheme.regions)))).T
    theirs = manager.convert_probabilities_to_segmentation(combinations.astype(np.float32)[:, None, None]).ravel()
    np.testing.assert_array_equal(scheme.regions.painted(combinations.astype(bool)), theirs)


def test_the_well_known_order():
    assert LAYOUTS["brats2023"].scheme.regions_class_order == (2, 1, 3)
    assert LAYOUTS["brats2024-gli"].scheme.regions_class_order == (2, 1, 3, 4)
    assert LAYOUTS["brats2024-ped"].scheme.regions_class_order == (2, 1, 4, 3)


@pytest.mark.parametrize(
    "regions",
    [
        {"tumor core": (1, 3), "whole tumor": (1, 2, 3), "enhancing tumor": (3,)},
        {"whole tumor": (1, 2, 3), "enhancing tumor": (3,)},
        {"whole tumor": (1, 3), "enhancing tumor": (3,)},
    ],
)
def test_a_scheme_that_cannot_be_painted_is_refused(regions):
    with pytest.raises(ConfigurationError):
        LabelScheme("bad", {1: 1, 2: 2, 3: 3}, Regions(regions)).require_painted_back()
