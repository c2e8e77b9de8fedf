"""Numbered components against scipy's, also on small arrays that are full of them."""

import numpy as np
import pytest
from scipy.ndimage import generate_binary_structure, label

from nnunetv2_comnet.evaluation.components import components


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
