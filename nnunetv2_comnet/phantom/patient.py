"""One generated patient: anatomy, tumour, vessels and four scans, all from one seed."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nnunetv2_comnet.errors import ConfigurationError
from nnunetv2_comnet.phantom import anatomy as anatomies
from nnunetv2_comnet.phantom import tumour as tumours
from nnunetv2_comnet.phantom import vessels
from nnunetv2_comnet.phantom.contrast import Scene, acquire
from nnunetv2_comnet.phantom.fields import Array, VoxelCentres, image_grid, noise, ramp

FINEST_MM, COARSEST_MM = 0.5, 8.0


@dataclass(frozen=True)
class PhantomPatient:
    """Four images and the truth on one grid, axes (z, y, x) = (to superior, to posterior, to left).

    `images` (T1n, T1c, T2w, FLAIR) are int16, 0 outside the brain; `mask` and `automatic_mask` (an imitation of a
    segmentation program's first draft) are uint8 in written labels; `tissue` holds the share of csf, grey, deep_grey,
    white and vessel per voxel, float32.
    """

    images: dict[str, npt.NDArray[np.int16]]
    mask: npt.NDArray[np.uint8]
    automatic_mask: npt.NDArray[np.uint8]
    tissue: dict[str, Array]
    spacing_mm: float


def generate(seed: int | tuple[int, ...], spacing_mm: float = 1.0) -> PhantomPatient:
    """Generates the patient of a seed on the BraTS field of view: 155 x 240 x 240 voxels at 1 mm, fewer if coarser.

    The anatomy is defined in mm: another spacing shows the same patient. Raises `ConfigurationError` for a spacing
    that is no voxel size between 0.5 and 8 mm.
    """
    require_spacing(spacing_mm)
    grid = image_grid(spacing_mm)
    # One stream per purpose: how many numbers one part draws leaves the others as they are.
    streams = [np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(7)]
    plan = tumours.plan(streams[0])
    warp = anatomies.draw_warp(streams[1])
    anatomy = anatomies.build(streams[2], grid, warp, tumours.mass_effect(plan))
    tumour = tumours.grow(plan, streams[3], grid, anatomy)
    brain = anatomy.hull_mm > 0
    tissue = anatomy.fractions(spacing_mm)
    vessel = vessels.share(vessels.draw(streams[4]), grid) * brain
    spot = _ageing(streams[5], grid, anatomy)
    images = acquire(Scene(tissue, vessel, spot, tumour, plan, brain), streams[6], grid)
    mask = tumour.labels() * brain.astype(np.uint8)
    shown = {name: grid.paste(part * brain) for name, part in {**tissue, "vessel": vessel}.items()}
    return PhantomPatient(
        images={name: grid.paste(image) for name, image in images.items()},
        mask=grid.paste(mask),
        automatic_mask=grid.paste(_first_draft(streams[5], grid, mask) * brain.astype(np.uint8)),
        tissue=shown,
        spacing_mm=spacing_mm,
    )


def require_spacing(spacing_mm: float) -> None:
    """Raises `ConfigurationError` for a voxel size that is too fine or too coarse."""
    if not FINEST_MM <= spacing_mm <= COARSEST_MM:
        raise ConfigurationError(
            f"spacing {spacing_mm:g} mm cannot be used; give a voxel size from {FINEST_MM:g} to {COARSEST_MM:g} mm"
        )


def _ageing(rng: np.random.Generator, grid: VoxelCentres, anatomy: anatomies.Anatomy) -> Array:
    """Draws bright caps around the ventricles and spots in deep white matter, as age brings them: not oedema."""
    burden = float(rng.uniform(-0.4, 1.0))
    caps = np.float32(1.5 + 2.0 * burden) + np.float32(1.6) * noise(rng, 9.0).on(grid) + anatomy.ventricle_mm
    spots = (noise(rng, 3.0).on(grid) - np.float32(3.4 - 0.9 * burden)) * np.float32(3)
    deep = ramp(np.minimum(anatomy.pial_mm - np.float32(5), anatomy.cerebrum_mm - np.float32(6)), 2.0)
    return np.float32(0.75) * ramp(np.maximum(caps, spots), 3.0) * deep * ramp(-anatomy.ventricle_mm, 1.0)


def _first_draft(rng: np.random.Generator, grid: VoxelCentres, mask: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Reads the true mask at positions that are off by about a millimetre, as an automatic segmentation would be."""
    from scipy.ndimage import map_coordinates

    index = np.stack(np.meshgrid(*(np.arange(n, dtype=np.float32) for n in grid.shape), indexing="ij"))
    for axis in index:
        axis += np.float32(1.1 / grid.spacing_mm) * noise(rng, 8.0).on(grid)
    return map_coordinates(mask, index, order=0, mode="nearest")
