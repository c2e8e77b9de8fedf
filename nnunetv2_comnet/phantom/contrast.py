"""From tissue to intensity: what each sequence makes of it, then bias field, blur, Rician noise, scanner units."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from nnunetv2_comnet.phantom.fields import Array, VoxelCentres, noise, ramp
from nnunetv2_comnet.phantom.tumour import Tumour, TumourPlan

SEQUENCES = ("T1n", "T1c", "T2w", "FLAIR")

# Relative to white matter = 1 of the same sequence; magnitudes as in skull-stripped clinical glioma scans.
# `spot` are the harmless bright patches of ageing white matter around the ventricles.
TISSUE: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "T1n": {"csf": 0.36, "grey": 0.76, "deep_grey": 0.82, "white": 1.0, "spot": 0.90, "vessel": 0.72},
        "T1c": {"csf": 0.38, "grey": 0.80, "deep_grey": 0.85, "white": 1.0, "spot": 0.90, "vessel": 2.2},
        "T2w": {"csf": 3.6, "grey": 1.42, "deep_grey": 1.12, "white": 1.0, "spot": 1.7, "vessel": 0.9},
        "FLAIR": {"csf": 0.34, "grey": 1.24, "deep_grey": 1.12, "white": 1.0, "spot": 1.85, "vessel": 0.85},
    }
)
# (lowest, highest) over patients.
LESION: Mapping[str, Mapping[str, tuple[float, float]]] = MappingProxyType(
    {
        "T1n": {"necrosis": (0.50, 0.72), "solid": (0.66, 0.82), "enhancing": (0.74, 0.98), "oedema": (0.74, 0.86)},
        "T1c": {"necrosis": (0.46, 0.74), "solid": (0.68, 0.86), "enhancing": (1.35, 2.5), "oedema": (0.74, 0.88)},
        "T2w": {"necrosis": (2.3, 3.3), "solid": (1.8, 2.6), "enhancing": (1.6, 2.3), "oedema": (1.9, 2.6)},
        "FLAIR": {"necrosis": (0.7, 2.2), "solid": (1.5, 2.1), "enhancing": (1.4, 2.1), "oedema": (1.5, 2.2)},
    }
)
_BRAIN_MIN = 1  # inside the brain no voxel is exactly 0: nonzero is how the pipeline finds the brain


@dataclass(frozen=True)
class Scene:
    """What the scanner sees: tissue shares (z, y, x) in 0..1, the tumour, and where there is brain."""

    tissue: Mapping[str, Array]
    vessel: Array
    spot: Array
    tumour: Tumour
    plan: TumourPlan
    brain: npt.NDArray[np.bool_]


def acquire(scene: Scene, rng: np.random.Generator, grid: VoxelCentres) -> dict[str, npt.NDArray[np.int16]]:
    """Takes the four images, int16 in arbitrary scanner units, exactly 0 outside the brain."""
    level = float(rng.uniform(0, 1))  # one draw for all sequences: a wet lesion is wet in each of them
    grain = 1 + np.float32(0.08) * noise(rng, 5.0).on(grid) + np.float32(0.06) * noise(rng, 2.5).on(grid)
    # A stream per sequence: how many voxels the noise fills must not change the next sequence's look.
    streams = {name: np.random.default_rng(rng.integers(2**32, size=4)) for name in SEQUENCES}
    return {name: _sequence(name, scene, streams[name], grid, level, grain) for name in SEQUENCES}


def _sequence(
    name: str, scene: Scene, rng: np.random.Generator, grid: VoxelCentres, level: float, grain: Array
) -> npt.NDArray[np.int16]:
    from scipy.ndimage import gaussian_filter

    gain = float(np.exp(rng.uniform(np.log(220.0), np.log(1900.0))))
    blur_mm, noise_level = float(rng.uniform(0.45, 0.8)), float(rng.uniform(0.015, 0.04))
    signal = _ideal(name, scene, rng, grid, level, grain)
    signal *= np.exp(np.float32(0.12) * noise(rng, 62.0).on(grid) + np.float32(0.03) * noise(rng, 30.0).on(grid))
    signal = gaussian_filter(signal * scene.brain, blur_mm / grid.spacing_mm)
    magnitude = np.rint(rician(signal, noise_level, rng) * np.float32(gain))
    return np.where(scene.brain, np.clip(magnitude, _BRAIN_MIN, 32767), 0).astype(np.int16)


def rician(signal: Array, sigma: float, rng: np.random.Generator) -> Array:
    """Returns the magnitude of a complex signal with normal noise of deviation `sigma` in both parts."""
    real = signal + np.float32(sigma) * rng.standard_normal(signal.shape, dtype=np.float32)
    imaginary = np.float32(sigma) * rng.standard_normal(signal.shape, dtype=np.float32)
    return np.sqrt(real * real + imaginary * imaginary)


def _ideal(name: str, scene: Scene, rng: np.random.Generator, grid: VoxelCentres, level: float, grain: Array) -> Array:
    """Makes the image before the scanner's effects: healthy tissue, then oedema, core and rim laid over it."""
    look = {tissue: value * float(np.exp(rng.normal(0, 0.035))) for tissue, value in TISSUE[name].items()}
    lesion = {}
    for part, (low, high) in LESION[name].items():
        share = np.clip((level if name in ("T2w", "FLAIR") else 0.5) + rng.uniform(-0.5, 0.5), 0, 1)
        lesion[part] = low + (high - low) * float(share)
    width = max(grid.spacing_mm, 1.0)
    tumour = scene.tumour
    image = np.zeros(grid.shape, np.float32)
    for tissue, filled in scene.tissue.items():
        image += np.float32(look[tissue]) * filled
    image *= 1 + np.float32(0.025) * noise(rng, 4.0).on(grid)
    _lay(image, scene.spot, np.float32(look["spot"]))
    _lay(
        image,
        np.float32(0.92) * ramp(tumour.oedema_mm, 5.0),
        np.float32(lesion["oedema"]) * (1 + np.float32(0.45) * (grain - 1)),
    )
    core = "necrosis" if scene.plan.enhancing else "solid"
    _lay(image, ramp(tumour.core_mm, width + 0.5), np.float32(lesion[core]) * grain)
    _lay(image, ramp(tumour.enhancing_mm, width), np.float32(lesion["enhancing"]) * grain**2)
    flow = 1 + np.float32(0.25) * noise(rng, 9.0).on(grid)
    _lay(image, scene.vessel * (1 - ramp(tumour.core_mm, 2.0)), np.float32(look["vessel"]) * flow)
    return image


def _lay(image: Array, share: Array, value: Array | np.float32) -> None:
    """Lays a tissue over the image, in place."""
    image += share * (value - image)
