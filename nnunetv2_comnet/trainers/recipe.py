"""The paper's training, shared by every trainer of ours; a subclass only says which network it trains.

loop.py holds what happens epoch by epoch; this file what is set up once: loss, optimiser, scales, batches.
"""

import contextlib
import os
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from nnunetv2.training.data_augmentation.compute_initial_patch_size import get_patch_size
from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class
from nnunetv2.utilities.crossval_split import generate_crossval_split
from nnunetv2.utilities.default_n_proc_DA import get_allowed_n_proc_DA
from torch import distributed, nn

from nnunetv2_comnet.configurations import STRIDES
from nnunetv2_comnet.crossval import SPLITS
from nnunetv2_comnet.dataset_json import WITH_REGIONS, parse_dataset_json
from nnunetv2_comnet.errors import ConfigurationError, DataError
from nnunetv2_comnet.files import read_checked, write_json
from nnunetv2_comnet.losses import DeepSupervisionLoss, DSCPlusPlusBCELoss
from nnunetv2_comnet.plans import SECTION, apply_settings
from nnunetv2_comnet.settings import Settings, parse_settings
from nnunetv2_comnet.trainers.augmentation import FLIP_AXES, rotation_range, target_transforms, training_transforms
from nnunetv2_comnet.trainers.batches import NumberedLoader, in_order, require_data, seeded
from nnunetv2_comnet.trainers.device import choose_precision, tune_for_cpu
from nnunetv2_comnet.trainers.loop import EpochLoop, EpochSchedule
from nnunetv2_comnet.trainers.user_errors import one_line_errors, refuse_other_weights


