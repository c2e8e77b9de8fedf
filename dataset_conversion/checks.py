"""The checks of a case's contents: one function per defect, each returns findings or nothing.

`brain` is where any channel is not 0 (skull-stripped images are exactly 0 outside); masks here carry written labels.
The test of contrast inside the enhancing tumour follows TRACE's `check_data` (z-scored T1c against T1).
"""

import math
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nnunetv2_comnet.dataset_conversion.findings import Finding, error, warning
from nnunetv2_comnet.grid import Grid
from nnunetv2_comnet.label_schemes import ET

LABEL_TOLERANCE = 1e-3  # labels nearer to an integer than this are rounded
FEW_VOXELS = 10  # a mask, or an enhancing tumour, below this is too small to judge
OUTSIDE_ERROR = 0.05  # fraction of the tumour that lies where every channel is 0
OUTSIDE_WARNING = 0.005
WEAK_CONTRAST = 0.25  # T1c minus T1n inside ET, in standard deviations of the brain; a real ring lies near 2

Array = npt.NDArray[Any]


def same_grid(reference: Grid, reference_name: str, grid: Grid, path: Path, tolerance: float) -> list[Finding]:
    """Compares a file's shape, spacing, origin and direction with those of the case's first channel."""
    return [
        error(f"{found.what}-mismatch", f"{path.name} does not lie on the grid of {reference_name}: {found.of_equals}")
        for found in grid.differences(reference, tolerance)
    ]


def non_finite(data: Array, name: str) -> list[Finding]:
    if data.dtype.kind != "f":
        return []
    count = int(data.size - np.count_nonzero(np.isfinite(data)))
    return [error("non-finite", f"{name} has {count} voxels that are NaN or infinite")] if count else []


def constant_channel(data: Array, name: str) -> list[Finding]:
    value = data.flat[0]
    if not ((_middle(data) == value).all() and (data == value).all()):
        return []
    return [error("constant-channel", f"{name} has the same value, {value}, in all voxels")]


def duplicate_channels(channels: Mapping[str, Array]) -> list[Finding]:
    """Finds two channels with the same values: one sequence was copied under two names."""
    return [
        error("duplicate-channels", f"{first} and {second} hold the same values voxel by voxel")
        for first, second in combinations(channels, 2)
        if _same(channels[first], channels[second])
    ]


def _same(first: Array, second: Array) -> bool:
    return bool(np.array_equal(_middle(first), _middle(second)) and np.array_equal(first, second))


def _middle(data: Array) -> Array:
    """Returns the middle plane: two scans nearly always differ in it, so that the rest need not be compared."""
    return data[..., data.shape[-1] // 2]


def fractional_labels(data: Array, name: str) -> list[Finding]:
    """Finds labels off an integer by more than `LABEL_TOLERANCE`: the mask was interpolated."""
    if data.dtype.kind != "f":
        return []
    off = np.abs(data - np.rint(data)) > LABEL_TOLERANCE
    count = int(np.count_nonzero(off))
    if not count:
        return []
    examples = ", ".join(f"{value:.6g}" for value in np.unique(data[off])[:3])
    text = f"{name} has {count} voxels whose label is no integer, e.g. {examples}; it was probably interpolated"
    return [error("fractional-labels", text)]


def unknown_labels(labels: Array, known: frozenset[int], name: str) -> list[Finding]:
    """Finds labels that the scheme does not explain. `labels` are the source's, of any shape; 0 may be left out."""
    values, counts = np.unique(labels[labels != 0], return_counts=True)
    strange = [f"{value:g} ({count} voxels)" for value, count in zip(values, counts, strict=True) if value not in known]
    if not strange:
        return []
    shown = ", ".join(strange[:8]) + (", ..." if len(strange) > 8 else "")
    text = (
        f"{name} has labels without a documented meaning: {shown}; known are {sorted(known)}, --label-map adds others"
    )
    return [error("unknown-labels", text)]


def empty_mask(mask: Array, name: str, keep_empty: bool) -> list[Finding]:
    """Finds a mask without tumour, an error unless `keep_empty`, or with very few voxels, a warning."""
    count = int(np.count_nonzero(mask))
    if not count:
        return [(warning if keep_empty else error)("empty-mask", f"{name} holds no tumour (--keep-empty converts it)")]
    return [warning("small-mask", f"{name} holds only {count} tumour voxels")] if count < FEW_VOXELS else []


def tumour_outside_brain(mask: Array, brain: Array, name: str) -> list[Finding]:
    inside = _flat(brain)[np.flatnonzero(_flat(mask) != 0)]
    total = inside.size
    outside = total - int(np.count_nonzero(inside))
    fraction = outside / total if total else 0.0
    text = f"{name}: {100 * fraction:.1f} % of the tumour ({outside} of {total} voxels) lies where every channel is 0"
    if fraction > OUTSIDE_ERROR:
        return [error("tumour-outside-brain", text)]
    return [warning("tumour-partly-outside-brain", text)] if fraction > OUTSIDE_WARNING else []


def weak_contrast(channels: Mapping[str, Array], mask: Array, brain: Array) -> list[Finding]:
    """Finds an enhancing tumour where T1c is not brighter than T1n: channels or labels may be swapped."""
    enhancing = np.flatnonzero(_flat(mask) == ET)
    enhancing = enhancing[_flat(brain)[enhancing]]
    if len(enhancing) < FEW_VOXELS:
        return []
    inside = np.flatnonzero(_flat(brain))
    t1c, t1n = (_mean_z(_flat(channels[name]), enhancing, inside) for name in ("T1c", "T1n"))
    gain = t1c - t1n
    if gain >= WEAK_CONTRAST:
        return []
    text = (
        f"inside the enhancing tumour T1c exceeds T1n by {gain:.2f} standard deviations (expected {WEAK_CONTRAST} or "
        "more): T1n and T1c, or the labels, may be swapped"
    )
    return [warning("weak-contrast", text)]


def _flat(data: Array) -> Array:
    """Returns the voxels in a row, x fastest as in the file: a view, where C order would be a copy."""
    return data.ravel(order="F")


def _mean_z(channel: Array, where: Array, inside: Array) -> float:
    """Computes how far the mean over `where` lies above that over `inside`, in standard deviations of the latter."""
    values = channel[inside].astype(np.float64)
    mean = values.mean()
    values -= mean
    deviation = math.sqrt(np.dot(values, values) / len(values))
    return float((channel[where].mean(dtype=np.float64) - mean) / (deviation or 1.0))
