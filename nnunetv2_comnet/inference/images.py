"""Images read and checked; maps written on the grid, and in the orientation, of the images they were predicted from."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
import SimpleITK
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

from nnunetv2_comnet.errors import ConfigurationError, DataError
from nnunetv2_comnet.files import cannot_write, written_whole
from nnunetv2_comnet.inference.nnunet_output import nnunet_messages_to_log, one_line
from nnunetv2_comnet.nifti import require_sound

Properties = dict[str, Any]
READERS = ("SimpleITKIO", "SimpleITKIOWithReorient", "NibabelIO", "NibabelIOWithReorient")

log = logging.getLogger(__name__)


def require_known_reader(name: str) -> None:
    """Raises `ConfigurationError` for a reader of nnU-Net whose geometry we cannot write back."""
    if name not in READERS:
        raise ConfigurationError(f"the model reads images with {name}; maps can be written for: {', '.join(READERS)}")


def read_images(reader: Any, images: Sequence[Path], channels: Sequence[str]) -> tuple[npt.NDArray, Properties]:
    """Reads one patient's images by nnU-Net's reader: (C, Z, Y, X) float32, and the properties that writing maps needs.

    Raises `DataError` for files that are missing, unreadable, of different sizes, of another number than the channels
    (or none), not finite, or 0 everywhere. Images that lie differently in space get a warning, as in nnU-Net.
    """
    if not images:
        raise DataError("there is no image at all")
    for image in images:
        if not image.is_file():
            raise DataError(f"{image} does not exist")
        require_sound(image, axes=3)
    try:
        with nnunet_messages_to_log() as said:
            data, properties = reader.read_images([str(image) for image in images])
    except MemoryError:  # not the files' fault
        raise
    except Exception as error:  # whatever a reader throws at a broken file
        reason = str(error).rpartition("ERROR: ")[2] or said.getvalue().split("Image files:")[0]  # ITK's own prefix
        raise DataError(f"the images cannot be read together: {one_line(reason)}") from error
    for line in said.getvalue().splitlines():
        if line.startswith("WARNING"):
            log.warning("%s and others: %s", images[0].name, one_line(line.removeprefix("WARNING").lstrip("!: ")))
    if len(data) != len(channels):
        raise DataError(f"expected {len(channels)} channels ({', '.join(channels)}), got {len(data)}")
    if not np.isfinite(data).all():
        raise DataError("the images hold values that are not finite")
    if not data.any():
        raise DataError("all voxels of all images are 0")
    return data, properties


def write_label_map(writer: Any, labels: npt.NDArray, path: Path, properties: Properties) -> None:
    """Writes labels (Z, Y, X, the reader's axes) with nnU-Net's own writer, whole or not at all."""
    with written_whole(path) as temporary:
        writer.write_seg(labels, str(temporary), properties)
        _require_written(temporary, path)


def write_map(values: npt.NDArray, path: Path, properties: Properties) -> None:
    """Writes real values (Z, Y, X, the reader's axes) as float32 NIfTI, whole or not at all.

    nnU-Net's writers take labels only; geometry and orientation are written as they do.
    """
    values = np.ascontiguousarray(values, np.float32)
    with written_whole(path) as temporary:
        if "sitk_stuff" in properties:
            SimpleITK.WriteImage(_sitk_image(values, properties["sitk_stuff"]), str(temporary), True)
        else:
            nibabel.save(_nibabel_image(values, properties["nibabel_stuff"]), temporary)
        _require_written(temporary, path)


def _require_written(written: Path, target: Path) -> None:
    """Raises `OutputError` for a file that SimpleITK cut off silently, as it does where the disk is full."""
    try:
        require_sound(written)
    except DataError as error:
        raise cannot_write(target, "the writer left it unfinished, as on a full disk") from error


def _sitk_image(values: npt.NDArray, geometry: dict[str, Any]) -> Any:
    image = SimpleITK.GetImageFromArray(values)
    image.SetSpacing(geometry["spacing"])
    image.SetOrigin(geometry["origin"])
    image.SetDirection(geometry["direction"])
    if "original_orientation" in geometry:
        image = SimpleITK.DICOMOrient(image, geometry["original_orientation"])
    return image


def _nibabel_image(values: npt.NDArray, geometry: dict[str, Any]) -> Any:
    affine = geometry.get("reoriented_affine", geometry["original_affine"])
    image = nibabel.Nifti1Image(values.transpose(2, 1, 0), affine)
    if "reoriented_affine" in geometry:
        original = io_orientation(geometry["original_affine"])
        image = image.as_reoriented(ornt_transform(axcodes2ornt("RAS"), original))
    return image
