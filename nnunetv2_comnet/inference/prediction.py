"""What is predicted for one patient."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from nnunetv2_comnet.inference.images import write_label_map
from nnunetv2_comnet.refinement.condition import binary_entropy
from nnunetv2_comnet.regions import Regions


@dataclass(frozen=True)
class Prediction:
    """Maps on the grid of the input images, axes as the model's reader gives them (for NIfTI: z, y, x).

    label_map: (Z, Y, X) uint8. probabilities: (R, Z, Y, X) float32 in [0, 1], R in the order of `regions`.
    disagreement: as probabilities, standard deviation over folds of their probabilities; None for averaged logits.
    spread: as probabilities, standard deviation over the refiner's samples, mean over folds; None where not refined.
    correction: (R, Z, Y, X) float32, what the refiner added to the logits, mean over folds; None where not refined.
    These three are None as well where they were not wanted.
    regions: name -> labels. spacing_mm: of the three axes. properties: nnU-Net's, needed to write the maps.
    writer: nnU-Net's reader and writer of the model's images.
    """

    label_map: npt.NDArray[np.unsignedinteger]
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
