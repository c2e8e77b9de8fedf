"""Vessels: thin winding tubes and the sagittal sinus, bright after contrast like enhancing tumour, and no tumour."""

import numpy as np
import numpy.typing as npt

from nnunetv2_comnet.phantom.fields import Array, VoxelCentres

Curve = npt.NDArray[np.float64]  # (points, 4): z, y, x and radius in mm

_STEP_MM = 0.7
_BRAIN_MM_ZYX = np.array([62.0, 86.0, 66.0])
_CENTRE_MM_ZYX = np.array([3.0, -1.0, 0.0])


def draw(rng: np.random.Generator) -> list[Curve]:
    """Draws a patient's vessels as curves in mm."""
    curves = [_sinus(rng), _straight_sinus(rng)]
    curves += [_cortical(rng) for _ in range(int(rng.integers(34, 50)))]
    curves += [_walk(rng, _inside(rng), float(rng.uniform(0.45, 0.85)), 55) for _ in range(int(rng.integers(20, 34)))]
    for side in (-1.0, 1.0):
        start = np.array([-8.0, -8.0, side * 12.0])
        for _ in range(3):  # branches of the middle cerebral artery
            curves.append(_walk(rng, start, float(rng.uniform(1.0, 1.6)), 80, np.array([0.15, 0.1, side])))
        plexus = np.array([10.0, 24.0, side * 18.0])
        curves += [_walk(rng, plexus, 1.3, 14, np.array([0.1, 1.0, 0.2 * side])) for _ in range(3)]
    return curves


def share(curves: list[Curve], grid: VoxelCentres) -> Array:
    """Computes the share of vessel in every voxel, (z, y, x), from 0 to 1."""
    points = np.concatenate(curves)
    width = grid.spacing_mm
    reach = int(np.ceil((points[:, 3].max() + width) / width))
    origin = np.array([axis[0] for axis in grid.axes_mm], np.float64)
    nearest = np.rint((points[:, :3] - origin) / width).astype(np.int64)
    result = np.zeros(grid.shape, np.float32)
    limits = np.array(grid.shape)
    span = range(-reach, reach + 1)
    for offset in np.stack(np.meshgrid(span, span, span, indexing="ij"), axis=-1).reshape(-1, 3):
        voxel = nearest + offset
        inside = np.all((voxel >= 0) & (voxel < limits), axis=1)
        voxel, near = voxel[inside], points[inside]
        distance = np.linalg.norm(voxel * width + origin - near[:, :3], axis=1)
        filled = np.clip(0.5 + (near[:, 3] - distance) / width, 0, 1).astype(np.float32)
        np.maximum.at(result, tuple(voxel.T), filled)
    return result


def _sinus(rng: np.random.Generator) -> Curve:
    angle = np.linspace(-0.42 * np.pi, 0.56 * np.pi, 420)
    z = _CENTRE_MM_ZYX[0] + (_BRAIN_MM_ZYX[0] - 1.0) * np.cos(angle)
    y = _CENTRE_MM_ZYX[1] + (_BRAIN_MM_ZYX[1] - 1.0) * np.sin(angle)
    x = np.cumsum(rng.normal(0, 0.06, 420))
    return np.stack([z, y, x, np.linspace(1.2, 3.4, 420)], axis=1)


def _straight_sinus(rng: np.random.Generator) -> Curve:
    z, y = np.linspace(8, -8, 90), np.linspace(28, 78, 90)
    return np.stack([z, y, np.cumsum(rng.normal(0, 0.06, 90)), np.linspace(1.0, 2.0, 90)], axis=1)


def _inside(rng: np.random.Generator) -> Curve:
    direction = rng.normal(size=3)
    direction /= np.linalg.norm(direction)
    return _CENTRE_MM_ZYX + direction * _BRAIN_MM_ZYX * rng.uniform(0.35, 0.92)


def _walk(rng: np.random.Generator, start: Curve, radius_mm: float, steps: int, heading: Curve | None = None) -> Curve:
    """Draws a winding tube that gets thinner towards its end."""
    drift = rng.normal(size=3) if heading is None else heading
    turns = np.cumsum(rng.normal(0, 0.22, (steps, 3)), axis=0) + drift / np.linalg.norm(drift)
    turns /= np.linalg.norm(turns, axis=1, keepdims=True)
    radius = np.linspace(radius_mm, 0.45 * radius_mm, steps)
    return np.column_stack([start + _STEP_MM * np.cumsum(turns, axis=0), radius])


def _cortical(rng: np.random.Generator) -> Curve:
    """Draws a vein over the surface: a walk moved to a shell just below the hull."""
    curve = _walk(rng, _inside(rng), float(rng.uniform(0.7, 1.5)), int(rng.integers(40, 90)))
    relative = (curve[:, :3] - _CENTRE_MM_ZYX) / _BRAIN_MM_ZYX
    relative /= np.linalg.norm(relative, axis=1, keepdims=True)
    curve[:, :3] = _CENTRE_MM_ZYX + relative * _BRAIN_MM_ZYX * rng.uniform(0.94, 0.985)
    return curve
