"""Rules on predictions: nnU-Net's postprocessing.pkl, applied to a label map as nnUNetv2_apply_postprocessing does, or
comnet_postprocessing.json, whose rules may use probabilities and sizes in mm3."""

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nnunetv2_comnet.errors import ConfigurationError, DataError
from nnunetv2_comnet.inference.messages import one_line
from nnunetv2_comnet.inference.options import Options
from nnunetv2_comnet.inference.prediction import Prediction
from nnunetv2_comnet.postprocessing.probability_rules import Thresholds
from nnunetv2_comnet.postprocessing.rule_file import read_rule_file
from nnunetv2_comnet.postprocessing.rule_list import apply_rules
from nnunetv2_comnet.postprocessing.volume import Volume

Labels = npt.NDArray[np.unsignedinteger]
Rules = Callable[[Prediction], Labels]


def load_postprocessing(path: Path, regions: Mapping[str, tuple[int, ...]], options: Options) -> Rules:
    """The function from a prediction to its label map after the rules of a .json file, else of nnU-Net's pickle.

    A pickle can run any code: open only files that you trust. regions, options: those of the predictor. Raises
    `DataError` for a file that is missing or cannot be read, `ConfigurationError` for another kind of file, rules of
    other regions, or rules that decide by thresholds where the options do so too.
    """
    return _of_json(path, regions, options) if path.suffix == ".json" else _of_pickle(path)


def _of_json(path: Path, regions: Mapping[str, tuple[int, ...]], options: Options) -> Rules:
    found = read_rule_file(path)
    labels = found.for_regions(regions)
    if (options.thresholds or options.nested) and any(isinstance(rule, Thresholds) for rule in found.rules):
        raise ConfigurationError(f"{path} has thresholds of its own: leave out --thresholds and --nested, or that rule")

    def apply(prediction: Prediction) -> Labels:
        volume = Volume(prediction.label_map, labels, prediction.spacing_mm, prediction.probabilities)
        return apply_rules(found.rules, volume).labels.astype(prediction.label_map.dtype, copy=False)

    return apply


def _of_pickle(path: Path) -> Rules:
    try:
        with open(path, "rb") as stream:
            content = pickle.load(stream)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    except Exception as error:  # a pickle fails with whatever its content raises
        raise DataError(f"{path} is not a postprocessing.pkl: {one_line(error)}") from error
    functions, keywords = _pair(path, content)

    def apply(prediction: Prediction) -> Labels:
        labels = prediction.label_map
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
