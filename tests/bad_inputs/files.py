"""Small functions that write bad files; each takes a path, so that a case can say which file it spoils."""

import gzip
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

Spoil = Callable[[Path], object]
DIM, DATATYPE, PIXDIM, VOX_OFFSET, SFORM = 40, 70, 76, 108, 280  # where a NIfTI-1 header has them


def damaged_gzip(path: Path) -> None:
    """The data do not match their checksum, as after a bit was turned over."""
    raw = bytearray(path.read_bytes())
    raw[-8] ^= 0x10
    path.write_bytes(raw)


def cut(path: Path) -> None:
    """The second half of the file is missing, as after a broken download."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def cut_inside(path: Path) -> None:
    """Half of the voxels are missing; the gzip stream itself is whole."""
    raw = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(raw[: 352 + (len(raw) - 352) // 2]))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def text(path: Path) -> None:
    path.write_text("not an image\n")


def zipped_text(path: Path) -> None:
    path.write_bytes(gzip.compress(b"not an image\n" * 100))


def folder(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()


def pipe(path: Path) -> None:
    """A FIFO without a writer: whoever opens it waits for ever."""
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def plug(path: Path) -> None:
    """A socket."""
    path.unlink(missing_ok=True)
    here = Path.cwd()
    os.chdir(path.parent)  # a socket's path must be short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


def with_header(offset: int, form: str, *values: Any) -> Spoil:
    """Other values in the header."""

    def spoil(path: Path) -> None:
        raw = bytearray(gzip.decompress(path.read_bytes()))
        struct.pack_into("<" + form, raw, offset, *values)
        path.write_bytes(gzip.compress(bytes(raw), mtime=0))

    return spoil


def with_voxels(change: Callable[[Any], Any]) -> Spoil:
    """Other voxels on the same grid."""

    def spoil(path: Path) -> None:
        image = nibabel.load(path)
        data = change(np.array(image.dataobj))
        changed = nibabel.Nifti1Image(data, image.affine, dtype=data.dtype)
        changed.set_qform(image.affine, 1)
        changed.set_sform(image.affine, 1)
        nibabel.save(changed, path)

    return spoil


def with_affine(change: Callable[[Any], Any]) -> Spoil:
    """The same voxels elsewhere."""

    def spoil(path: Path) -> None:
        image = nibabel.load(path)
        data, affine = np.array(image.dataobj), change(image.affine.copy())
        moved = nibabel.Nifti1Image(data, None, dtype=data.dtype)
        moved.set_sform(affine, 1)
        try:
            with np.errstate(all="ignore"):
                moved.set_qform(affine, 1)  # holds no shear
        except nibabel.spatialimages.HeaderDataError:  # no quaternion says so
            moved.set_qform(None, 0)
        nibabel.save(moved, path)

    return spoil


def one_voxel(value: float) -> Spoil:
    """A value at one voxel in the middle, as float32."""

    def change(data: Any) -> Any:
        data = data.astype(np.float32)
        data[tuple(side // 2 for side in data.shape)] = value
        return data

    return with_voxels(change)


def mirrored(affine: Any) -> Any:
    """Left and right exchanged, about the origin."""
    return np.diag([-1.0, 1, 1, 1]) @ affine


def shifted(affine: Any) -> Any:
    affine[:3, 3] += [0, 0, 5]
    return affine


def flat(affine: Any) -> Any:
    """Singular: the third axis goes nowhere."""
    affine[:, 2] = 0
    return affine


def sheared(affine: Any) -> Any:
    affine[0, 1] = 0.4
    return affine
