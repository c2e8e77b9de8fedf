"""From the regions' probabilities to a label map: nesting, thresholds, painting. Arrays alone, no nnU-Net."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

Maps = npt.NDArray[np.float32]
Labels = npt.NDArray[np.unsignedinteger]
Regions = Mapping[str, tuple[int, ...]]

THRESHOLD = 0.5


def containers(regions: Regions) -> dict[str, list[str]]:
    """For each region, those that lie around it: whose labels are its own and more. From the outermost inwards."""
    outwards_in = sorted(regions, key=lambda name: -len(regions[name]))
    return {
        inner: [outer for outer in outwards_in if set(regions[outer]) > set(regions[inner])] for inner in outwards_in
    }


def nest(maps: npt.NDArray, regions: Regions) -> npt.NDArray:
    """Enforces that a region lies inside those around it: minimum of probabilities, or of truth values.

    maps: (R, Z, Y, X) in the order of `regions`; a new array. Regions that do not contain one another, such as a
    resection cavity beside the tumour, leave one another alone.
    """
    nested = maps.copy()
    index = {name: number for number, name in enumerate(regions)}
    for inner, outers in containers(regions).items():
        for outer in outers:
            np.minimum(nested[index[inner]], nested[index[outer]], out=nested[index[inner]])
    return nested


def decide(
    probabilities: Maps,
    regions: Regions,
    paint: Sequence[int],
    thresholds: Mapping[str, float] | None = None,
    nested: bool = False,
) -> Labels:
    """The label map (Z, Y, X): each region paints its label of `paint` where its probability exceeds its threshold.

    `paint` is nnU-Net's regions_class_order; later regions paint over earlier ones, so that without thresholds and
    nesting the map is nnU-Net's. With `nested`, a region is painted only inside the regions around it.
    """
    limits = [np.float32((thresholds or {}).get(name, THRESHOLD)) for name in regions]
    inside = np.stack([region > limit for region, limit in zip(probabilities, limits, strict=True)])
    if nested:
        inside = nest(inside, regions)
    labels = np.zeros(probabilities.shape[1:], np.uint8 if max(paint) < 255 else np.uint16)
    for mask, label in zip(inside, paint, strict=True):
        labels[mask] = label
    return labels


def region_volumes_mm3(labels: Labels, regions: Regions, spacing_mm: Sequence[float]) -> dict[str, float]:
    """Region -> volume in mm3 of the voxels whose label is one of the region's."""
    counts = np.bincount(labels.ravel(), minlength=max(max(members) for members in regions.values()) + 1)
    voxel_mm3 = float(np.prod(np.asarray(spacing_mm, np.float64)))
    return {name: float(sum(int(counts[label]) for label in members)) * voxel_mm3 for name, members in regions.items()}
