"""Crops hold a voxel that may change, lie inside, and follow the generator alone."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from nnunetv2_comnet.refinement.crop import crop, crop_boxes

SIZE = (8, 16, 8)


@given(place=st.tuples(st.integers(0, 19), st.integers(0, 23), st.integers(0, 9)), seed=st.integers(0, 1000))
def test_a_crop_holds_an_open_voxel(place: tuple[int, int, int], seed: int) -> None:
    openness = torch.zeros(3, 20, 24, 10)
    openness[(1, *place)] = 0.5
    boxes = crop_boxes(openness, SIZE, 3, torch.Generator().manual_seed(seed))
    assert boxes == crop_boxes(openness, SIZE, 3, torch.Generator().manual_seed(seed))
    parts = crop(openness, boxes)
    assert parts.shape == (3, 3, *SIZE)
    assert (parts.amax(dim=(1, 2, 3, 4)) == 0.5).all()


def test_places_within_the_crop_vary_and_a_sure_patch_is_cropped_anywhere() -> None:
    openness = torch.zeros(1, 32, 32, 32)
    openness[0, 16, 16, 16] = 1
    boxes = crop_boxes(openness, (8, 8, 8), 50, torch.Generator().manual_seed(0))
    assert {box[0].start for box in boxes} == set(range(9, 17))
    anywhere = crop_boxes(torch.zeros(1, 32, 32, 32), (8, 8, 8), 50, torch.Generator().manual_seed(0))
    starts = [box[0].start for box in anywhere]
    assert min(starts) >= 0
    assert max(starts) <= 24
    assert len(set(starts)) > 10


def test_a_side_longer_than_the_patch_is_cut_to_it() -> None:
    volume = torch.arange(2 * 4 * 6 * 5, dtype=torch.float32).reshape(2, 4, 6, 5)
    (box,) = crop_boxes(torch.ones(1, 4, 6, 5), (8, 4, 8), 1, torch.Generator())
    part = crop(volume, [box])[0]
    assert part.shape == (2, 4, 4, 5)
    assert torch.equal(part, volume[:, :, box[1]])
