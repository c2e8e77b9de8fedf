"""Reads a NIfTI file whole, as nibabel and SimpleITK see it, and writes one with a single clean affine.

nibabel prefers the sform, SimpleITK under some codes the qform: a file in which the two differ has two geometries, so
it is refused instead of choosing one (NIfTI-1 standard, "method 2" and "method 3").
"""

import functools
import io
import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813 (the field's own spelling)
from nibabel import imageglobals

from nnunetv2_comnet.dataset_conversion.findings import Finding, error
from nnunetv2_comnet.errors import one_line
from nnunetv2_comnet.files import written_whole
from nnunetv2_comnet.grid import Grid
from nnunetv2_comnet.nifti import unpacked, voxels_start

GZIP_LEVEL = 1  # nibabel's own
_GZIP_FORMAT = 31  # zlib's number for a gzip stream; the date in it is 0, so that the same data give the same file


@dataclass(frozen=True)
class Volume:
    """The true values of a file (scaling applied, native byte order), 3-D or with the channels as fourth axis.

    `affine` (4, 4) leads from voxel indices to RAS millimetres. `clean` says that the file can be used as it is:
    compressed, unscaled, qform and sform both set and equal.
    """

    path: Path
    data: npt.NDArray[Any]
    affine: npt.NDArray[np.float64]
    clean: bool

    @property
    def grid(self) -> Grid:
        """The grid of the three axes in space."""
        return Grid.from_affine(self.data.shape[:3], self.affine)


def read_volume(path: Path, tolerance: float, n_channels: int = 0) -> tuple[Volume | None, list[Finding]]:
    """Reads `path`: a volume, or None and the reasons. `n_channels` > 0 asks for a fourth axis of that length."""
    try:
        raw = unpacked(path)
        image = _parsed(raw[: voxels_start(raw)])
        data, scaled = _values(image, raw)
    except MemoryError:  # not the file's fault
        raise
    except Exception as problem:  # whatever a broken file makes the reader raise is the file's defect
        return None, [error("unreadable", f"{path.name} cannot be read: {one_line(problem)}")]
    shape = data.shape
    if n_channels and (len(shape) != 4 or shape[3] != n_channels):
        return None, [error("not-3d", f"{path.name} has shape {shape}; expected 4-D with {n_channels} channels")]
    if not n_channels and len(shape) != 3:
        return None, [error("not-3d", f"{path.name} has {len(shape)} axes, shape {shape}; expected a 3-D volume")]
    if data.dtype.kind not in "iuf" or 0 in shape:
        return None, [error("unreadable", f"{path.name} holds {data.dtype} of shape {shape}, not one number per voxel")]
    affine, findings = _affine(path, image, shape[:3], tolerance)
    if affine is None:
        return None, findings
    codes = int(image.header["qform_code"]), int(image.header["sform_code"])
    clean = path.name.endswith(".nii.gz") and min(codes) > 0 and not scaled
    return Volume(path, data, affine, clean), findings


def _parsed(raw: memoryview) -> Any:
    kind = nib.Nifti2Image if raw[:4] in (b"\x1c\x02\0\0", b"\0\0\x02\x1c") else nib.Nifti1Image
    imageglobals.logger.disabled = True  # the defect is reported by us, with the file's name
    try:
        return kind.from_bytes(bytes(raw))
    finally:
        imageglobals.logger.disabled = False


def _values(image: Any, raw: memoryview) -> tuple[npt.NDArray[Any], bool]:
    """Returns the values, and whether the header scales them. Scaled integers that stay whole are kept as integers."""
    proxy = image.dataobj
    if (proxy.slope, proxy.inter) == (1.0, 0.0):
        data = _in_place(proxy, raw)
        too_long = data.dtype.kind == "f" and data.dtype.itemsize > 8
        return data.astype(np.float64 if too_long else data.dtype.newbyteorder("="), copy=False), too_long
    data = np.asarray(_parsed(raw).dataobj)
    if np.isfinite(data).all() and (data == np.rint(data)).all():
        peak = np.abs(data).max(initial=0)
        for dtype in (np.int16, np.int32):
            if peak <= np.iinfo(dtype).max:
                return data.astype(dtype), True
    return data.astype(np.float32), True


def _in_place(proxy: Any, raw: memoryview) -> npt.NDArray[Any]:
    """Returns unscaled values as a read-only view of the file's bytes; nibabel would copy them."""
    end = proxy.offset + math.prod(proxy.shape) * proxy.dtype.itemsize
    if end > len(raw):
        return np.asarray(_parsed(raw).dataobj)  # raises, and says what is missing
    return np.ndarray(proxy.shape, proxy.dtype, raw, proxy.offset, order="F")


def _affine(
    path: Path, image: Any, shape: tuple[int, ...], tolerance: float
) -> tuple[npt.NDArray[np.float64] | None, list[Finding]]:
    """Returns the one affine that all readers agree on, or None and the reason.

    No affine at all is an error, not a warning: left and right are then unknown, and readers fill in different ones.
    """
    try:
        qform, q_code = image.header.get_qform(coded=True)
        sform, s_code = image.header.get_sform(coded=True)
    except Exception as problem:  # a broken quaternion
        return None, [error("bad-affine", f"{path.name}: the qform cannot be read: {one_line(problem)}")]
    if not q_code and not s_code:
        text = "neither qform nor sform is set, so left and right are unknown; copy the header of the original scan"
        return None, [error("no-affine", f"{path.name}: {text}")]
    affine = np.asarray(sform if s_code else qform, np.float64)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        return None, [error("bad-affine", f"{path.name}: the affine is singular or not finite")]
    grid = Grid.from_affine(shape, affine)
    if q_code and s_code and (differences := Grid.from_affine(shape, qform).differences(grid, tolerance)):
        text = "; ".join(difference.of_equals for difference in differences)
        return None, [error("qform-sform", f"{path.name}: qform and sform place the image differently ({text})")]
    try:
        seen_by_itk = _grid_of_itk(path)
    except RuntimeError as problem:
        code = "bad-affine" if "orthonormal" in str(problem) else "unreadable"
        return None, [error(code, f"{path.name}: SimpleITK, nnU-Net's reader, refuses it: {_last_line(problem)}")]
    if differences := seen_by_itk.differences(grid, tolerance):
        text = "; ".join(difference.of_equals for difference in differences)
        return None, [error("readers-disagree", f"{path.name}: nibabel and SimpleITK place it differently ({text})")]
    return affine, []


def _grid_of_itk(path: Path) -> Grid:
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    return Grid.from_sitk(reader, 3)


def write_volume(target: Path, data: npt.NDArray[Any], affine: npt.NDArray[np.float64]) -> None:
    """Writes `data` as it is, with qform = sform and both codes 1 (scanner), gzipped, whole or not at all.

    The bytes inside the gzip are those that nibabel writes row by row; here they are compressed in one piece.
    """
    header = _header(data.shape, data.dtype, np.asarray(affine, np.float64).tobytes())
    gzipped = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, _GZIP_FORMAT)
    with written_whole(target) as temporary, open(temporary, "wb") as stream:
        stream.write(gzipped.compress(header))
        stream.write(gzipped.compress(np.asfortranarray(data).T.data))  # x fastest, as the file wants it: no copy
        stream.write(gzipped.flush())


@functools.lru_cache(maxsize=16)  # files of one patient, often of all patients, share it, and nibabel is slow
def _header(shape: tuple[int, ...], dtype: np.dtype[Any], affine_bytes: bytes) -> bytes:
    """Makes the bytes before the voxels; `affine_bytes` are those of a (4, 4) float64."""
    affine = np.frombuffer(affine_bytes).reshape(4, 4)
    image = nib.Nifti1Image(np.broadcast_to(np.zeros((), dtype), shape), affine, dtype=dtype)
    image.header.set_xyzt_units("mm")
    image.set_qform(affine, code=1)
    image.set_sform(image.get_qform(), code=1)  # what the qform can hold, so that both are equal to the last bit
    image.header.set_slope_inter(1, 0)
    header = io.BytesIO()
    image.header.write_to(header)
    return header.getvalue()


def _last_line(problem: Exception) -> str:
    return [line for line in str(problem).splitlines() if line.strip()][-1].strip()
