"""Distances between the surfaces of two masks, measured in the two ways that the BraTS scripts use.

AREA: DeepMind's surface-distance, which weights each piece of the surface with its area. VOXEL: the mask's voxels
with a face towards the outside, each of weight one, as nnU-Net, medpy and panoptica take them. They are not
comparable. Those programs transform the whole volume to read the distances off at the surfaces; here scipy's search
tree finds each surface point's neighbour, which gives the same distances and costs no more for specks far apart.
"""

from collections.abc import Sequence
from functools import cached_property, lru_cache
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from nnunetv2_comnet.evaluation.overlap import Mask
from nnunetv2_comnet.evaluation.protocols import AREA
from nnunetv2_comnet.grid import box_around

Distances = npt.NDArray[np.float64]
Points = npt.NDArray[np.intp]  # (axes, N), in voxels
_ALL_INSIDE = 0b11111111  # surface-distance's code of a corner with eight voxels of the mask around it


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
        """Computes the 95th percentile. AREA: of each direction, the larger one; VOXEL: of both directions pooled."""
        if kind == AREA:
            from surface_distance import compute_robust_hausdorff

            return float(compute_robust_hausdorff(self._areas, 95))
        return float(np.percentile(np.concatenate(self._voxels), 95))

    def assd_mm(self, kind: str) -> float:
        """Averages the two directions' mean distances."""
        if kind == AREA:
            from surface_distance import compute_average_surface_distance

            return float(np.mean(compute_average_surface_distance(self._areas)))
        return float(np.mean([distances.mean() for distances in self._voxels]))

    def nsd(self, kind: str, tolerance_mm: float, guard: float = 0.0) -> float:
        """Computes the part of the surfaces within the tolerance of the other. `guard` is added to the denominator.

        AREA: areas of both surfaces pooled. VOXEL: the mean of the two surfaces' parts.
        """
        if kind == AREA:
            from surface_distance import compute_surface_dice_at_tolerance

            return float(compute_surface_dice_at_tolerance(self._areas, tolerance_mm))
        within = sum(float((distances <= tolerance_mm).mean()) for distances in self._voxels)
        return within / (2.0 + guard)

    @cached_property
    def _areas(self) -> dict[str, Distances]:
        """What surface-distance's `compute_surface_distances` returns: distances and areas, sorted together."""
        truth, truth_areas = _corners(self._truth, self._spacing_mm)
        prediction, prediction_areas = _corners(self._prediction, self._spacing_mm)
        there, back = _nearest_both_ways(truth, prediction, self._spacing_mm)
        first, second = np.lexsort((truth_areas, there)), np.lexsort((prediction_areas, back))
        return {
            "distances_gt_to_pred": there[first],
            "distances_pred_to_gt": back[second],
            "surfel_areas_gt": truth_areas[first],
            "surfel_areas_pred": prediction_areas[second],
        }

    @cached_property
    def _voxels(self) -> tuple[Distances, Distances]:
        return _nearest_both_ways(_border(self._truth), _border(self._prediction), self._spacing_mm)


def _nearest_both_ways(first: Points, second: Points, spacing_mm: tuple[float, ...]) -> tuple[Distances, Distances]:
    """Measures from each point of one set the distance in mm to the nearest of the other, and the other way round."""
    from scipy.spatial import KDTree

    scale = np.array(spacing_mm)[:, None]
    trees = [KDTree((points * scale).T, balanced_tree=False) for points in (first, second)]

    def nearest(points: Points, others: Points, tree: Any) -> Distances:
        _, which = tree.query((points * scale).T)
        # Differences in whole voxels, scaled, squared and added as scipy's distance transform does it: so that a
        # distance that is exactly a tolerance stays exactly that.
        apart = (points - others[:, which]).astype(np.float64) * scale
        return np.sqrt(np.add.reduce(apart * apart, axis=0))

    return nearest(first, second, trees[1]), nearest(second, first, trees[0])


def _border(mask: Mask) -> Points:
    """Lists the voxels of a mask with a face towards the outside; beyond the array is outside."""
    padded = np.pad(mask, 1)
    inside = mask.copy()
    for axis in range(mask.ndim):
        for shifted in (slice(None, -2), slice(2, None)):
            beside = [slice(1, -1)] * mask.ndim
            beside[axis] = shifted
            inside &= padded[tuple(beside)]
    return np.array(np.nonzero(mask & ~inside))


def _corners(mask: Mask, spacing_mm: tuple[float, ...]) -> tuple[Points, Distances]:
    """Lists the corners of voxels with both inside and outside around them, and the area in mm2 that passes each.

    Codes and areas are surface-distance's: a corner's code has a bit for each of the eight voxels around it.
    """
    from surface_distance.lookup_tables import ENCODE_NEIGHBOURHOOD_3D_KERNEL

    padded = np.pad(mask, 1).astype(np.uint8)
    codes = np.zeros([size + 1 for size in mask.shape], np.uint8)
    for offset in product((0, 1), repeat=3):
        around = tuple(slice(start, start + size) for start, size in zip(offset, codes.shape, strict=True))
        codes |= padded[around] * np.uint8(ENCODE_NEIGHBOURHOOD_3D_KERNEL[offset])
    points = np.nonzero((codes != 0) & (codes != _ALL_INSIDE))
    return np.array(points), _areas_of_codes(spacing_mm)[codes[points]]


@lru_cache(maxsize=16)
def _areas_of_codes(spacing_mm: tuple[float, ...]) -> Distances:
    """Makes surface-distance's table: the area in mm2 for each of the 256 codes."""
    from surface_distance.lookup_tables import create_table_neighbour_code_to_surface_area

    areas: Distances = create_table_neighbour_code_to_surface_area(spacing_mm)
    return areas
