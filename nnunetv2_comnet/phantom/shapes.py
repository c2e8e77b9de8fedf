"""Signed distances, in mm and positive inside, of the solids that a head is built of (approximate for ellipsoids)."""

from collections.abc import Sequence

import numpy as np

from nnunetv2_comnet.phantom.fields import Array

Point = tuple[float, float, float]  # z, y, x in mm


def ellipsoid(position: tuple[Array, Array, Array], centre: Point, semi_axes_mm: Point) -> Array:
    """Computes the distance to an ellipsoid to first order: exact on the surface, good near it."""
    squares = slopes = np.zeros_like(position[0])
    for p, c, a in zip(position, centre, semi_axes_mm, strict=True):
        scaled = (p - np.float32(c)) / np.float32(a)
        scaled = scaled * scaled
        squares = squares + scaled
        slopes = slopes + scaled / np.float32(a * a)
    radius: Array = np.sqrt(squares)
    slope: Array = np.sqrt(slopes)
    return (1 - radius) * radius / (slope + np.float32(1e-6))


def capsule(position: tuple[Array, Array, Array], start: Point, end: Point, radii_mm: tuple[float, float]) -> Array:
    """Computes the distance to a round rod whose radius changes from `start` to `end`."""
    axis = [e - s for s, e in zip(start, end, strict=True)]
    length = sum(a * a for a in axis)
    offsets = [p - np.float32(s) for p, s in zip(position, start, strict=True)]
    along = np.clip(sum(o * np.float32(a / length) for o, a in zip(offsets, axis, strict=True)), 0, 1)
    distance = np.sqrt(sum((o - along * np.float32(a)) ** 2 for o, a in zip(offsets, axis, strict=True)))
    return np.float32(radii_mm[0]) + along * np.float32(radii_mm[1] - radii_mm[0]) - distance


def union(parts: Sequence[Array], blend_mm: float) -> Array:
    """Joins solids; their joints are rounded over about `blend_mm`."""
    joined = parts[0]
    for part in parts[1:]:
        fillet: Array = np.maximum(np.float32(blend_mm) - np.abs(joined - part), 0)
        joined = np.maximum(joined, part) + fillet * fillet / np.float32(4 * blend_mm)
    return joined
