"""From a plans file's settings to the refiner's networks: the one place that knows both."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from nnunetv2_comnet.configurations import Axes
from nnunetv2_comnet.errors import ConfigurationError
from nnunetv2_comnet.plans import SECTION
from nnunetv2_comnet.refinement.network import RefinedNetwork
from nnunetv2_comnet.refinement.objective import RefinerObjective
from nnunetv2_comnet.refinement.refiner import Refiner, Sampling
from nnunetv2_comnet.settings import RefinerSettings, parse_settings


def fit_refiner_patch(settings: RefinerSettings, patch_size: Sequence[int]) -> Axes:
    """The refiner's patch, no larger than stage 1's along any axis; both divide by 16."""
    z, y, x = (min(side, int(whole)) for side, whole in zip(settings.patch_size, patch_size, strict=True))
    return z, y, x


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
    shape = own.model_copy(update={"patch_size": fit_refiner_patch(own, patch_size)})
    return RefinedNetwork(
        coarse,
        Refiner(shape, image_channels=image_channels, regions=regions),
        objective=RefinerObjective(smooth=settings.smoothing, has_ignore_channel=False),
        strengths=strengths,
        sampling=Sampling(own.num_inference_steps),
    )
