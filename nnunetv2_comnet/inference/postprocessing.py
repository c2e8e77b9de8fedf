"""Rules on predictions: nnU-Net's postprocessing.pkl, applied to a label map as nnUNetv2_apply_postprocessing does, or
comnet_postprocessing.json, whose rules may use probabilities and sizes in mm3."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nnunetv2_comnet.errors import ConfigurationError
from nnunetv2_comnet.inference.options import Options
from nnunetv2_comnet.inference.prediction import Prediction
from nnunetv2_comnet.postprocessing.probability_rules import Thresholds
from nnunetv2_comnet.postprocessing.rule_file import read_rule_file
from nnunetv2_comnet.postprocessing.rule_list import apply_rules
from nnunetv2_comnet.postprocessing.stock import read_pickle
from nnunetv2_comnet.postprocessing.volume import Volume

Labels = npt.NDArray[np.unsignedinteger]
Rules = Callable[[Prediction], Labels]


def load_postprocessing(path: Path, regions: Mapping[str, tuple[int, ...]], options: Options) -> Rules:
    """The function from a prediction to its label map after the rules of a .json file, else of nnU-Net's pickle.

    regions, options: those of the predictor. Raises `DataError` for a file that is missing, cannot be read or could
    run code, `ConfigurationError` for another kind of file, rules of other regions, or rules that decide by thresholds
    where the options do so too.
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
    steps = read_pickle(path)

    def apply(prediction: Prediction) -> Labels:
        labels = prediction.label_map
        changed: npt.NDArray = labels.astype(np.float32)  # as nnU-Net's readers hand a mask to the functions
        for function, keywords in steps:
            changed = function(changed, **keywords)
        return changed.astype(labels.dtype)

    return apply
