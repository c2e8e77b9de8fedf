"""A look at a NIfTI file before a reader's: what is sound passes, what lies is refused without its memory."""

import gzip
import os
import struct
import tracemalloc
import zlib
from pathlib import Path

import nibabel
import numpy as np
import pytest

from nnunetv2_comnet.errors import DataError
from nnunetv2_comnet.nifti import MOST_VOXELS, read_sitk, require_sound, unpacked

VALUES = np.arange(4 * 3 * 2, dtype=np.float32).reshape(4, 3, 2)


def good(kind: type = nibabel.Nifti1Image, order: str = "<", values: np.ndarray = VALUES) -> bytes:
    """A file's bytes by nibabel, in either byte order."""
    header = kind.header_class(endianness=order)
    header.set_data_dtype(values.dtype)
    image = kind(values, None, header)
    image.set_sform(np.diag([-1.0, -1.0, 2.0, 1.0]), 1)
    image.set_qform(np.diag([-1.0, -1.0, 2.0, 1.0]), 1)
    return bytes(image.to_bytes())


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("order", "<>")
def test_both_versions_and_byte_orders_pass_whole(tmp_path: Path, kind: type, order: str) -> None:
    raw = good(kind, order)
    (tmp_path / "a.nii").write_bytes(raw)
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(raw))
    for path in sorted(tmp_path.iterdir()):
        require_sound(path, axes=3)
        assert unpacked(path) == raw


def test_what_follows_the_voxels_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(good() + b"more")
    assert unpacked(tmp_path / "a.nii") == good()


def test_a_gzip_file_may_have_several_members_and_padding(tmp_path: Path) -> None:
    raw = good()
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(raw[:100]) + gzip.compress(raw[100:]) + bytes(600))
    assert unpacked(tmp_path / "a.nii.gz") == raw


@pytest.mark.parametrize(
    ("offset", "form", "value", "said"),
    [
        (40, "h", 0, "0"),
        (40, "h", 8, "8"),
        (42, "h", 0, "0 x 3 x 2"),
        (70, "h", 3, "3"),
        (80, "f", 0.0, "0 x 1 x 2 mm"),
        (80, "f", float("nan"), "nan x 1 x 2 mm"),
        (108, "f", 100.0, "byte 100"),
        (108, "f", float("inf"), "byte inf"),
        (108, "f", 1e30, "header"),
        (280, "f", float("nan"), "affine"),
        (280, "f", 0.0, "affine"),
        (344, "4s", b"ni1\0", "ni1"),
        (0, "i", 12, "NIfTI"),
        (352, "f", float("inf"), "1"),
    ],
)
def test_a_header_that_says_nonsense(tmp_path: Path, offset: int, form: str, value: object, said: str) -> None:
    raw = bytearray(good())
    struct.pack_into("<" + form, raw, offset, value)
    path = tmp_path / "a.nii"
    path.write_bytes(raw)
    with pytest.raises(DataError) as refusal:
        require_sound(path)
    assert str(refusal.value).startswith(str(path))
    assert said in str(refusal.value).removeprefix(str(path))


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_huge_claim_costs_no_memory(tmp_path: Path, ending: str) -> None:
    raw = bytearray(good())
    struct.pack_into("<3h", raw, 42, 800, 800, 800)
    path = tmp_path / f"a{ending}"
    path.write_bytes(gzip.compress(bytes(raw)) if ending == ".nii.gz" else bytes(raw))
    assert MOST_VOXELS > 800**3
    tracemalloc.start()
    with pytest.raises(DataError, match="2048000352"):
        require_sound(path)
    assert tracemalloc.get_traced_memory()[1] < 10e6
    tracemalloc.stop()


def test_a_gzip_bomb_behind_a_small_header_costs_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    parts = [packer.compress(good()), *(packer.compress(bytes(1 << 20)) for _ in range(200)), packer.flush()]
    path.write_bytes(b"".join(parts))
    tracemalloc.start()
    require_sound(path)  # sound: what follows the voxels is nobody's business
    assert tracemalloc.get_traced_memory()[1] < 10e6
    tracemalloc.stop()


@pytest.mark.parametrize("length", [0, 1, 2, 10, 30, 100, -9, -1])
def test_a_gzip_stream_that_is_cut_off(tmp_path: Path, length: int) -> None:
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(good())[:length])
    with pytest.raises(DataError):
        require_sound(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no FIFOs, and no file names of any bytes")
def test_what_is_no_regular_file_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "folder.nii.gz").mkdir()
    os.mkfifo(tmp_path / "pipe.nii.gz")
    (tmp_path / "loop.nii.gz").symlink_to("loop.nii.gz")
    for name in ("folder", "pipe", "loop", "absent", os.fsdecode(b"\xff")):
        with pytest.raises(DataError):
            read_sitk(tmp_path / f"{name}.nii.gz")


def test_axes_and_kind_of_number_where_they_matter(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    for values, said in (
        (VALUES[..., 0], "2 axes"),
        (np.stack([VALUES] * 2, -1), "4 axes"),
        (VALUES.astype(np.complex64), "complex"),
    ):
        path.write_bytes(good(values=values))
        require_sound(path)
        with pytest.raises(DataError, match=said):
            require_sound(path, axes=3)
    path.write_bytes(good(values=VALUES[..., None]))
    require_sound(path, axes=3)
