"""What hypothesis draws: junk values, valid JSON with parts of it replaced, NIfTI files with bytes of it replaced."""

import copy
import gzip
import struct
from collections.abc import Callable
from typing import Any

import nibabel
import numpy as np
from hypothesis import strategies as st

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 300)
    | st.integers()
    | st.sampled_from([10**400, -(10**30), 1e308, float("inf"), float("nan"), -0.0])
    | st.floats()
    | st.text(max_size=12)
)
JUNK = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The ways to every part of a value, itself included."""
    found = [path]
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        found += _places(part, (*path, key))
    return found


@st.composite
def near(draw: Callable[..., Any], valid: Any) -> Any:
    """A valid value in which some parts are junk, gone, doubled or under another name."""
    value = copy.deepcopy(valid)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(_places(value)))
        if not path:
            if draw(st.integers(0, 9)) == 0:
                return draw(JUNK)
            continue
        holder = value
        for key in path[:-1]:
            holder = holder[key]
        action = draw(st.sampled_from(["junk", "junk", "gone", "renamed", "wrapped"]))
        if action == "junk":
            holder[path[-1]] = draw(JUNK)
        elif action == "wrapped":
            holder[path[-1]] = [holder[path[-1]]]
        elif action == "gone" or isinstance(holder, list):
            del holder[path[-1]]
        else:
            holder[draw(st.text(max_size=8))] = holder.pop(path[-1])
    return value


# (offset, struct format) of the fields of a NIfTI-1 header that a reader acts on.
FIELDS = [
    (0, "i"), (40, "h"), *((40 + 2 * axis, "h") for axis in range(1, 8)), (56, "f"), (68, "h"), (70, "h"), (72, "h"),
    *((76 + 4 * axis, "f") for axis in range(8)), (108, "f"), (112, "f"), (116, "f"), (123, "b"), (252, "h"),
    (254, "h"),    *((256 + 4 * number, "f") for number in range(18)), (344, "4s"), (348, "b"),
]  # fmt: skip
NUMBERS = {
    "h": st.sampled_from([0, 1, -1, 2, 3, 4, 7, 8, 16, 64, 128, 256, 512, 1024, 2048]) | st.integers(-32768, 32767),
    "i": st.sampled_from([348, 540, 0, -1, 1543569408]) | st.integers(-(2**31), 2**31 - 1),
    "b": st.integers(-128, 127),
    "f": st.sampled_from([0.0, 1.0, -1.0, 352.0, 351.0, 1e30, -1e30, 1e-30, 1e9]) | st.floats(width=32),
    "4s": st.sampled_from([b"n+1\0", b"ni1\0", b"n+2\0", b"\0\0\0\0"]) | st.binary(min_size=4, max_size=4),
}  # fmt: skip


def image(dtype: str, seed: int = 0) -> bytes:
    """A good NIfTI-1 file of 6 x 5 x 4 voxels, uncompressed."""
    data = np.random.default_rng(seed).integers(0, 4, (6, 5, 4)).astype(dtype)
    made = nibabel.Nifti1Image(data, np.diag([-1.0, -1.0, 2.0, 1.0]), dtype=data.dtype)
    made.set_qform(made.affine, 1)
    made.set_sform(made.affine, 1)
    return bytes(made.to_bytes())


@st.composite
def nifti_files(draw: Callable[..., Any]) -> tuple[str, bytes]:
    """Ending and content: a good file with some fields, some bytes, its end or its compression spoilt."""
    raw = bytearray(image(draw(st.sampled_from(["uint8", "int16", "float32", "float64"]))))
    for offset, form in draw(st.lists(st.sampled_from(FIELDS), max_size=3)):
        struct.pack_into("<" + form, raw, offset, draw(NUMBERS[form]))
    for place, value in draw(st.lists(st.tuples(st.integers(0, len(raw) - 1), st.integers(0, 255)), max_size=3)):
        raw[place] = value
    content = bytes(raw[: draw(st.integers(0, len(raw)))]) if draw(st.integers(0, 4)) == 0 else bytes(raw)
    ending = draw(st.sampled_from([".nii", ".nii.gz", ".nii.gz"]))
    if ending == ".nii.gz" and draw(st.integers(0, 9)):
        packed = bytearray(gzip.compress(content, mtime=0))
        if draw(st.integers(0, 3)) == 0:
            packed[draw(st.integers(0, len(packed) - 1))] = draw(st.integers(0, 255))
        if draw(st.integers(0, 5)) == 0:
            del packed[draw(st.integers(0, len(packed) - 1)) :]
        content = bytes(packed)
    return ending, content


@st.composite
def masks(draw: Callable[..., Any]) -> Any:
    """Label maps of 6 x 5 x 4 voxels of any type of number, most of them labels, some anything."""
    dtype = np.dtype(
        draw(
            st.sampled_from(
                ["uint8", "int8", "int16", "uint16", "int32", "uint32", "float32", "float64", "int64", "uint64"]
            )
        )
    )
    data = np.random.default_rng(draw(st.integers(0, 9))).integers(0, 4, (6, 5, 4)).astype(dtype)
    odd = st.floats(width=32) if dtype.kind == "f" else st.integers(int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))
    for place, value in draw(st.lists(st.tuples(st.integers(0, data.size - 1), odd), max_size=4)):
        data.flat[place] = value
    return data


NAMES = st.lists(
    st.tuples(
        st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), max_size=12)
        | st.sampled_from(["A", "a", "é", "e\u0301", "..", ".", "-rf", "$(x)", "P 1", "P\n1", "x" * 200]),
        st.sampled_from(["_0000.nii.gz", "_0001.nii.gz", "_0004.nii.gz", ".nii.gz", "_00000.nii.gz", "", "_t1.nii"]),
        st.sampled_from(["file", "file", "file", "folder", "link", "loop", "pipe"]),
    ),
    max_size=8,
)  # fmt: skip
