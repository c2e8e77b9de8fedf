"""Grids in millimetres and band-limited random fields on them.

A field is a lattice of normal random numbers under cubic B-splines. It is a function of the position in mm, so that
every voxel spacing samples the same anatomy. Only element-wise arithmetic: no BLAS, whose threads change last bits.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Scalar = TypeVar("Scalar", bound=np.generic)

FIELD_OF_VIEW_MM_ZYX = (155.0, 240.0, 240.0)  # BraTS: 155 x 240 x 240 voxels of 1 mm
HEAD_CENTRE_MM_ZYX = (68.0, 124.0, 116.0)
HEAD_HALF_SIZE_MM_ZYX = (78.0, 96.0, 76.0)  # no brain lies outside this box
_MARGIN_MM = 8.0  # fields are defined this far around the box; further out they repeat their border
_NORMALISATION = 0.4794**1.5  # standard deviation of a cubic B-spline sum over a lattice of unit noise, three axes


@dataclass(frozen=True)
class VoxelCentres:
    """Voxel centres of the box around the head, relative to the head's centre, in mm.

    `axes_mm` are the coordinates along z (up), y (to posterior) and x (to the patient's left); `box` places the
    grid in the full image of shape `full_shape_zyx`.
    """

    axes_mm: tuple[Array, Array, Array]
    spacing_mm: float
    full_shape_zyx: tuple[int, int, int]
    box: tuple[slice, slice, slice]

    @property
    def shape(self) -> tuple[int, int, int]:
        z, y, x = self.axes_mm
        return len(z), len(y), len(x)

    def coordinates(self) -> tuple[Array, Array, Array]:
        """Returns the z, y and x coordinates of all voxels in mm, each of shape (z, y, x)."""
        z, y, x = np.meshgrid(*self.axes_mm, indexing="ij")
        return z, y, x

    def paste(self, values: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
        """Returns the full image, zero outside the box."""
        image = np.zeros(self.full_shape_zyx, values.dtype)
        image[self.box] = values
        return image


def image_grid(spacing_mm: float) -> VoxelCentres:
    """Makes the grid of the BraTS field of view: 155 x 240 x 240 voxels at 1 mm, 39 x 60 x 60 at 4 mm."""
    axes, box, full = [], [], []
    for extent, centre, half in zip(FIELD_OF_VIEW_MM_ZYX, HEAD_CENTRE_MM_ZYX, HEAD_HALF_SIZE_MM_ZYX, strict=True):
        size = max(1, int(np.ceil(extent / spacing_mm - 1e-6)))
        positions = (np.arange(size) + 0.5) * spacing_mm - 0.5 - centre  # voxel edges agree over spacings
        inside = np.flatnonzero(np.abs(positions) <= half)
        axes.append(positions[inside].astype(np.float32))
        box.append(slice(int(inside[0]), int(inside[-1]) + 1))
        full.append(size)
    return VoxelCentres((axes[0], axes[1], axes[2]), spacing_mm, (full[0], full[1], full[2]), (box[0], box[1], box[2]))


@dataclass(frozen=True)
class Field:
    """A cubic B-spline over a cubic lattice of coefficients, `step_mm` apart, centred on the head."""

    coefficients: Array
    step_mm: float

    def on(self, grid: VoxelCentres) -> Array:
        """Samples the field at every voxel of the grid: (z, y, x)."""
        values = self.coefficients
        for axis, positions in enumerate(grid.axes_mm):
            values = self._along(values, axis, positions)
        return values

    def at(self, z: Array, y: Array, x: Array) -> Array:
        """Samples the field at arbitrary positions in mm."""
        from scipy.ndimage import map_coordinates

        lattice = np.stack([self._to_lattice(axis, p) for axis, p in enumerate((z, y, x))])
        return map_coordinates(self.coefficients, lattice, order=3, prefilter=False, mode="nearest")

    def _to_lattice(self, axis: int, positions_mm: Array) -> Array:
        return positions_mm / np.float32(self.step_mm) + np.float32((self.coefficients.shape[axis] - 1) / 2)

    def _along(self, values: Array, axis: int, positions_mm: Array) -> Array:
        lattice = self._to_lattice(axis, positions_mm)
        first = np.floor(lattice).astype(int)
        f = (lattice - first).astype(np.float32)
        weights = ((1 - f) ** 3, 3 * f**3 - 6 * f**2 + 4, -3 * f**3 + 3 * f**2 + 3 * f + 1, f**3)
        shape = [1, 1, 1]
        shape[axis] = -1
        last = values.shape[axis] - 1
        terms = []
        for offset, weight in enumerate(weights):
            taken = np.take(values, np.clip(first + offset - 1, 0, last), axis=axis)
            terms.append(taken * (weight / 6).astype(np.float32).reshape(shape))
        return terms[0] + terms[1] + terms[2] + terms[3]


def noise(rng: np.random.Generator, step_mm: float) -> Field:
    """Draws a random field of mean 0 and standard deviation about 1; its blobs are about 2.5 steps wide."""
    lattice = rng.standard_normal(_lattice_shape(step_mm), dtype=np.float32)
    return Field(lattice / np.float32(_NORMALISATION), step_mm)


def lattice_grid(step_mm: float) -> VoxelCentres:
    """Makes the grid of a field's coefficients, on which smooth functions that cost time are computed once."""
    shape = _lattice_shape(step_mm)
    z, y, x = (((np.arange(n) - (n - 1) / 2) * step_mm).astype(np.float32) for n in shape)
    return VoxelCentres((z, y, x), step_mm, shape, (slice(None), slice(None), slice(None)))


def _lattice_shape(step_mm: float) -> tuple[int, int, int]:
    z, y, x = (2 * int(np.ceil((half + _MARGIN_MM) / step_mm)) + 1 for half in HEAD_HALF_SIZE_MM_ZYX)
    return z, y, x


def ramp(signed_mm: Array, width_mm: float) -> Array:
    """Computes the share of each voxel inside a surface from the signed distance (positive inside): partial volume."""
    return np.clip(signed_mm / np.float32(width_mm) + np.float32(0.5), 0, 1)
