"""Rules for the stock command: nnUNetv2_apply_postprocessing takes a pickle of functions and keyword dicts.

It calls each function on a label map as its reader gives it (float32, the reader's axes), and hands over neither
spacing nor probabilities. So sizes go into the pickle in voxels, and rules on probabilities cannot. A pickle may name
any function and have it called while it is read: here two are known, nnU-Net's own and ours.
"""

import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nnunetv2_comnet.errors import ConfigurationError, DataError
from nnunetv2_comnet.files import written_whole
from nnunetv2_comnet.postprocessing.rule_list import Rules, parse_rule
from nnunetv2_comnet.postprocessing.volume import Volume
from nnunetv2_comnet.regions import Regions

FILE = "postprocessing.pkl"
_FUNCTIONS = {
    ("nnunetv2.postprocessing.remove_connected_components", "remove_all_but_largest_component_from_segmentation"),
    (__name__, "apply_rule"),
}
_LONGEST = 200  # characters of another's message that fit a line of ours
_PROTOCOL = 4  # read by every Python that nnU-Net runs on


def apply_rule(
    segmentation: npt.NDArray[Any], *, rule: Mapping[str, Any], regions: Mapping[str, Sequence[int]]
) -> npt.NDArray[Any]:
    """Applies one rule to a label map (Z, Y, X) of any type, which the result keeps; the pickle names this function.

    rule: parameters as in comnet_postprocessing.json. regions: name -> labels, in dataset.json's order.
    """
    labels = np.rint(segmentation).astype(np.uint16)
    after = parse_rule(rule).applied(Volume(labels, Regions(regions).require_plain_labels()))
    return after.labels.astype(segmentation.dtype)


def stock_rules(rules: Rules, voxel_mm3: float | None) -> Rules:
    """Gives the rules all sizes in voxels of `voxel_mm3` (None: voxels differ between cases).

    Raises `ConfigurationError` that says why the stock command cannot apply them.
    """
    for rule in rules:
        if rule.uses_probabilities:
            raise ConfigurationError(f"'{rule.describe()}' needs probabilities, which the stock command does not have")
        if rule.needs_spacing and voxel_mm3 is None:
            raise ConfigurationError(f"'{rule.describe()}' needs one voxel size, and the cases' voxels differ")
    return tuple(rule if voxel_mm3 is None else rule.in_voxels(voxel_mm3) for rule in rules)


def write_pickle(path: Path, rules: Rules, regions: Mapping[str, Sequence[int]], voxel_mm3: float | None) -> None:
    """Writes nnU-Net's postprocessing.pkl: ([function, ...], [keywords, ...]). Raises as `stock_rules` does."""
    plain = {name: list(labels) for name, labels in regions.items()}
    keywords = [{"rule": rule.as_json(), "regions": plain} for rule in stock_rules(rules, voxel_mm3)]
    with written_whole(path) as temporary, open(temporary, "wb") as stream:
        pickle.dump(([apply_rule] * len(keywords), keywords), stream, protocol=_PROTOCOL)


def read_pickle(path: Path) -> list[tuple[Callable[..., npt.NDArray[Any]], dict[str, Any]]]:
    """Reads the functions of a postprocessing.pkl with their keywords, in order; nothing that it names is called.

    Raises `DataError` for a file that cannot be read or names anything but nnU-Net's function or ours,
    `ConfigurationError` for another kind of pickle.
    """
    try:
        with open(path, "rb") as stream:
            content = _Unpickler(stream).load()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    except _Refused as error:
        raise DataError(
            f"{path} is refused: it names {error}, which could run any code; only the rules of nnU-Net and of "
            "`comnet fit-postprocessing` are read"
        ) from error
    except Exception as error:  # a damaged pickle fails with whatever its content raises
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:_LONGEST]
        raise DataError(f"{path} is not a postprocessing.pkl: {reason}") from error
    return _pairs(path, content)


class _Refused(Exception):  # noqa: N818 - carries a name out of the unpickler
    """What a pickle names beside the functions that are known."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _FUNCTIONS:
            raise _Refused(f"{module}.{name}")
        return _Function(super().find_class(module, name))


@dataclass(frozen=True)
class _Function:
    """Keeps a known function from being called by the pickle itself: this cannot be called."""

    itself: Callable[..., npt.NDArray[Any]]


def _pairs(path: Path, content: Any) -> list[tuple[Callable[..., npt.NDArray[Any]], dict[str, Any]]]:
    pair = list(content) if isinstance(content, tuple | list) else []
    if (
        len(pair) != 2
        or not all(isinstance(part, tuple | list) for part in pair)
        or len(pair[0]) != len(pair[1])
        or not all(isinstance(function, _Function) for function in pair[0])
        or not all(isinstance(words, dict) and all(isinstance(word, str) for word in words) for words in pair[1])
    ):
        raise ConfigurationError(f"{path} is not a postprocessing.pkl: expected functions, and keywords for each")
    return [(function.itself, words) for function, words in zip(*pair, strict=True)]
