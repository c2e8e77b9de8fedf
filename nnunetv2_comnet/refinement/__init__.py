"""CorrDiff, the refiner: torch alone, no nnU-Net. docs/evidence/method.md has the equations.

In the order of the data: condition.py (image and coarse map, encoded once), crop.py (the parts of a patch that training
takes), residual_vae.py and quantizer.py (the residual as codes), schedule.py and denoiser.py (diffusion of the codes),
sampler.py (its reverse), gate.py (where a residual corrects the logits), refiner.py (all of these in one),
objective.py (the loss), volume.py (whole volumes), network.py (with frozen stage 1: what a checkpoint holds).
"""

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
