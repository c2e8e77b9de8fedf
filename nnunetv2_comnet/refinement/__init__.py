"""CorrDiff, the refiner: torch alone, no nnU-Net. docs/evidence/method.md has the equations; begin at network.py."""

from nnunetv2_comnet.configurations import RefinerConfig
from nnunetv2_comnet.refinement.network import RefinedNetwork
from nnunetv2_comnet.refinement.objective import RefinerObjective
from nnunetv2_comnet.refinement.refiner import Refiner, Sampling
from nnunetv2_comnet.refinement.volume import RefinedVolume, refine_volume

__all__ = [
    "RefinedNetwork",
    "RefinedVolume",
    "Refiner",
    "RefinerConfig",
    "RefinerObjective",
    "Sampling",
    "refine_volume",
]
