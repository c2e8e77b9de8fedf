"""Distances between the surfaces of two masks, measured in the two ways that the BraTS scripts use.

AREA: DeepMind's surface-distance, which weights each piece of the surface with its area. VOXEL: the mask's voxels
with a face towards the outside, each of weight one, as nnU-Net, medpy and panoptica take them. They are not
comparable. Distance transforms are scipy's in both.
"""

import warnings
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from nnunetv2_comnet.evaluation.overlap import Mask
from nnunetv2_comnet.evaluation.protocols import AREA

Distances = npt.NDArray[np.float64]
Box = tuple[slice, ...]


def box_around(mask: npt.NDArray[Any], margin: int = 0) -> Box | None:
    """The smallest box that holds every nonzero voxel, `margin` voxels wider where the image allows; None: no voxel."""
    box = []
    for axis in range(mask.ndim):
        others = tuple(other for other in range(mask.ndim) if other != axis)
        found = np.flatnonzero(mask.any(axis=others))
        if not len(found):
            return None
        box.append(slice(max(0, int(found[0]) - margin), int(found[-1]) + 1 + margin))
    return tuple(box)


class Surfaces:
    """Two masks (Z, Y, X), neither empty, and the distances between their surfaces, computed when first asked for.

    A mask's surface depends on nothing but its voxels (outside the image counts as outside the mask), so the box
    around both masks gives the distances of the whole image.
    """

    def __init__(self, truth: Mask, prediction: Mask, spacing_mm: Sequence[float]) -> None:
        assert truth.any(), "an empty mask has no surface"
        assert prediction.any(), "an empty mask has no surface"
        box = box_around(truth | prediction) or ()
        self._truth, self._prediction = truth[box], prediction[box]
        self._spacing_mm = tuple(float(value) for value in spacing_mm)

    def hd95_mm(self, kind: str) -> float:
        """The 95th percentile. AREA: of each direction, the larger one; VOXEL: of both directions pooled."""
        if kind == AREA:
            from surface_distance import compute_robust_hausdorff

            return float(compute_robust_hausdorff(self._areas, 95))
        return float(np.percentile(np.concatenate(self._voxels), 95))

    def assd_mm(self, kind: str) -> float:
        """The mean of the two directions' mean distances."""
        if kind == AREA:
            from surface_distance import compute_average_surface_distance

            return float(np.mean(compute_average_surface_distance(self._areas)))
        return float(np.mean([distances.mean() for distances in self._voxels]))

    def nsd(self, kind: str, tolerance_mm: float, guard: float = 0.0) -> float:
        """The part of the surfaces within the tolerance of the other. `guard` is added to the denominator.

        AREA: areas of both surfaces pooled. VOXEL: the mean of the two surfaces' parts.
        """
        if kind == AREA:
            from surface_distance import compute_surface_dice_at_tolerance

            return float(compute_surface_dice_at_tolerance(self._areas, tolerance_mm))
        within = sum(float((distances <= tolerance_mm).mean()) for distances in self._voxels)
        return within / (2.0 + guard)

    @cached_property
    def _areas(self) -> dict[str, Distances]:
        from surface_distance import compute_surface_distances

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the package calls scipy by a former name
            found: dict[str, Distances] = compute_surface_distances(self._truth, self._prediction, self._spacing_mm)
        return found

    @cached_property
    def _voxels(self) -> tuple[Distances, Distances]:
        from scipy.ndimage import distance_transform_edt

        truth, prediction = _border(self._truth), _border(self._prediction)
        return (
            distance_transform_edt(~prediction, sampling=self._spacing_mm)[truth],
            distance_transform_edt(~truth, sampling=self._spacing_mm)[prediction],
        )


def _border(mask: Mask) -> Mask:
    from scipy.ndimage import binary_erosion, generate_binary_structure

    return mask & ~binary_erosion(mask, generate_binary_structure(mask.ndim, 1))
