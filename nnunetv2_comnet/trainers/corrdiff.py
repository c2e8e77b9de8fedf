"""Stage 2: `nnUNetv2_train DatasetXXX 3d_fullres F -tr nnUNetTrainerCoMNeTCorrDiff` trains fold F's refiner.

Stage 1 must have been trained before, with the same dataset, plans and configuration; its checkpoints stay frozen.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from nnunetv2_comnet.errors import ConfigurationError
from nnunetv2_comnet.plans import SECTION
from nnunetv2_comnet.refinement.crop import crop, crop_boxes
from nnunetv2_comnet.refinement.network import RefinedNetwork
from nnunetv2_comnet.refinement.objective import TERMS, USAGE, RefinerObjective, draw, total
from nnunetv2_comnet.refinement.quantizer import perplexity
from nnunetv2_comnet.refinement.refiner import Refiner, Sampling
from nnunetv2_comnet.settings import RefinerSettings, Settings, parse_settings
from nnunetv2_comnet.strengths.strengths_file import STRENGTHS, read_strengths
from nnunetv2_comnet.trainers.batches import KeptPatches
from nnunetv2_comnet.trainers.frozen_stage import FrozenStageTrainer
from nnunetv2_comnet.trainers.mednext import nnUNetTrainerCoMNeT
from nnunetv2_comnet.trainers.user_errors import one_line_errors

DEAD_BELOW = 0.05  # of the codebook's size


class nnUNetTrainerCoMNeTCorrDiff(FrozenStageTrainer):
    """The paper's stage 2 on out-of-fold coarse maps; everything but its network and loss is stage 1's."""

    stage_1 = nnUNetTrainerCoMNeT
    has_deep_supervision = False
    changes: ClassVar[Mapping[str, Any]] = {}  # of the refiner's settings: what the study's variants differ in
    _patches_drawn = 0  # in this epoch
    _coarse_logits: Tensor | None = None  # of the current validation patch

    def _settings_of_this_stage(self, settings: Settings, plans: dict[str, Any]) -> Settings:
        """Returns the refiner's own epochs and patience, and writes the settings into the saved plans."""
        refiner = RefinerSettings.model_validate({**settings.refiner.model_dump(), **self.changes})
        settings = settings.model_copy(update={"refiner": refiner})
        plans[SECTION] = settings.model_dump(mode="json")
        return settings.of_stage_2()

    @classmethod
    def _network(
        cls, plans: Any, configuration: Any, input_channels: int, output_channels: int, deep_supervision: bool
    ) -> nn.Module:
        """Builds frozen MedNeXt and refiner in one, as the plans' settings say; it has one output."""
        coarse = cls.stage_1._network(plans, configuration, input_channels, output_channels, False)
        return build_refined_network(coarse, plans.plans, input_channels, output_channels, configuration.patch_size)

    @one_line_errors
    def initialize(self) -> None:
        """Builds network and optimiser."""
        super().initialize()
        self.refined.objective = RefinerObjective(
            smooth=self.settings.smoothing, has_ignore_channel=self.label_manager.ignore_label is not None
        )
        if self.is_ddp:  # the encoder is left out of the loss once the codes are learned
            bare = self._bare_network()
            self.network = nn.parallel.DistributedDataParallel(
                bare, device_ids=[self.local_rank], find_unused_parameters=True
            )

    def _do_i_compile(self) -> bool:
        """Returns False: sampling is a loop over the denoiser, and a graph of 25 copies of it would be of no use."""
        return False

    @property
    def refined(self) -> RefinedNetwork:
        """The network without wrappers."""
        network = self._bare_network()
        assert isinstance(network, RefinedNetwork)
        return network

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self._patches_drawn = 0
        self._usage = torch.zeros(self.refined.refiner.quantizer.size, device=self.device)

    def _training_loss(self, data: Tensor, target: Any, keys: list[str]) -> tuple[Tensor, dict[str, Any]]:
        """Computes the four terms on out-of-fold maps; randomness is a function of seed, epoch and patch number."""
        logits, generator = self._coarse_map(data, keys), self._generator()
        low, high = (math.log(value) for value in self.settings.refiner.temperature)
        logits = logits / math.exp(low + (high - low) * float(torch.rand((), generator=generator)))
        data, logits, target = self._crops(data, logits, target, generator)
        refined = self.refined
        learn_codes = self.current_epoch < self.settings.refiner.codes_epochs
        if learn_codes and refined.refiner.config.objective == "diffusion":
            with torch.autocast(self.device.type, enabled=False):
                refined.objective.update_codes(refined.refiner, logits, target, generator)
        drawn = draw(refined.refiner, tuple(logits.shape), generator)
        terms = self.network(data, logits, target, drawn, learn_codes=learn_codes)
        self._usage += terms.get(USAGE, 0)
        return total(terms, self.settings.refiner.loss_weights), {name: float(terms[name].detach()) for name in TERMS}

    def _coarse_map(self, data: Tensor, keys: list[str]) -> Tensor:
        """Returns out-of-fold logits of a training patch, from memory where the epochs share their patches."""
        if not self.settings.refiner.keep_patches:
            return self.fold_models.logits(data, keys)
        number = self._patches_drawn
        if number not in self._kept_maps:
            self._kept_maps[number] = self.fold_models.logits(data, keys).cpu()
        return self._kept_maps[number].to(self.device)

    def get_dataloaders(self) -> tuple[Any, Any]:
        """Makes the recipe's loaders; with `keep_patches` every epoch has the first one's training patches."""
        training, validation = super().get_dataloaders()
        self._kept_maps: dict[int, Tensor] = {}
        if self.settings.refiner.keep_patches:
            training = KeptPatches(training, self.num_iterations_per_epoch)
        return training, validation

    def _first_batch(self) -> int:
        return 0 if self.settings.refiner.keep_patches else super()._first_batch()

    def _crops(
        self, data: Tensor, logits: Tensor, target: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Cuts refiner patches out of every sample, around voxels that may change: (B * crops, ...)."""
        refiner = self.refined.refiner
        boxes = [
            crop_boxes(openness, refiner.config.patch_size, self.settings.refiner.crops, generator)
            for openness in refiner.gate(logits)
        ]
        data, logits, target = (
            torch.cat([crop(sample, places) for sample, places in zip(volumes, boxes, strict=True)])
            for volumes in (data, logits, target)
        )
        return data, logits, target

    def _generator(self) -> torch.Generator:
        number = self.current_epoch * self.num_iterations_per_epoch + self._patches_drawn
        self._patches_drawn += 1
        words = np.random.SeedSequence([self.seed, number, self.local_rank]).generate_state(2)
        return torch.Generator().manual_seed(int(words[0]) << 31 | int(words[1]) >> 1)

    def _optimiser_step(self) -> None:
        super()._optimiser_step()
        self.refined.update_ema(self.settings.refiner.ema_decay)

    def on_train_epoch_end(self, train_outputs: list[dict[str, Any]]) -> None:
        """Logs each term by itself and how many codes are in use."""
        super().on_train_epoch_end(train_outputs)
        means = {name: float(np.mean([output[name] for output in train_outputs])) for name in TERMS}
        self.print_to_log_file("refiner losses: " + ", ".join(f"{name} {mean:.4f}" for name, mean in means.items()))
        if self.refined.refiner.config.objective == "diffusion":
            self._say_perplexity()

    def _say_perplexity(self) -> None:
        size = self.refined.refiner.quantizer.size
        used = perplexity(self._usage)
        self.print_to_log_file(f"codebook perplexity: {used:.1f} of {size} codes, over the errors of this epoch")
        if used < DEAD_BELOW * size:
            self.print_to_log_file(
                f"WARNING: fewer than {DEAD_BELOW:.0%} of the codebook is in use; if that stays so, plan with "
                "--refiner-quantizer fsq or a smaller --refiner-codebook-size"
            )

    def _validation_output(self, data: Tensor, keys: list[str]) -> Tensor:
        """Computes refined logits of a validation patch by its own fold's model and the averaged refiner."""
        self._coarse_logits = self.fold_models.logits(data, keys)
        refined: Tensor = self.refined.refine(data, self._coarse_logits)
        return refined

    def _validation_counts(self, logits: Tensor, truth: Tensor) -> Any:
        """Counts at every strength that a calibration may choose: the correction only scales with it."""
        assert self._coarse_logits is not None
        coarse, count = self._coarse_logits, super()._validation_counts
        return [count(coarse + strength * (logits - coarse), truth) for strength in STRENGTHS]

    def _validation_dice(self, counts: list[Any]) -> npt.NDArray[np.float64]:
        """Computes each region's Dice at its best strength: selection must not punish what calibration can undo."""
        mean = super()._validation_dice
        dice = np.stack([mean(list(at_strength)) for at_strength in zip(*counts, strict=True)])
        best = np.where(np.isnan(dice).all(axis=0), 0, np.argmax(np.nan_to_num(dice, nan=-1), axis=0))
        self.print_to_log_file(f"best strengths on the validation patches: {[STRENGTHS[index] for index in best]}")
        return dice[best, np.arange(dice.shape[1])]

    @one_line_errors
    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """Validates as nnU-Net does, at the calibrated strengths where there are any (`--val` after calibration)."""
        names = list(self.regions)
        try:
            strengths = read_strengths(Path(self.output_folder_base), names, [self.fold])
        except ConfigurationError as error:
            self.print_to_log_file(f"WARNING: validating at full strength: {error}")
            strengths = None
        if strengths is not None:
            self.print_to_log_file(f"calibrated strengths: {dict(zip(names, strengths, strict=True))}")
            self.refined.strengths = strengths
        super().perform_actual_validation(save_probabilities)


class nnUNetTrainerCoMNeTCorrDiffInFold(nnUNetTrainerCoMNeTCorrDiff):
    """Ablation: trained on coarse maps of its own fold's model, which saw the cases."""

    changes: ClassVar[Mapping[str, Any]] = {"coarse_maps": "in-fold"}


class nnUNetTrainerCoMNeTCorrDiffNoise(nnUNetTrainerCoMNeTCorrDiff):
    """Ablation: the denoiser predicts the noise, as in the paper."""

    changes: ClassVar[Mapping[str, Any]] = {"prediction_type": "epsilon"}


class nnUNetTrainerCoMNeTDeterministic(nnUNetTrainerCoMNeTCorrDiff):
    """Baseline: the refiner's network without diffusion, same inputs and parameters."""

    changes: ClassVar[Mapping[str, Any]] = {"objective": "deterministic"}


def build_refined_network(
    coarse: nn.Module, plans: Mapping[str, Any], image_channels: int, regions: int, patch_size: Sequence[int]
) -> RefinedNetwork:
    """Builds the network of a checkpoint of the refiner's trainer; its patch is no larger than stage 1's on any axis.

    Raises `ConfigurationError` for plans that do not fit.
    """
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
    patch = tuple(min(side, int(whole)) for side, whole in zip(own.patch_size, patch_size, strict=True))
    return RefinedNetwork(
        coarse,
        Refiner(own.model_copy(update={"patch_size": patch}), image_channels=image_channels, regions=regions),
        objective=RefinerObjective(smooth=settings.smoothing, has_ignore_channel=False),
        strengths=strengths,
        sampling=Sampling(own.num_inference_steps),
    )
