"""From a plans file's settings to the refiner's networks: the one place that knows both."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from nnunetv2_comnet.errors import ConfigurationError
from nnunetv2_comnet.plans import SECTION
from nnunetv2_comnet.refinement.config import RefinerConfig
from nnunetv2_comnet.refinement.network import RefinedNetwork
from nnunetv2_comnet.refinement.objective import RefinerObjective
from nnunetv2_comnet.refinement.refiner import Refiner, Sampling
from nnunetv2_comnet.settings import Axes, RefinerSettings, parse_settings


def fit_refiner_patch(settings: RefinerSettings, patch_size: Sequence[int]) -> Axes:
    """The refiner's patch, no larger than stage 1's along any axis; both divide by 16."""
    z, y, x = (min(side, int(whole)) for side, whole in zip(settings.patch_size, patch_size, strict=True))
    return z, y, x


def refiner_config(
    settings: RefinerSettings, image_channels: int, regions: int, patch_size: Sequence[int]
) -> RefinerConfig:
    """The networks' shape that the settings ask for; patch_size: stage 1's, voxels."""
    return RefinerConfig(
        image_channels=image_channels,
        regions=regions,
        downsampling=settings.downsampling,
        autoencoder_channels=settings.autoencoder_channels,
        latent_channels=settings.latent_channels,
        quantizer=settings.quantizer,
        codebook_size=settings.codebook_size,
        channels=settings.channels,
        training_steps=settings.training_steps,
        parameterisation=settings.parameterisation,
        objective=settings.objective,
        gate_low=settings.gate_low,
        gate_high=settings.gate_high,
        gate_reach=settings.gate_reach,
        snap=settings.snap,
        patch_size=fit_refiner_patch(settings, patch_size),
    )


def build_refined_network(
    coarse: nn.Module, plans: Mapping[str, Any], image_channels: int, regions: int, patch_size: Sequence[int]
) -> RefinedNetwork:
    """The network of a checkpoint of the refiner's trainer. Raises ConfigurationError for plans that do not fit."""
    if SECTION not in plans:
        raise ConfigurationError(
            f"the plans have no '{SECTION}' section, so the refiner's shape is unknown; use the plans.json that was "
            "saved with the checkpoint"
        )
    settings = parse_settings(plans[SECTION], f"section '{SECTION}' of the plans")
    own = settings.refiner
    strengths = own.strength or (1.0,) * regions
    if len(strengths) != regions:
        raise ConfigurationError(f"the plans give {len(strengths)} strengths for {regions} regions; calibrate again")
    return RefinedNetwork(
        coarse,
        Refiner(refiner_config(own, image_channels, regions, patch_size)),
        objective=RefinerObjective(smooth=settings.smoothing, has_ignore_channel=False),
        strengths=strengths,
        sampling=Sampling(steps=own.sampling_steps),
    )
