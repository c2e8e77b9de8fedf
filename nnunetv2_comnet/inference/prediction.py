"""The prediction of one patient, and the post-processing of its label map."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from nnunetv2_comnet.errors import ConfigurationError
from nnunetv2_comnet.inference.images import write_label_map
from nnunetv2_comnet.inference.options import Options
from nnunetv2_comnet.postprocessing.probability_rules import Thresholds
from nnunetv2_comnet.postprocessing.rule_file import read_rule_file
from nnunetv2_comnet.postprocessing.rule_list import apply_rules
from nnunetv2_comnet.postprocessing.stock import read_pickle
from nnunetv2_comnet.postprocessing.volume import Volume
from nnunetv2_comnet.refinement.condition import binary_entropy
from nnunetv2_comnet.regions import Labels, Regions


@dataclass(frozen=True)
class Prediction:
    """One patient's maps on the grid of the input images, axes as the model's reader gives them (for NIfTI: z, y, x).

    label_map: (Z, Y, X) uint8. probabilities: (R, Z, Y, X) float32 in [0, 1], R in the order of `regions`.
    disagreement: as probabilities, standard deviation over folds of their probabilities; None for averaged logits.
    spread: as probabilities, standard deviation over the refiner's samples, mean over folds; None where not refined.
    correction: (R, Z, Y, X) float32, what the refiner added to the logits, mean over folds; None where not refined.
    These three are None as well where they were not wanted.
    regions: name -> labels. spacing_mm: of the three axes. properties: nnU-Net's, needed to write the maps.
    writer: nnU-Net's reader and writer of the model's images.
    """

    label_map: Labels
    probabilities: npt.NDArray[np.float32]
    disagreement: npt.NDArray[np.float32] | None
    spread: npt.NDArray[np.float32] | None
    correction: npt.NDArray[np.float32] | None
    regions: Regions
    spacing_mm: tuple[float, ...]
    properties: dict[str, Any]
    writer: Any

    @property
    def entropy(self) -> npt.NDArray[np.float32]:
        """(R, Z, Y, X) float32 in [0, 1]: bits of inside against outside, of the averaged probabilities."""
        entropy: npt.NDArray[np.float32] = binary_entropy(torch.from_numpy(self.probabilities)).numpy()
        return entropy

    @property
    def volumes_mm3(self) -> dict[str, float]:
        """Volume of each region in the label map."""
        return self.regions.volumes_mm3(self.label_map, self.spacing_mm)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the label map on the patient's own grid, whole or not at all; e.g. "patient.nii.gz"."""
        write_label_map(self.writer, self.label_map, Path(path), self.properties)


Rules = Callable[[Prediction], Labels]


def load_postprocessing(path: Path, regions: Mapping[str, tuple[int, ...]], options: Options) -> Rules:
    """Reads rules, of comnet_postprocessing.json or nnU-Net's postprocessing.pkl; returns them as one function.

    Args:
        path: a .json file of ours, whose rules may use probabilities and sizes in mm3, or else nnU-Net's pickle.
        regions: those of the predictor.
        options: those of the predictor.

    Raises:
        DataError: the file is missing, cannot be read, or could run code.
        ConfigurationError: it is another kind of file, has rules of other regions, or thresholds beside the options'.
    """
    return _of_json(path, regions, options) if path.suffix == ".json" else _of_pickle(path)


def _of_json(path: Path, regions: Mapping[str, tuple[int, ...]], options: Options) -> Rules:
    found = read_rule_file(path)
    labels = found.for_regions(regions)
    if (options.thresholds or options.nested) and any(isinstance(rule, Thresholds) for rule in found.rules):
        raise ConfigurationError(f"{path} has thresholds too: leave out --thresholds and --nested, or that rule")

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
