"""Numbered components against scipy's, also on small arrays that are full of them."""

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, generate_binary_structure, label

from nnunetv2_comnet.evaluation.components import (
    _touching,
    components,
    joined_by_dilation,
    voxel_counts,
    without_small,
)


def every_second(*shape: int) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[::2, ::2, ::2] = True
    return mask


@pytest.mark.parametrize(
    "mask",
    [
        every_second(1, 1, 7),
        every_second(3, 3, 3),
        every_second(2, 5, 1),
        np.random.default_rng(0).random((9, 8, 7)) < 0.08,
    ],
    ids=["line", "corners", "flat", "random"],
)
@pytest.mark.parametrize("x_first", [False, True])
def test_components_are_scipys_in_order_of_their_first_voxels(mask: np.ndarray, x_first: bool) -> None:
    found = components(mask, x_first=x_first)
    theirs, count = label(mask.T if x_first else mask, generate_binary_structure(3, 3))
    theirs = theirs.T if x_first else theirs
    assert found.max() == count > 1
    assert len({(int(a), int(b)) for a, b in zip(found[mask], theirs[mask], strict=True)}) == count
    in_order = (found.T if x_first else found)[(mask.T if x_first else mask)]
    first_seen = list(dict.fromkeys(in_order.tolist()))
    assert first_seen == list(range(1, count + 1))


def specks(seed: int, share: float) -> np.ndarray:
    """Specks in the middle of an image and one in its corner."""
    mask = np.zeros((28, 26, 22), bool)
    mask[4:22, 3:20, 2:17] = np.random.default_rng(seed).random((18, 17, 15)) < share
    mask[0, 0, 0] = True
    return mask


@pytest.mark.parametrize("dilations", [1, 3])
@pytest.mark.parametrize("mask", [specks(1, 0.002), np.roll(specks(2, 0.002), 3, 0)], ids=["at the edge", "inside"])
def test_lesions_are_joined_where_their_dilations_meet(mask: np.ndarray, dilations: int) -> None:
    dilated = binary_dilation(mask, generate_binary_structure(3, 2), iterations=dilations)
    theirs, count = label(dilated.T, generate_binary_structure(3, 3))  # scipy numbers by first voxel, too
    numbers, reach = joined_by_dilation(mask, dilations)
    np.testing.assert_array_equal(reach, theirs.T)
    np.testing.assert_array_equal(numbers, theirs.T * mask)
    assert count > 1


def test_an_empty_mask_has_no_lesion() -> None:
    nothing = np.zeros((3, 4, 5), bool)
    assert not components(nothing).any()
    numbers, reach = joined_by_dilation(nothing, 3)
    assert not numbers.any()
    assert not reach.any()
    assert voxel_counts(numbers).tolist() == [0]
    assert not _touching(numbers, reach)


def test_small_lesions_go_and_the_others_keep_their_numbers() -> None:
    numbers = np.array([[[0, 1, 1, 2, 3, 3, 3]]], np.int32)
    assert voxel_counts(numbers).tolist() == [0, 2, 1, 3]
    assert without_small(numbers, 2).tolist() == [[[0, 0, 0, 0, 3, 3, 3]]]


def test_touching_is_by_face_or_edge_not_by_corner() -> None:
    first, second = components(specks(3, 0.04)), components(np.roll(specks(4, 0.04), 1, 2))
    structure = generate_binary_structure(3, 2)
    expected = {
        (lesion, int(other))
        for lesion in range(1, first.max() + 1)
        for other in np.unique(second[binary_dilation(first == lesion, structure)])
        if other
    }
    assert _touching(first, second) == expected
    assert len(expected) > 3
