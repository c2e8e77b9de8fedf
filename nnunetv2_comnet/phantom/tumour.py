"""Irregular gliomas: necrotic core, enhancing rim of varying thickness, oedema along white matter, satellites.

All borders are level sets of smooth fields in mm. About one tumour in six does not enhance.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nnunetv2_comnet.label_schemes import ED, ET, NCR
from nnunetv2_comnet.phantom.anatomy import Anatomy, Position
from nnunetv2_comnet.phantom.fields import Array, VoxelCentres, noise
from nnunetv2_comnet.phantom.shapes import Point, ellipsoid

SHARE_WITHOUT_ENHANCEMENT = 0.17
_NOWHERE = np.float32(-99.0)


@dataclass(frozen=True)
class Satellite:
    """A nodule apart from the main tumour."""

    centre: Point
    radius_mm: float


@dataclass(frozen=True)
class TumourPlan:
    """All that is drawn about a tumour before it meets a grid; lengths in mm."""

    centre: Point
    radius_mm: float
    stretch_zyx: tuple[float, float, float]
    enhancing: bool
    rim_mm: float
    raggedness: float
    oedema_mm: float
    push: float
    satellites: tuple[Satellite, ...]


@dataclass(frozen=True)
class Tumour:
    """Signed distances (z, y, x) in mm, positive inside: core with its rim, enhancing part, oedema around the core."""

    core_mm: Array
    enhancing_mm: Array
    oedema_mm: Array

    def labels(self) -> npt.NDArray[np.uint8]:
        """Makes the mask, in written labels."""
        mask = np.where(self.oedema_mm > 0, ED, 0).astype(np.uint8)
        mask[self.core_mm > 0] = NCR
        mask[self.enhancing_mm > 0] = ET
        return mask


def plan(rng: np.random.Generator) -> TumourPlan:
    """Draws a tumour: place, size, look."""
    side = float(rng.choice([-1.0, 1.0]))
    radius = float(np.exp(rng.uniform(np.log(12.0), np.log(27.0))))
    centre = _place(rng, side, radius)
    stretch = np.exp(rng.normal(0.0, 0.16, 3))
    enhancing = bool(rng.random() >= SHARE_WITHOUT_ENHANCEMENT)
    oedema = float(rng.uniform(7.0, 26.0))
    satellites = []
    if rng.random() < 0.45:
        for _ in range(int(rng.integers(1, 4))):
            direction = rng.normal(size=3)
            direction /= np.linalg.norm(direction)
            away = radius + float(rng.uniform(5.0, 4.0 + oedema))
            z, y, x = (c + away * float(d) for c, d in zip(centre, direction, strict=True))
            satellites.append(Satellite((z, y, x), float(rng.uniform(2.5, 6.0))))
    return TumourPlan(
        centre=centre,
        radius_mm=radius,
        stretch_zyx=(float(stretch[0]), float(stretch[1]), float(stretch[2])),
        enhancing=enhancing,
        rim_mm=float(rng.uniform(2.6, 6.0)),
        raggedness=float(rng.uniform(0.12, 0.26)),
        oedema_mm=oedema,
        push=float(rng.uniform(0.15, 0.45)),
        satellites=tuple(satellites),
    )


def _place(rng: np.random.Generator, side: float, radius_mm: float) -> Point:
    """Draws a centre within a hemisphere, so deep that most of the tumour is inside."""
    while True:
        z, y, x = float(rng.uniform(-22, 46)), float(rng.uniform(-60, 60)), float(rng.uniform(12, 52))
        depth = 1 - np.sqrt(((z - 4) / 58) ** 2 + ((y + 2) / 82) ** 2 + (x / 62) ** 2)
        base_is_near = z < -6 and not (-30 < y < 25 and x > 30)
        if depth * 60 > 0.55 * radius_mm + 3 and not base_is_near:
            return z, y, side * x


def mass_effect(plan: TumourPlan) -> Callable[[Position], Position]:
    """Reads the template nearer to the tumour's centre than it is: what was there appears pushed away."""

    def push(position: Position) -> Position:
        offsets = [p - np.float32(c) for p, c in zip(position, plan.centre, strict=True)]
        squared = sum(o * o for o in offsets) / np.float32((1.7 * plan.radius_mm) ** 2)
        factor = 1 - np.float32(plan.push) * np.exp(-np.asarray(squared, np.float32))
        z, y, x = (np.float32(c) + o * factor for c, o in zip(plan.centre, offsets, strict=True))
        return z, y, x

    return push


