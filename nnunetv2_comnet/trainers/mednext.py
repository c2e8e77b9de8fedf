"""Stage 1: `nnUNetv2_train DatasetXXX 3d_fullres F -tr nnUNetTrainerCoMNeT` trains a MedNeXt with GRN."""

from typing import Any

import torch
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from torch import nn

from nnunetv2_comnet.trainers.device import tune_for_cpu
from nnunetv2_comnet.trainers.recipe import RecipeTrainer
from nnunetv2_comnet.trainers.user_errors import one_line_errors, refuse_other_weights


class nnUNetTrainerCoMNeT(RecipeTrainer):
    """The paper's stage 1. Obeys the plans' `comnet` section; stock plans get the `paper` preset."""

    @staticmethod
    @one_line_errors
    def build_network_architecture(
        plans_manager: Any,
        configuration_manager: Any,
        num_input_channels: int,
        num_output_channels: int,
        enable_deep_supervision: bool = True,
    ) -> nn.Module:
        """The network that the plans name; nnU-Net's prediction calls this too, and knows no other hook of ours."""
        if not torch.cuda.is_available():
            tune_for_cpu()
        network: nn.Module = get_network_from_plans(
            configuration_manager.network_arch_class_name,
            configuration_manager.network_arch_init_kwargs,
            configuration_manager.network_arch_init_kwargs_req_import,
            num_input_channels,
            num_output_channels,
            allow_init=False,
            deep_supervision=enable_deep_supervision,
        )
        refuse_other_weights(network)
        return network
