"""A healthy brain as signed distances in mm: hull, folded cortex, ventricles, deep grey matter, cerebellum.

Sulci are the sheets where a random field changes sign. The field is constant along the radius, so that the sheets
stand upright on the brain's surface and fold the grey ribbon as gyri do.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from nnunetv2_comnet.phantom.fields import Array, Field, VoxelCentres, lattice_grid, noise, ramp
from nnunetv2_comnet.phantom.shapes import capsule, ellipsoid, union

Position = tuple[Array, Array, Array]  # z, y, x in mm

CORTEX_MM = 2.9
_FOLD_STEP_MM = 5.0  # lattice of the folding field: gyri about 10 mm wide
_TABLE_STEP_MM = 2.0


@dataclass(frozen=True)
class Anatomy:
    """Signed distances (z, y, x) in mm, positive inside; `pial_mm` is the depth below the folded surface."""

    hull_mm: Array
    pial_mm: Array
    ventricle_mm: Array
    deep_grey_mm: Array
    cerebrum_mm: Array
    bridge_mm: Array  # corpus callosum and brain stem: where the halves touch

    def fractions(self, spacing_mm: float) -> dict[str, Array]:
        """Computes each tissue's share per voxel, summing to 1 inside the hull: csf, grey, deep_grey, white."""
        width = max(spacing_mm, 1.0)
        solid = ramp(self.pial_mm, width) * (1 - ramp(self.ventricle_mm, width))
        deep = ramp(self.deep_grey_mm, 2 * width)
        white = ramp(self.pial_mm - np.float32(CORTEX_MM), width)
        return {
            "csf": 1 - solid,
            "grey": solid * (1 - white) * (1 - deep),
            "deep_grey": solid * deep,
            "white": solid * white * (1 - deep),
        }


@dataclass(frozen=True)
class Warp:
    """A patient's own head shape: scale per axis and a smooth displacement; then the push of a tumour, if any."""

    scale_zyx: tuple[float, float, float]
    displacement: tuple[Field, Field, Field]
    amplitude_mm: float

    def on(self, grid: VoxelCentres) -> Position:
        """Computes the position in the template of every voxel of the grid."""
        z, y, x = (
            p / np.float32(scale) + np.float32(self.amplitude_mm) * field.on(grid)
            for p, scale, field in zip(grid.coordinates(), self.scale_zyx, self.displacement, strict=True)
        )
        return z, y, x


def draw_warp(rng: np.random.Generator) -> Warp:
    """Draws a head shape: a few per cent of size, about 2 mm of smooth displacement."""
    z, y, x = rng.normal(0.985, 0.025, 3)
    return Warp((float(z), float(y), float(x)), (noise(rng, 34.0), noise(rng, 34.0), noise(rng, 34.0)), 2.0)


def build(rng: np.random.Generator, grid: VoxelCentres, warp: Warp, push: Callable[[Position], Position]) -> Anatomy:
    """Builds the anatomy on a grid; `push` displaces inner structures (mass effect) and leaves the hull."""
    outer = warp.on(grid)
    position = push(outer)
    cerebrum, shell, hull = _hull(outer)
    folding = noise(rng, _FOLD_STEP_MM)
    variation = noise(rng, 12.0).on(grid)
    sheet_mm = _sheet_distance(folding, warp, grid)
    ventricle_size = float(rng.uniform(-1.5, 2.0))

    z, y, x = position
    mirrored = (z, y, np.abs(x))
    stem = capsule(mirrored, (-14.0, 14.0, 0.0), (-74.0, 32.0, 0.0), (13.0, 8.0))
    bridge = np.maximum(_bridge(mirrored), stem)
    sulci = _sulcus_depth(hull, shell, sheet_mm, variation)
    fissures = np.minimum(_midline(mirrored, bridge), _sylvian(mirrored, variation))
    is_cerebrum = ramp(cerebrum - np.float32(1.0), 3.0)
    pial = is_cerebrum * np.minimum(sulci, fissures) + (1 - is_cerebrum) * _folia(position, hull, variation)
    pial = np.maximum(pial, np.minimum(stem, hull) + np.float32(1.0))  # no cortex on the brain stem
    pial = np.minimum(pial, hull - np.float32(0.2))
    return Anatomy(hull, pial, _ventricles(mirrored, ventricle_size), _deep_grey(mirrored), cerebrum, bridge)


def _hull(position: Position) -> tuple[Array, Array, Array]:
    """Builds the cerebrum, the shell that carries its gyri (no base), and the whole brain after skull stripping."""
    z, y, x = position
    mirrored = (z, y, np.abs(x))
    narrowed = (z, y, x * (1 + np.float32(0.0012) * np.clip(-y, -20, 80)))  # an egg, narrow in front
    upper = ellipsoid(narrowed, (2.0, -2.0, 0.0), (62.0, 86.0, 66.0))
    floor = z + np.float32(16) + np.clip(y * np.float32(0.10), -3, 6)
    dome = -union([-upper, -floor], 14.0)
    temporal = ellipsoid(mirrored, (-20.0, -2.0, 41.0), (24.0, 42.0, 22.0))
    cerebrum = union([dome, temporal], 7.0)
    cerebellum = ellipsoid(mirrored, (-36.0, 50.0, 22.0), (21.0, 29.0, 32.0))
    stem = capsule(mirrored, (-14.0, 12.0, 0.0), (-74.0, 32.0, 0.0), (17.0, 9.0))
    return cerebrum, union([upper, temporal], 7.0), union([cerebrum, cerebellum, stem], 4.0)


