"""nnU-Net's postprocessing.pkl, applied to a label map as nnUNetv2_apply_postprocessing does."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nnunetv2_comnet.errors import ConfigurationError, DataError
from nnunetv2_comnet.inference.messages import one_line

Labels = npt.NDArray[np.unsignedinteger]
Rules = Callable[[Labels], Labels]


def load_postprocessing(path: Path) -> Rules:
    """Reads the functions and their keywords. A pickle can run any code: open only files that you trust.

    Raises `DataError` for a file that is missing or cannot be read, `ConfigurationError` for another kind of pickle.
    """
    try:
        with open(path, "rb") as stream:
            content = pickle.load(stream)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    except Exception as error:  # a pickle fails with whatever its content raises
        raise DataError(f"{path} is not a postprocessing.pkl: {one_line(error)}") from error
    functions, keywords = _pair(path, content)

    def apply(labels: Labels) -> Labels:
        changed: npt.NDArray = labels.astype(np.float32)  # as nnU-Net's readers hand a mask to the functions
        for function, arguments in zip(functions, keywords, strict=True):
            changed = function(changed, **arguments)
        return changed.astype(labels.dtype)

    return apply


def _pair(path: Path, content: Any) -> tuple[list[Callable[..., npt.NDArray]], list[dict[str, Any]]]:
    pair = list(content) if isinstance(content, tuple | list) else []
    if (
        len(pair) != 2
        or not all(isinstance(part, tuple | list) for part in pair)
        or len(pair[0]) != len(pair[1])
        or not all(callable(function) for function in pair[0])
        or not all(isinstance(words, dict) for words in pair[1])
    ):
        raise ConfigurationError(f"{path} is not a postprocessing.pkl: expected functions, and keywords for each")
    return list(pair[0]), list(pair[1])
