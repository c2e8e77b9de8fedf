"""Checks a NIfTI file before a reader opens it: a wrong header or damaged data ends in a line, not in lost memory.

Readers allocate what a header claims, wait for ever on a FIFO, and stop before the checksum of a gzip stream. Offsets
are those of the NIfTI-1 and NIfTI-2 standards.
"""

import itertools
import math
import stat
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnunetv2_comnet.errors import DataError

MOST_VOXELS = 1 << 29  # 800 a side, 2 GiB as float32; a whole-body CT at 1 mm has a quarter of it
ENDINGS = (".nii", ".nii.gz")
_PIECE = 1 << 20
_MOST_PACKED = 1032  # deflate's best: so many bytes out of one
_GZIP_FORMAT = 31  # zlib's number for a gzip stream, checksum included
# Bits of a voxel by the standard's code of its data type.
_BITS = {
    1: 1, 2: 8, 4: 16, 8: 32, 16: 32, 32: 64, 64: 64, 128: 24, 256: 8, 512: 16, 768: 32, 1024: 64, 1280: 64,
    1536: 128, 1792: 128, 2048: 256, 2304: 32,
}  # fmt: skip
_FLOATS = {16: "f4", 64: "f8"}
_REAL = (2, 4, 8, 16, 64, 256, 512, 768, 1024, 1280, 1536)
_LEAST_DETERMINANT = 1e-9  # mm3
_LONGEST_HEADER = 540


@dataclass(frozen=True)
class _Kind:
    """Where a version of the standard keeps each entry of the header: struct format and offset in bytes."""

    size: int
    dim: tuple[str, int]
    datatype: tuple[str, int]
    pixdim: tuple[str, int]
    vox_offset: tuple[str, int]
    codes: tuple[str, int]  # of qform and sform
    qform: tuple[str, int]  # quaternion and offset
    sform: tuple[str, int]


@dataclass(frozen=True)
class _Layout:
    """What a header says: byte order, the data type's code, voxels along each axis, their first and last byte."""

    order: str
    code: int
    sides: tuple[int, ...]
    start: int
    end: int


_NIFTI_1 = _Kind(348, ("8h", 40), ("h", 70), ("8f", 76), ("f", 108), ("2h", 252), ("6f", 256), ("12f", 280))
_NIFTI_2 = _Kind(540, ("8q", 16), ("h", 12), ("8d", 104), ("q", 168), ("2i", 344), ("6d", 352), ("12d", 400))


def require_sound(path: Path, *, whole: bool = True, axes: int | None = None) -> None:
    """Raises `DataError` unless `path` is a regular file and, if it has the ending of one, a sound NIfTI image.

    ITK silently replaces NaN and infinity by 0: they are refused here.

    Args:
        path: The file.
        whole: Whether it is read to its end, or its header alone.
        axes: How many axes it must have, with one real number per voxel; last axes of length 1 do not count.
    """
    try:
        if not path.name.endswith(ENDINGS):
            _require_regular(path)
        elif whole:
            _require_usable(unpacked(path), axes)
        else:
            next(_pieces(path))
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or problem
        raise DataError(f"{path} cannot be read: {reason}; copy or make it again") from problem


def read_sitk(path: Path) -> Any:
    """Reads a SimpleITK image. Raises `DataError` for a file that is damaged or no image."""
    import SimpleITK

    require_sound(path)
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)  # our one line says what is wrong
    try:
        return SimpleITK.ReadImage(str(path))
    except RuntimeError as error:
        raise DataError(f"{path} cannot be read as an image; copy or predict it again") from error


def unpacked(path: Path) -> memoryview:
    """Reads header and voxels, uncompressed, read-only. Raises ValueError with the reason, or OSError."""
    pieces = _pieces(path)
    head = next(pieces)
    whole = np.empty(_layout_of(head).end, np.uint8).data  # no memory is taken before it is filled
    at = 0
    for piece in itertools.chain([head], pieces):  # faster than to join them at the end
        whole[at : at + len(piece)] = piece
        at += len(piece)
    return whole.toreadonly()


def _pieces(path: Path) -> Iterator[bytes]:
    """Yields header and voxels piece by piece, then reads to the end of the file, so that zlib checks its checksum."""
    _require_regular(path)
    size = path.stat().st_size
    packed = path.name.endswith(".gz")
    with open(path, "rb") as stream:
        raw: Iterator[bytes] = iter(lambda: stream.read(_PIECE), b"")
        source = _gunzipped(raw) if packed else raw
        head = b""
        while len(head) < _LONGEST_HEADER and (piece := next(source, b"")):
            head += piece
        end = _layout_of(head).end
        most = size * _MOST_PACKED if packed else size
        if end > most:
            raise ValueError(f"its header claims {end} bytes, more than its {size} bytes can hold")
        yield head[:end]
        seen = len(head)
        for piece in source:
            if seen < end:
                yield piece[: end - seen]
            seen += len(piece)
    if seen < end:
        raise ValueError(f"it ends after {seen} of {end} bytes")