def _sheet_distance(folding: Field, warp: Warp, grid: VoxelCentres) -> Array:
    """Computes the distance in mm to where the folding field, spread along the radius, changes its sign."""
    z, y, x = warp.on(lattice_grid(_TABLE_STEP_MM))
    radius = np.sqrt(((z - 4) / 62) ** 2 + (y / 86) ** 2 + (x / 66) ** 2) + np.float32(0.15)
    factor = radius ** np.float32(-0.8)
    table = Field(folding.at(z * factor, y * factor, x * factor), _TABLE_STEP_MM)
    slopes = np.gradient(table.coefficients, _TABLE_STEP_MM)
    slope = Field(np.sqrt(sum(s * s for s in slopes)).astype(np.float32), _TABLE_STEP_MM).on(grid)
    return np.abs(table.on(grid)) / (slope + np.float32(0.03))


def _sulcus_depth(hull: Array, shell: Array, sheet_mm: Array, variation: Array) -> Array:
    """Computes the depth in mm below the hull or the nearest sulcus, whichever is nearer."""
    reach = np.float32(18.0) + np.float32(5.0) * variation
    below = np.maximum(shell - reach, 0)
    opening = np.float32(0.75) * np.clip(1.6 - shell / np.float32(14.0), 0.0, 1.5)
    sulcus = np.sqrt(sheet_mm * sheet_mm + below * below) - opening
    outer = hull - np.float32(0.4) - np.float32(0.5) * np.maximum(variation, 0)
    return np.minimum(sulcus, outer)


def _bridge(mirrored: Position) -> Array:
    """Builds the tissue that crosses the midline: the corpus callosum and all that lies under its arch."""
    z, y, _ = mirrored
    arch = np.sqrt(((y - 2) / 38) ** 2 + ((z + 2) / 26) ** 2)
    under = (1 - arch) * np.float32(26)
    return np.minimum(under, z + np.float32(22)).astype(np.float32)


def _midline(mirrored: Position, bridge: Array) -> Array:
    """Computes the distance to the fissure between the hemispheres, which ends at the corpus callosum."""
    _, y, x = mirrored
    width = np.float32(0.7) + np.clip((-y - 30) * np.float32(0.02), 0, 0.8)
    return np.sqrt(x * x + np.maximum(bridge, 0) ** 2 * 4) - width


def _sylvian(mirrored: Position, variation: Array) -> Array:
    """Computes the distance to the cleft above the temporal lobe and to the insula at its end."""
    z, y, x = mirrored
    height = z + np.float32(3) + np.float32(0.4) * y + np.float32(2.5) * variation
    reach = np.sqrt(np.maximum(np.float32(62) - x, 0) ** 2 + (y - 2) ** 2) - np.float32(25)
    outside = np.maximum(reach, 0)
    cleft = np.sqrt(height * height + outside * outside) - np.float32(1.0)
    beyond = np.maximum(np.sqrt((height * np.float32(1.6)) ** 2 + (y + 3) ** 2) - np.float32(18), 0)
    bowed = x - np.float32(37) - np.float32(0.006) * y * y + np.float32(1.5) * variation
    insula = np.sqrt(bowed * bowed + beyond * beyond) - np.float32(0.8)
    return np.minimum(cleft, insula)


def _folia(position: Position, hull: Array, variation: Array) -> Array:
    """Builds the cerebellum: thin leaves, one below the other, around a white core."""
    z, y, x = position
    phase = (z + np.float32(0.5) * y + np.float32(1.2) * variation) / np.float32(6.5)
    leaf = np.abs(phase - np.round(phase)) * np.float32(6.5)
    inner = np.maximum(hull - np.float32(9.0) - variation, 0)
    leaves = np.sqrt(leaf * leaf + inner * inner) - np.float32(0.25)
    fourth = -ellipsoid((z, y, x), (-36.0, 36.0, 0.0), (11.0, 5.0, 6.0))
    return np.minimum(np.minimum(leaves, hull - np.float32(0.6)), fourth)


def _ventricles(mirrored: Position, size_mm: float) -> Array:
    """Builds the lateral ventricles, rods from the frontal to the occipital and temporal horns, and the third."""
    path = [(4.0, -34.0, 10.0), (14.0, -18.0, 8.5), (17.0, 6.0, 10.5), (9.0, 29.0, 20.0), (4.0, 50.0, 22.0)]
    grown = [max(r + size_mm * r / 5.0, 1.0) for r in (2.6, 4.4, 3.8, 5.6, 1.8)]
    rods = [capsule(mirrored, *ends, radii) for ends, radii in zip(pairwise(path), pairwise(grown), strict=True)]
    rods.append(capsule(mirrored, path[3], (-16.0, 6.0, 31.0), (0.7 * grown[3], 1.2)))
    third = ellipsoid(mirrored, (0.0, 4.0, 0.0), (9.0, 14.0, 1.6 + max(size_mm, 0.0) * 0.5))
    return np.maximum(union(rods, 3.0), third)


def _deep_grey(mirrored: Position) -> Array:
    thalamus = ellipsoid(mirrored, (4.0, 10.0, 11.0), (8.5, 15.0, 8.0))
    caudate_head = ellipsoid(mirrored, (10.0, -20.0, 16.0), (9.0, 11.0, 4.5))
    putamen = ellipsoid(mirrored, (2.0, -5.0, 27.0), (9.5, 16.0, 5.5))
    return np.maximum(np.maximum(thalamus, caudate_head), putamen)
