"""Stage 1: `nnUNetv2_train DatasetXXX 3d_fullres F -tr nnUNetTrainerCoMNeT` trains a MedNeXt with GRN."""

from typing import Any

from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from torch import nn

from nnunetv2_comnet.trainers.recipe import RecipeTrainer


class nnUNetTrainerCoMNeT(RecipeTrainer):
    """The paper's stage 1. Obeys the plans' `comnet` section; stock plans get the `paper` preset."""

    @classmethod
    def _network(
        cls, plans: Any, configuration: Any, input_channels: int, output_channels: int, deep_supervision: bool
    ) -> nn.Module:
        """Builds the network that the plans name."""
        network: nn.Module = get_network_from_plans(
            configuration.network_arch_class_name,
            configuration.network_arch_init_kwargs,
            configuration.network_arch_init_kwargs_req_import,
            input_channels,
            output_channels,
            allow_init=False,
            deep_supervision=deep_supervision,
        )
        return network
