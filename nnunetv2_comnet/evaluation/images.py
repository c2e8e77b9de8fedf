"""Label maps and maps of numbers, read with one line that says what is wrong."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nnunetv2_comnet.errors import DataError
from nnunetv2_comnet.grid import Grid
from nnunetv2_comnet.nifti import read_sitk

ENDING = ".nii.gz"


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
    """Lists the labels of an image that are none of `known`, as text; empty where all are known."""
    found = np.unique(image.voxels)
    strange = [value for value in found.tolist() if value != 0 and value not in known]
    return ", ".join(f"{value:g}" for value in strange[:5]) + (", ..." if len(strange) > 5 else "")


def label_map(image: Image) -> npt.NDArray[np.uint8]:
    """Returns the voxels as small integers, after `unknown_labels` found nothing."""
    return image.voxels.astype(np.uint8)
