"""Re-exports only: nnU-Net imports this file as a top-level module, finds the class, and forgets the module again.

The classes live in the installed package, so pickling, lazy imports and class identity are the ordinary ones.
"""

from nnunetv2_comnet.trainers.corrdiff import (
    nnUNetTrainerCoMNeTCorrDiff,
    nnUNetTrainerCoMNeTCorrDiffInFold,
    nnUNetTrainerCoMNeTCorrDiffNoise,
    nnUNetTrainerCoMNeTDeterministic,
)
from nnunetv2_comnet.trainers.mednext import nnUNetTrainerCoMNeT
from nnunetv2_comnet.trainers.segresnet import nnUNetTrainerSegResNet

__all__ = [
    "nnUNetTrainerCoMNeT",
    "nnUNetTrainerCoMNeTCorrDiff",
    "nnUNetTrainerCoMNeTCorrDiffInFold",
    "nnUNetTrainerCoMNeTCorrDiffNoise",
    "nnUNetTrainerCoMNeTDeterministic",
    "nnUNetTrainerSegResNet",
]
