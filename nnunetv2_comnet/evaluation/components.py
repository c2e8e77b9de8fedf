"""From masks to numbered lesions: connected components, joined by dilation and over touching tissue.

Lesions fill a hundredth of an image at most, so the work is done in the box around a mask, or at its voxels alone.
"""

from itertools import product
from typing import Literal

import numpy as np
import numpy.typing as npt

from nnunetv2_comnet.evaluation.overlap import Mask
from nnunetv2_comnet.grid import box_around

Numbers = npt.NDArray[np.integer]  # a lesion's number per voxel, 0 outside
CONNECTIVITY: Literal[26] = 26


def components(mask: Mask, *, x_first: bool = False) -> Numbers:
    """Numbers the 26-connected components of a mask (Z, Y, X) in the order of their first voxels.

    That order decides between equals where lesions are joined over tissue (the 2024 script goes through x slowest:
    x_first) or paired one to one (the 2026 tool goes through z slowest).
    """
    import cc3d

    numbers = np.zeros(mask.shape, np.int32)
    if (box := box_around(mask)) is None:
        return numbers
    # An empty rim: cc3d (4.1) refuses some masks that fill a small array.
    inside = np.pad(mask[box], 1)
    voxels = np.ascontiguousarray(inside.T if x_first else inside)  # cc3d numbers in the order of memory
    numbered = cc3d.connected_components(voxels, connectivity=CONNECTIVITY)[1:-1, 1:-1, 1:-1]
    numbers[box] = numbered.T if x_first else numbered
    return numbers


def joined_by_dilation(mask: Mask, dilations: int) -> tuple[Numbers, Numbers]:
    """Gives components whose dilations touch one number. Returns the mask's numbers, and those of the dilated mask.

    The dilated mask's component n is exactly lesion n dilated: inside the dilated mask, each voxel is connected to the
    one it grew from.
    """
    from scipy.ndimage import binary_dilation, generate_binary_structure

    dilated = np.zeros_like(mask)
    if box := box_around(mask, dilations):
        dilated[box] = binary_dilation(mask[box], generate_binary_structure(3, 2), iterations=dilations)
    reach = components(dilated, x_first=True)
    return np.where(mask, reach, np.int32(0)), reach


def voxel_counts(numbers: Numbers) -> npt.NDArray[np.intp]:
    """Counts each lesion's voxels (index: its number); the background, 0, is not counted."""
    return np.bincount(numbers[numbers > 0], minlength=1)


def without_small(numbers: Numbers, voxels: float) -> Numbers:
    """Keeps the lesions of more than so many voxels, with their numbers."""
    counts = voxel_counts(numbers)
    kept = np.arange(len(counts), dtype=numbers.dtype)
    kept[counts <= voxels] = 0
    return renumbered(numbers, kept)


def renumbered(numbers: Numbers, new: npt.NDArray[np.integer]) -> Numbers:
    """Gives lesion n the number new[n]; new[0] is 0."""
    result = np.zeros(numbers.shape, new.dtype)
    there = numbers > 0
    result[there] = new[numbers[there]]
    return result


def joined_over(numbers: Numbers, tissue: Numbers) -> npt.NDArray[np.int32]:
    """Joins lesions that touch one lesion of another tissue; returns the new numbers (index: old number).

    As the 2024 script does it: nothing happens unless there are two touching pairs at least, and a lesion that
    touches several goes with the lowest number among them; the joining is not carried on to the others.
    """
    top = int(numbers.max(initial=0))
    new = np.arange(top + 1, dtype=np.int32)
    pairs = sorted(_touching(numbers, tissue))
    if len(pairs) < 2:
        return new
    joint: dict[int, int] = {}
    for lesion, other in pairs:
        joint.setdefault(other, top + 1 + len(joint))
        if new[lesion] == lesion:
            new[lesion] = joint[other]
    return new


def _touching(first: Numbers, second: Numbers) -> set[tuple[int, int]]:
    """Finds pairs of numbers of which a voxel of one shares a face or an edge with a voxel of the other."""
    flat, others = (np.pad(numbers, 1).ravel() for numbers in (first, second))  # a rim: every voxel has neighbours
    where = np.flatnonzero(flat > 0)
    width = int(others.max(initial=0)) + 1
    numbers = flat[where].astype(np.int64) * width
    rows, columns = first.shape[1] + 2, first.shape[2] + 2
    keys: set[int] = set()
    for z, y, x in product((-1, 0, 1), repeat=3):
        if abs(z) + abs(y) + abs(x) > 2:
            continue
        beside = others[where + (z * rows + y) * columns + x]
        keys |= set(np.unique(numbers[beside > 0] + beside[beside > 0]).tolist())
    return {divmod(key, width) for key in keys}


def number_pairs(first: Numbers, second: Numbers) -> dict[tuple[int, int], int]:
    """Counts the voxels of each pair of numbers that occur at one voxel, both above 0; sorted."""
    both = (first > 0) & (second > 0)
    width = int(second.max(initial=0)) + 1
    keys, counts = np.unique(first[both].astype(np.int64) * width + second[both], return_counts=True)
    return {divmod(key, width): count for key, count in zip(keys.tolist(), counts.tolist(), strict=True)}
