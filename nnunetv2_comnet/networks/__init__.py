"""The segmentation networks. Nothing here imports more than torch."""

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
