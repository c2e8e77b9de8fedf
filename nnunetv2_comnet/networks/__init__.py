"""The segmentation networks. Nothing here imports more than torch.

In the order of reading: grn.py (the normalisation), blocks.py (MedNeXt's three blocks, as the papers' figure has them),
mednext.py (the network and its sizes), weights.py (official checkpoints, UpKern), segresnet.py (the baseline).
How fast it runs is apart: backends.py chooses the form of every operation, the plain one or one of cpu/ (channels-last
rows in passes that fit the cache) and experimental/ (GPU code that nobody has timed).
"""

from nnunetv2_comnet.networks.mednext import MedNeXt, MedNeXtConfig, mednext, mednext_from_plans
from nnunetv2_comnet.networks.weights import WeightReport, load_mednext_weights, upkern

__all__ = [
    "MedNeXt",
    "MedNeXtConfig",
    "WeightReport",
    "load_mednext_weights",
    "mednext",
    "mednext_from_plans",
    "upkern",
]
