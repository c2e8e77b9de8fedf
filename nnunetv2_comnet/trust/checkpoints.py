"""Checkpoints without code: what is written is plain, what is read is tensors and plain values and nothing else.

A pickle may name any function and have it called. torch's weights_only reader allows a short list of functions; numpy's
numbers are added to it, since stock nnU-Net keeps its scores in them.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nnunetv2_comnet.errors import DataError

_FORCE, _FORBID = "TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"  # torch's own switches
_REMEDY = "copy it again, or train that fold again"
_SCALAR = np.float64(0).__reduce__()[0]  # what a pickled number of numpy's names
_NUMBERS: list[Any] = [
    np.dtype,
    *{type(np.dtype(kind)) for kind in "?bBhHiIlLqQefd"},
    (_SCALAR, "numpy._core.multiarray.scalar"),
    (_SCALAR, "numpy.core.multiarray.scalar"),  # written with numpy 1
]
torch.serialization.add_safe_globals(_NUMBERS)


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads a checkpoint of nnU-Net or of our trainers, its tensors mapped from the file, on the CPU.

    Raises `DataError` for a file that is missing or damaged, is no checkpoint, or holds anything that could run code.
    """
    if not Path(path).is_file():
        raise DataError(f"{path} cannot be loaded: there is no such file; {_REMEDY}")
    try:
        content = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except Exception as error:  # a broken file fails with whatever its content raises
        raise DataError(_reason(path)) from error
    if not isinstance(content, dict) or not isinstance(content.get("network_weights"), Mapping):
        raise DataError(
            f"{path} cannot be loaded: it is no checkpoint of nnU-Net's, which has network_weights; {_REMEDY}"
        )
    return content


@contextlib.contextmanager
def never_unpickled() -> Iterator[None]:
    """Makes torch.load read with weights_only=True whatever its caller asks for; nnU-Net asks for False."""
    before = {name: os.environ.pop(name, None) for name in (_FORCE, _FORBID)}
    os.environ[_FORCE] = "1"
    try:
        yield
    finally:
        del os.environ[_FORCE]
        os.environ.update({name: value for name, value in before.items() if value is not None})


def plain(value: Any) -> Any:
    """Replaces numpy's and torch's types by Python's: numbers, text, lists, tuples, dicts. Tensors stay."""
    if isinstance(value, Mapping):
        return {plain(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(plain(inner) for inner in value)
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    return str(value) if isinstance(value, torch.device | Path) else value


def _reason(path: str | os.PathLike[str]) -> str:
    try:
        objects = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # not even the list of names can be read
        objects = []
    if objects:
        return (
            f"{path} is refused: beside weights it holds {', '.join(sorted(objects))}, which could run any code; if "
            "you trust its source, nnUNetv2_predict reads it"
        )
    return f"{path} cannot be loaded: it is cut, damaged or no checkpoint; {_REMEDY}"