class RecipeTrainer(EpochLoop):
    """AdamW, warm-up and cosine, accumulation, clipping, early stopping, best epoch kept (docs: method, stage 1)."""

    has_deep_supervision: ClassVar[bool] = True

    @one_line_errors
    def __init__(
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int,
        dataset_json: dict[str, Any],
        device: torch.device = torch.device("cuda"),  # noqa: B008 - the base class reads its own signature
    ) -> None:
        self.regions = parse_dataset_json(dataset_json, needs=WITH_REGIONS).regions
        settings, origin = apply_settings(plans, configuration)
        self.settings = self._settings_of_this_stage(settings, plans)
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.print_to_log_file(origin)
        settings = self.settings
        self.initial_lr, self.weight_decay = settings.learning_rate, settings.weight_decay
        self.num_epochs, self.save_every = settings.max_epochs, settings.save_every
        self.oversample_foreground_percent = settings.foreground_probability
        self.probabilistic_oversampling = True  # nnU-Net's other rule rounds to no oversampling at batch size 1
        # Selection is by the best epoch, below; nnU-Net's own rule (a moving average) must never claim one.
        self._best_ema = float("inf")
        self.precision, why = choose_precision(settings.precision, self.device)
        self.print_to_log_file(f"precision: {str(self.precision).removeprefix('torch.')} ({why})")
        if self.precision is not torch.float16:
            self.grad_scaler = None
        # Folds begin from different weights and see different patches: an ensemble of five, not one model five times.
        self.seed = settings.seed + (fold if isinstance(fold, int) else 0)
        if self.device.type == "cpu":
            tuned = tune_for_cpu()
            self.print_to_log_file(
                f"CPU: {torch.get_num_threads()} thread(s), denormals flushed, allocator "
                f"{'keeps' if tuned else 'does not keep'} memory"
            )

    def _settings_of_this_stage(self, settings: Settings, plans: dict[str, Any]) -> Settings:
        """Returns what is trained with, from the plans' settings; stage 2 has its own epochs."""
        return settings

    @classmethod
    @one_line_errors
    def build_network_architecture(
        cls,
        plans_manager: Any,
        configuration_manager: Any,
        num_input_channels: int,
        num_output_channels: int,
        enable_deep_supervision: bool = True,
    ) -> nn.Module:
        """Builds the network; stock prediction calls this on the class, and no other hook of ours."""
        if not torch.cuda.is_available():
            tune_for_cpu()
        network = cls._network(
            plans_manager, configuration_manager, num_input_channels, num_output_channels, enable_deep_supervision
        )
        refuse_other_weights(network)
        return network

    @classmethod
    def _network(
        cls, plans: Any, configuration: Any, input_channels: int, output_channels: int, deep_supervision: bool
    ) -> nn.Module:
        """Builds the network that a trainer trains, from nnU-Net's managers of plans and configuration."""
        raise NotImplementedError

    @one_line_errors
    def initialize(self) -> None:
        """Builds the network from seeded initial weights, then optimiser and loss."""
        self.enable_deep_supervision = self.has_deep_supervision
        with seeded(self.seed):
            super().initialize()

    @one_line_errors
    def on_train_start(self) -> None:
        """Refuses data that cannot be trained on; warns where another fold was trained with other settings.

        nnU-Net keeps one plans.json for all folds. Settings are compared by their present names.
        """
        self._prepare()
        saved = os.path.join(self.output_folder_base, "plans.json")
        with contextlib.suppress(DataError, ConfigurationError):  # no file, or unusable: nnU-Net writes it again below
            section = read_checked(saved, dict[str, Any], "delete it").get(SECTION) or {}
            theirs, ours = parse_settings(section, saved), parse_settings(self.plans_manager.plans[SECTION], "plans")
            changed = [name for name in Settings.model_fields if getattr(theirs, name) != getattr(ours, name)]
            if changed:
                self.print_to_log_file(
                    f"WARNING: {saved} was written by a fold trained with other settings ({', '.join(changed)}) and is "
                    "replaced now; train all folds with the same plans"
                )
        super().on_train_start()

    def do_split(self) -> tuple[list[str], list[str]]:
        """Splits as nnU-Net does, but writes the file whole, before nnU-Net would write it in place."""
        path = os.path.join(self.preprocessed_dataset_folder_base, SPLITS)
        if self.fold != "all" and not os.path.isfile(path):
            folder = self.preprocessed_dataset_folder
            cases = sorted(infer_dataset_class(folder).get_identifiers(folder))
            write_json(path, generate_crossval_split(cases, seed=12345, n_splits=5))  # as nnU-Net does
        training, validation = super().do_split()
        return training, validation

    def _prepare(self) -> None:
        """Checks before anything is written: raises `DataError` for data or splits that cannot be trained on."""
        plans = self.plans_manager
        require_data(
            Path(self.preprocessed_dataset_folder),
            Path(self.preprocessed_dataset_folder_base) / SPLITS,
            self.fold,
            f"nnUNetv2_preprocess -d {int(plans.dataset_name[7:10])} -plans_name {plans.plans_name} "
            f"-c {self.configuration_name}",
        )

    def _set_batch_size_and_oversample(self) -> None:
        """Gives each GPU the plans' batch; the rest of the effective batch is accumulated."""
        world_size = distributed.get_world_size() if self.is_ddp else 1
        self.batch_size = self.configuration_manager.batch_size
        effective = self.settings.effective_batch_size
        if effective % (self.batch_size * world_size):
            raise ConfigurationError(
                f"an effective batch of {effective} does not divide over {world_size} GPUs with {self.batch_size} "
                f"patches each; plan with --effective-batch-size {self.batch_size * world_size}, or use fewer GPUs"
            )
        self.accumulation = effective // (self.batch_size * world_size)
        self.num_iterations_per_epoch = self.settings.steps_per_epoch * self.accumulation
        self.print_to_log_file(
            f"patch {list(self.configuration_manager.patch_size)}; effective batch {effective} = {self.batch_size} "
            f"patch(es) x {world_size} process(es) x {self.accumulation} accumulated; "
            f"{self.settings.steps_per_epoch} optimiser steps an epoch"
        )

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, EpochSchedule]:
        """Makes AdamW and its schedule."""
        trained = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(trained, self.initial_lr, weight_decay=self.weight_decay)
        return optimizer, EpochSchedule(optimizer, self.settings)

    def _get_deep_supervision_scales(self) -> list[list[float]] | None:
        """Returns all five scales, 1 to 1/16; nnU-Net's own method drops the last."""
        if not self.enable_deep_supervision:
            return None
        return [list(scale) for scale in 1 / np.cumprod(np.array(STRIDES, float), axis=0)]

    def _build_loss(self) -> nn.Module:
        """Makes the loss: DSC++ + BCE on every scale, no weight zeroed."""
        loss = DSCPlusPlusBCELoss(
            smooth=self.settings.smoothing, has_ignore_channel=self.label_manager.ignore_label is not None
        )
        if not self.enable_deep_supervision:
            return loss
        return DeepSupervisionLoss(loss, n_levels=len(STRIDES))

    def set_deep_supervision_enabled(self, enabled: bool) -> None:
        """Switches the network's coarse outputs on or off, where it has some."""
        if self.has_deep_supervision:
            setattr(self._bare_network(), "deep_supervision", enabled)  # noqa: B010 - nn.Module's type has no such attribute

    def configure_rotation_dummyDA_mirroring_and_inital_patch_size(self) -> tuple[Any, bool, Any, tuple[int, ...]]:  # noqa: N802
        """Sets the recipe's rotation and scaling: the patch that is read must hold the one that is rotated."""
        rotation = rotation_range(self.settings)
        patch_size = self.configuration_manager.patch_size
        to_read = get_patch_size(patch_size, rotation, rotation, rotation, self.settings.scaling)
        self.inference_allowed_mirroring_axes = FLIP_AXES
        return rotation, False, to_read, FLIP_AXES

    def _first_batch(self) -> int:
        """Returns the number of the first batch that the training loader makes: where the last run stopped."""
        return int(self.current_epoch * self.num_iterations_per_epoch)

    def get_dataloaders(self) -> tuple[Any, Any]:
        """Makes loaders whose batches depend on seed and number only, training from where the last run stopped."""
        patch_size = self.configuration_manager.patch_size
        _, _, to_read, _ = self.configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        scales = self._get_deep_supervision_scales()
        regions, ignore = self.label_manager.foreground_regions, self.label_manager.ignore_label
        augmented = training_transforms(
            self.settings, patch_size, scales, regions, ignore, self.configuration_manager.use_mask_for_norm
        )
        plain = ComposeTransforms(target_transforms(scales, regions, ignore))
        training, validation = self.get_tr_and_val_datasets()
        processes = {"rank": self.local_rank, "world_size": distributed.get_world_size() if self.is_ddp else 1}
        self.num_val_iterations_per_epoch = -(-len(validation.identifiers) // processes["world_size"])
        train_loader = NumberedLoader(
            training,
            self.batch_size,
            to_read,
            patch_size,
            self.label_manager,
            oversample_foreground_percent=self.oversample_foreground_percent,
            probabilistic_oversampling=True,
            transforms=augmented,
            seed=self.seed,
            first=self._first_batch(),
            **processes,
        )
        validation_loader = NumberedLoader(
            validation,
            1,
            patch_size,
            patch_size,
            self.label_manager,
            oversample_foreground_percent=1.0,
            transforms=plain,
            seed=self.seed,
            period=self.num_val_iterations_per_epoch,
            **processes,
        )
        workers = get_allowed_n_proc_DA()
        pinned = self.device.type == "cuda"
        return in_order(train_loader, workers, pinned), in_order(validation_loader, min(workers, 2), pinned)
