"""Reads label maps and maps of numbers, and says in one line what is wrong with one."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nnunetv2_comnet.errors import DataError
from nnunetv2_comnet.files import read_json
from nnunetv2_comnet.grid import Grid
from nnunetv2_comnet.nifti import read_sitk
from nnunetv2_comnet.regions import Regions

ENDING = ".nii.gz"
_LEVELS_UP = 3
_MOST_LABEL = 255
_NO_REGION = ("background", "ignore")


@dataclass(frozen=True)
class Image:
    """Voxels (Z, Y, X) and the grid they lie on."""

    path: Path
    voxels: npt.NDArray[Any]
    grid: Grid


def read_image(path: Path) -> Image:
    """Reads a NIfTI image of three axes; `DataError` where it cannot be read."""
    import SimpleITK

    image = read_sitk(path)
    voxels = SimpleITK.GetArrayFromImage(image)
    if image.GetNumberOfComponentsPerPixel() > 1 or voxels.dtype.kind not in "iuf":
        raise DataError(f"{path} holds colours or complex numbers; one number per voxel is expected")
    if voxels.ndim != 3:
        raise DataError(f"{path} has {voxels.ndim} axes; three are expected, without a channel axis")
    return Image(path, voxels, Grid.from_sitk(image))


def unknown_labels(image: Image, known: Collection[int]) -> str:
    """The labels of an image that are none of `known`, as text; empty where there is none."""
    found = np.unique(image.voxels)
    strange = [value for value in found.tolist() if value != 0 and value not in known]
    return ", ".join(f"{value:g}" for value in strange[:5]) + (", ..." if len(strange) > 5 else "")


def label_map(image: Image) -> npt.NDArray[np.uint8]:
    """The voxels as small integers, after `unknown_labels` found nothing."""
    return image.voxels.astype(np.uint8)


def regions_beside(*folders: Path) -> Regions | None:
    """The regions that a dataset.json in one of the folders, or up to three levels above it, declares: name -> labels.

    A label that is no region counts as a region of its own. None: there is no such file.
    """
    for folder in folders:
        for place in [folder, *folder.resolve().parents[:_LEVELS_UP]]:
            path = place / "dataset.json"
            if path.is_file():
                return _regions(path)
    return None


def _regions(path: Path) -> Regions:
    content = read_json(path)
    labels = content.get("labels") if isinstance(content, dict) else None
    if not isinstance(labels, dict):
        raise DataError(f"{path} has no labels; name the regions in it as nnU-Net's dataset.json does")
    try:
        regions = {
            str(name): tuple(int(label) for label in (value if isinstance(value, list) else [value]))
            for name, value in labels.items()
            if name not in _NO_REGION
        }
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{path} has labels that are no numbers; write numbers or lists of numbers") from error
    if not regions or not all(0 < label <= _MOST_LABEL for members in regions.values() for label in members or (0,)):
        raise DataError(f"{path} must name regions, each with labels from 1 to {_MOST_LABEL}")
    return Regions(regions)