def _require_regular(path: Path) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError:  # SimpleITK silently ends the process
        raise ValueError("its path is no UTF-8") from None
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        raise ValueError("it is a folder, not a file" if stat.S_ISDIR(mode) else "it is no regular file")


def _gunzipped(raw: Iterator[bytes]) -> Iterator[bytes]:
    """Unpacks a gzip file of one member or several; zeros after the last are padding."""
    left = next(raw, b"")
    if left[:2] != b"\x1f\x8b":
        raise ValueError("it is not gzipped" if left else "it is empty")
    while left:
        member = zlib.decompressobj(_GZIP_FORMAT)
        try:
            while not member.eof:
                left = member.unconsumed_tail or left or next(raw, b"")
                if not left:
                    raise ValueError("its gzip stream is cut off")
                if piece := member.decompress(left, _PIECE):
                    yield piece
                left = b""
        except zlib.error as error:
            raise ValueError("its gzip stream is damaged") from error
        left = member.unused_data.lstrip(b"\0")
        while not left and (more := next(raw, b"")):
            left = more.lstrip(b"\0")


def _require_usable(raw: memoryview, axes: int | None) -> None:
    head = bytes(raw[:_LONGEST_HEADER])
    layout = _layout_of(head)
    _require_place(head)
    sides = list(layout.sides)
    while len(sides) > (axes or 0) and sides[-1] == 1:
        sides.pop()
    if axes is not None and len(sides) != axes:
        raise ValueError(f"it has {len(sides)} axes where {axes} are expected")
    if axes is not None and layout.code not in _REAL:
        raise ValueError("it holds colours, bits or complex numbers, not one real number per voxel")
    if layout.code not in _FLOATS:
        return
    kind = np.dtype(layout.order + _FLOATS[layout.code])
    values = np.frombuffer(raw, kind, math.prod(layout.sides), layout.start)
    if count := values.size - int(np.count_nonzero(np.isfinite(values))):
        raise ValueError(f"it has {count} voxels that are NaN or infinite")


def _require_place(head: bytes) -> None:
    """Raises ValueError for an affine that is not finite or singular; ITK would write pages on standard error."""
    kind, order = _kind(head)
    q_code, s_code = struct.unpack_from(order + kind.codes[0], head, kind.codes[1])
    qform, sform = (np.array(struct.unpack_from(order + form, head, at)) for form, at in (kind.qform, kind.sform))
    if (q_code > 0 and not np.isfinite(qform).all()) or (s_code > 0 and not np.isfinite(sform).all()):
        raise ValueError("its affine is not finite")
    if s_code > 0 and abs(np.linalg.det(sform.reshape(3, 4)[:, :3])) < _LEAST_DETERMINANT:
        raise ValueError("its affine is singular")


def voxels_start(raw: memoryview) -> int:
    """Finds the first byte of the voxels in what `unpacked` has returned."""
    return _layout_of(bytes(raw[:_LONGEST_HEADER])).start


def _layout_of(head: bytes) -> _Layout:
    """Reads the header. Raises ValueError for one that cannot be true."""
    kind, order = _kind(head)

    def read(place: tuple[str, int]) -> tuple[float, ...]:
        return struct.unpack_from(order + place[0], head, place[1])

    n_axes, *sides = (int(value) for value in read(kind.dim))
    if not 1 <= n_axes <= 7:
        raise ValueError(f"its header says {n_axes} axes")
    sides = sides[:n_axes]
    shape = " x ".join(str(side) for side in sides)
    if min(sides) < 1:
        raise ValueError(f"its header says {shape} voxels")
    if math.prod(sides) > MOST_VOXELS:
        raise ValueError(f"its header claims {shape} voxels, more than the {MOST_VOXELS} that are read")
    code = int(read(kind.datatype)[0])
    if code not in _BITS:
        raise ValueError(f"its data type {code} is none of NIfTI's")
    spacing = read(kind.pixdim)[1 : 1 + min(n_axes, 3)]
    if not all(math.isfinite(value) and value > 0 for value in spacing):
        raise ValueError(f"its voxels measure {' x '.join(f'{value:g}' for value in spacing)} mm; each must be above 0")
    offset = read(kind.vox_offset)[0]
    first = kind.size + 4
    if not (offset == 0 or (math.isfinite(offset) and offset >= first)):
        raise ValueError(f"its voxels begin at byte {offset:g}, within the header")
    start = int(offset or first)
    return _Layout(order, code, tuple(sides), start, start - (-math.prod(sides) * _BITS[code] // 8))


def _kind(head: bytes) -> tuple[_Kind, str]:
    """Finds version and byte order."""
    for kind, magic, place in ((_NIFTI_1, b"n+1\0", 344), (_NIFTI_2, b"n+2\0", 4)):
        for order in "<>":
            if head[:4] == struct.pack(order + "i", kind.size):
                if head[place : place + 4] != magic:
                    raise ValueError(f"its header ends in {head[place : place + 4]!r}, not in {magic!r}")
                if len(head) < kind.size:
                    raise ValueError("it ends within its header")
                return kind, order
    raise ValueError("it is no NIfTI image" if head else "it is empty")