def grow(plan: TumourPlan, rng: np.random.Generator, grid: VoxelCentres, anatomy: Anatomy) -> Tumour:
    """Grows the tumour on a grid, within the tissue that the anatomy allows."""
    position = grid.coordinates()
    same_side = position[2] * np.float32(np.sign(plan.centre[2]))
    core = _core(plan, rng, grid, position)
    core = _within(core, anatomy, same_side)
    enhancing = _enhancing(plan, rng, grid, core)
    core, enhancing = _with_satellites(plan, rng, grid, position, core, enhancing, anatomy)
    oedema = _oedema(plan, rng, grid, core, anatomy, same_side)
    return Tumour(core, enhancing, oedema)


def _core(plan: TumourPlan, rng: np.random.Generator, grid: VoxelCentres, position: Position) -> Array:
    r = plan.radius_mm
    z, y, x = (r * s for s in plan.stretch_zyx)
    body = ellipsoid(position, plan.centre, (z, y, x))
    lobes = noise(rng, max(6.0, 0.6 * r)).on(grid)
    frays = noise(rng, 4.0).on(grid)
    return body + np.float32(plan.raggedness * r) * lobes + np.float32(0.5) * frays


def _within(core: Array, anatomy: Anatomy, same_side: Array) -> Array:
    """Cuts a core at the hull, the ventricles and the other hemisphere (except through the corpus callosum)."""
    limits = np.minimum(anatomy.hull_mm - np.float32(1.2), -anatomy.ventricle_mm)
    beyond: Array = np.maximum(-same_side, 0)
    core = core - np.float32(1.3) * beyond
    halves = np.maximum(same_side - np.float32(1.0), anatomy.bridge_mm)
    supratentorial = anatomy.cerebrum_mm - np.float32(1.0)
    return np.minimum(np.minimum(core, limits), np.minimum(halves, supratentorial))


def _enhancing(plan: TumourPlan, rng: np.random.Generator, grid: VoxelCentres, core: Array) -> Array:
    """Grows the core's outer shell, of varying thickness and with gaps, and a few strands within the necrosis."""
    shell = noise(rng, max(6.0, 0.55 * plan.radius_mm)).on(grid)
    grain = noise(rng, 4.0).on(grid)
    if not plan.enhancing:
        return np.full(core.shape, _NOWHERE, np.float32)
    thickness = np.float32(plan.rim_mm) * (1 + np.float32(0.62) * shell + np.float32(0.22) * grain)
    strands = np.float32(0.9) - np.abs(shell * np.float32(5) + grain) - np.maximum(core - np.float32(9), 0)
    return np.minimum(core, np.maximum(thickness - core, strands))


def _with_satellites(
    plan: TumourPlan,
    rng: np.random.Generator,
    grid: VoxelCentres,
    position: Position,
    core: Array,
    enhancing: Array,
    anatomy: Anatomy,
) -> tuple[Array, Array]:
    bumps = np.float32(0.8) * noise(rng, 4.0).on(grid)
    room = np.minimum(anatomy.pial_mm - np.float32(1.0), -anatomy.ventricle_mm - np.float32(1.0))
    for satellite in plan.satellites:
        r = satellite.radius_mm
        nodule = np.minimum(ellipsoid(position, satellite.centre, (r, r, r)) + bumps, room)
        nodule = np.minimum(nodule, anatomy.cerebrum_mm - np.float32(2.0))
        core = np.maximum(core, nodule)
        if plan.enhancing:
            enhancing = np.maximum(enhancing, np.minimum(nodule, np.float32(3.2) - nodule))
    return core, enhancing


def _oedema(
    plan: TumourPlan, rng: np.random.Generator, grid: VoxelCentres, core: Array, anatomy: Anatomy, same_side: Array
) -> Array:
    """Spreads far in white matter and hardly in grey: its edge runs into the gyri like fingers."""
    tides = noise(rng, 17.0).on(grid)
    fingers = noise(rng, 6.0).on(grid)
    reach = np.float32(plan.oedema_mm) * (1 + np.float32(0.42) * tides + np.float32(0.28) * fingers)
    # The depth below the pia is noisy where sulci meet; a wide ramp keeps the fingers smooth.
    passable = np.clip(np.float32(0.12) + (anatomy.pial_mm - np.float32(1.2)) / np.float32(3.2), 0.12, 1)
    passable = passable * (1 - np.float32(0.55) * (anatomy.deep_grey_mm > 0))
    spread = reach * passable + core
    tissue = np.minimum(anatomy.pial_mm - np.float32(0.3), -anatomy.ventricle_mm - np.float32(0.4))
    spread -= np.float32(1.3) * np.maximum(-same_side, 0)  # through the callosum, but not far beyond
    halves = np.maximum(same_side - np.float32(1.0), anatomy.bridge_mm)
    return np.minimum(np.minimum(spread, tissue), np.minimum(halves, anatomy.cerebrum_mm - np.float32(2.0)))
