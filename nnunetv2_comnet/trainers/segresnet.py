"""The paper's baseline: `nnUNetv2_train DatasetXXX 3d_fullres F -tr nnUNetTrainerSegResNet` trains MONAI's SegResNet.

Everything but network and loss is `RecipeTrainer`'s, that is, nnUNetTrainerCoMNeT's: only the model differs.
"""

from typing import Any

import numpy as np
import torch
from torch import nn

from nnunetv2_comnet.errors import ConfigurationError
from nnunetv2_comnet.losses import dice_bce_loss
from nnunetv2_comnet.networks.segresnet import SIDE_DIVISOR, segresnet
from nnunetv2_comnet.plans import SECTION
from nnunetv2_comnet.settings import Settings, parse_settings
from nnunetv2_comnet.trainers.recipe import RecipeTrainer
from nnunetv2_comnet.trainers.user_errors import one_line_errors


class nnUNetTrainerSegResNet(RecipeTrainer):
    """SegResNet with standard Dice + BCE, by the plans of nnUNetTrainerCoMNeT, whose `architecture` it passes over."""

    has_deep_supervision = False

    def _settings_of_this_stage(self, settings: Settings, plans: dict[str, Any]) -> Settings:
        """Writes the settings into the plans in full: the network's sizes are saved with the model."""
        plans[SECTION] = settings.model_dump(mode="json")
        return settings

    @classmethod
    def _network(
        cls, plans: Any, configuration: Any, input_channels: int, output_channels: int, deep_supervision: bool
    ) -> nn.Module:
        """Builds SegResNet in the sizes of the plans' `segresnet` settings; it has one output."""
        patch_size = list(configuration.patch_size)
        if any(side % SIDE_DIVISOR for side in patch_size):
            raise ConfigurationError(f"patch {patch_size}: SegResNet needs sides that divide by {SIDE_DIVISOR}")
        sizes = parse_settings(plans.plans.get(SECTION, {}), f"section '{SECTION}' of the plans").segresnet
        return segresnet(sizes, in_channels=input_channels, out_channels=output_channels)

    @one_line_errors
    def initialize(self) -> None:
        """Builds network, optimiser and loss, and logs which."""
        super().initialize()
        self.print_to_log_file(f"network: SegResNet, {self.settings.segresnet}; loss: standard Dice + BCE")

    def _build_loss(self) -> nn.Module:
        """Makes the loss: standard Dice + BCE."""
        return dice_bce_loss(
            smooth=self.settings.smoothing, has_ignore_channel=self.label_manager.ignore_label is not None
        )

    def on_train_epoch_start(self) -> None:
        """Seeds the dropout by the epoch, so that a resumed training goes on as it would have."""
        super().on_train_epoch_start()
        words = np.random.SeedSequence([self.seed, self.current_epoch, self.local_rank]).generate_state(1)
        torch.manual_seed(int(words[0]))
