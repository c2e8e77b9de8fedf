"""The parts of a training patch that the refiner learns from: around voxels that it may change."""

import torch
from torch import Tensor


def crop_boxes(
    openness: Tensor, size: tuple[int, int, int], count: int, generator: torch.Generator
) -> list[list[slice]]:
    """Draws `count` boxes of `size` voxels in a patch whose gate is (R, D, H, W), as slices along D, H and W.

    Each holds a voxel drawn from those whose gate is open, at a random place within; anywhere where none is. A side
    longer than the patch is cut to it.
    """
    sides = openness.shape[1:]
    size_fitted = [min(side, whole) for side, whole in zip(size, sides, strict=True)]
    candidates = (openness.amax(dim=0) > 0).nonzero().cpu()
    boxes = []
    for _ in range(count):
        if len(candidates):
            held = candidates[int(torch.randint(len(candidates), (1,), generator=generator))].tolist()
        else:
            held = [int(torch.randint(whole, (1,), generator=generator)) for whole in sides]
        box = []
        for voxel, side, whole in zip(held, size_fitted, sides, strict=True):
            lowest, highest = max(0, voxel - side + 1), min(voxel, whole - side)
            start = lowest + int(torch.randint(highest - lowest + 1, (1,), generator=generator))
            box.append(slice(start, start + side))
        boxes.append(box)
    return boxes


def crop(volumes: Tensor, boxes: list[list[slice]]) -> Tensor:
    """Cuts the boxes out: (C, D, H, W) -> (count, C, *size)."""
    return torch.stack([volumes[:, z, y, x] for z, y, x in boxes])
