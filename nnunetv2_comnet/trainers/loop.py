"""One epoch of the paper's training, and its checkpoints: accumulation, clipping, selection, early stopping, resume.

nnU-Net's hooks are overridden one by one, the smallest that serves; what is not named here is nnU-Net's own.
"""

import math
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import distributed, nn

from nnunetv2_comnet.errors import DataError
from nnunetv2_comnet.files import cannot_write, remove_leftovers, written_whole
from nnunetv2_comnet.settings import Settings
from nnunetv2_comnet.trainers.user_errors import one_line_errors
from nnunetv2_comnet.trust.checkpoints import never_unpickled, plain, read_checkpoint

FINAL, BEST, LATEST = "checkpoint_final.pth", "checkpoint_best.pth", "checkpoint_latest.pth"


class PatienceSpent(Exception):  # noqa: N818 - not an error: it leaves nnU-Net's training loop
    """Raised between epochs, caught by `run_training`."""


class EpochLoop(nnUNetTrainer):
    """What happens from the first batch to checkpoint_final.pth; `RecipeTrainer` sets it up."""

    settings: Settings
    my_init_kwargs: dict[str, Any]  # nnU-Net's record of how the trainer was made
    precision: torch.dtype
    accumulation: int
    training_is_over = False  # a finished training was loaded: only its validation is left
    _micro_step = 0

    def run_training(self) -> None:
        """Runs nnU-Net's loop, which patience may end early, unless the training was finished before."""
        if self.local_rank == 0:
            remove_leftovers(self.output_folder)
        if self.training_is_over:
            self.print_to_log_file("this training was finished before; going on with the validation")
            Path(self.output_folder, LATEST).unlink(missing_ok=True)  # left where a kill came between the two
            return
        try:
            super().run_training()
        except PatienceSpent as stop:
            self.print_to_log_file(str(stop))
            self.on_train_end()

    def on_epoch_start(self) -> None:
        """Stops where the last `patience` epochs brought no better mean region Dice."""
        scores = self.logger.get_value("mean_fg_dice", None)
        if scores and self.current_epoch - 1 - best_epoch(scores) >= self.settings.patience:
            raise PatienceSpent(
                f"early stopping: no better mean region Dice in {self.settings.patience} epochs; best was "
                f"{scores[best_epoch(scores)]:.4f} in epoch {best_epoch(scores)}"
            )
        super().on_epoch_start()

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Does one forward and backward pass; the optimiser steps after every `accumulation` of them."""
        data, target = self._to_device(batch)
        if self._micro_step == 0:
            self.optimizer.zero_grad(set_to_none=True)
        self._micro_step = (self._micro_step + 1) % self.accumulation
        complete = self._micro_step == 0
        with self._gradients_synchronised(complete):
            with self._autocast():
                loss, terms = self._training_loss(data, target, batch["keys"])
            self._backward(loss / self.accumulation)
        if complete:
            self._optimiser_step()
        return {"loss": loss.detach().cpu().numpy(), **terms}

    def _training_loss(self, data: torch.Tensor, target: Any, keys: list[str]) -> tuple[torch.Tensor, dict[str, Any]]:
        """Computes the loss of a batch, and what else of it the log shall show (floats by name)."""
        return self.loss(self.network(data), target), {}

    def _backward(self, loss: torch.Tensor) -> None:
        (self.grad_scaler.scale(loss) if self.grad_scaler is not None else loss).backward()

    def _optimiser_step(self) -> None:
        if self.grad_scaler is not None:
            self.grad_scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.max_gradient_norm)
        if self.grad_scaler is not None:
            self.grad_scaler.step(self.optimizer)
            self.grad_scaler.update()
        else:
            self.optimizer.step()

    def validation_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Loss and region counts of one patch of one validation case, the same patch in every epoch."""
        data, target = self._to_device(batch)
        with self._autocast():
            output = self._validation_output(data, batch["keys"])
            loss = self.loss(output, target)
        logits, truth = (output[0], target[0]) if self.enable_deep_supervision else (output, target)
        return {"key": batch["keys"][0], "loss": float(loss), "counts": self._validation_counts(logits, truth)}

    def _validation_counts(self, logits: torch.Tensor, truth: torch.Tensor) -> Any:
        """Counts what `_validation_dice` needs of a case; logits (1, R, D, H, W)."""
        return region_counts(logits, truth, has_ignore_channel=self.label_manager.ignore_label is not None)

    def _validation_dice(self, counts: list[Any]) -> npt.NDArray[np.float64]:
        """Computes each region's Dice over all cases, (R,): what selection and early stopping go by."""
        return mean_dice(counts)

    def _validation_output(self, data: torch.Tensor, keys: list[str]) -> Any:
        """Computes the network's output for a validation batch."""
        return self.network(data)

    def on_validation_epoch_end(self, val_outputs: list[dict[str, Any]]) -> None:
        """Logs each region's Dice and their mean, which selection and early stopping go by."""
        outputs = val_outputs
        if self.is_ddp:
            gathered: list[Any] = [None] * distributed.get_world_size()
            distributed.all_gather_object(gathered, val_outputs)
            outputs = [output for of_rank in gathered for output in of_rank]
        by_case: dict[str, Any] = {output["key"]: output["counts"] for output in outputs}
        dice = self._validation_dice(list(by_case.values()))
        mean = float(np.nanmean(dice)) if np.isfinite(dice).any() else float("nan")
        self.logger.log("mean_fg_dice", mean, self.current_epoch)
        self.logger.log("dice_per_class_or_region", list(dice), self.current_epoch)
        self.logger.log("val_losses", float(np.mean([output["loss"] for output in outputs])), self.current_epoch)
        listed = ", ".join(f"{name} {score:.4f}" for name, score in zip(self.regions, dice, strict=True))
        self.print_to_log_file(f"Dice over {len(by_case)} validation cases: {listed}; mean {mean:.4f}")

    def on_epoch_end(self) -> None:
        """Keeps the best epoch's weights, written before nnU-Net writes the latest."""
        scores = self.logger.get_value("mean_fg_dice", None)
        if best_epoch(scores) == self.current_epoch:
            self.print_to_log_file(f"best mean region Dice so far: {scores[-1]:.4f}")
            self.save_checkpoint(os.path.join(self.output_folder, BEST))
        super().on_epoch_end()

    def on_train_end(self) -> None:
        """Makes the best epoch's weights checkpoint_final.pth."""
        if self.is_ddp:
            distributed.barrier()  # the first process may still be writing the file that all read now
        best = os.path.join(self.output_folder, BEST)
        if os.path.isfile(best) and not self.disable_checkpointing:  # else it is an earlier training's
            checkpoint = read_checkpoint(best)
            self._bare_network().load_state_dict(checkpoint["network_weights"])
            self.print_to_log_file(f"checkpoint_final.pth holds the weights of epoch {checkpoint['current_epoch'] - 1}")
        else:
            self.print_to_log_file("no best checkpoint was written; the last epoch's weights are kept")
        super().on_train_end()
        self.training_is_over = True

    @one_line_errors
    def save_checkpoint(self, filename: str) -> None:
        """Writes nnU-Net's checkpoint whole or not at all, of plain values: it loads with weights_only=True."""
        if self.local_rank != 0 or self.disable_checkpointing:
            super().save_checkpoint(filename)
            return
        log = self.logger.get_checkpoint()
        log.update(plain(log))
        self.my_init_kwargs = plain(self.my_init_kwargs)
        with written_whole(filename) as temporary:
            try:
                super().save_checkpoint(str(temporary))
            except RuntimeError as error:  # what torch's own writer raises on a full disk
                raise cannot_write(filename, str(error).splitlines()[0], "make room") from error

    @one_line_errors
    def load_checkpoint(self, filename_or_checkpoint: Any) -> None:
        """Loads as nnU-Net does; best score and patience are read off the restored log, so nothing more is stored.

        nnU-Net would unpickle; a checkpoint that needs it is refused.
        """
        read_checkpoint(filename_or_checkpoint)
        try:
            with never_unpickled():
                super().load_checkpoint(filename_or_checkpoint)
        except (RuntimeError, KeyError, ValueError) as error:
            reason = " ".join(str(error).split())[:300]
            raise DataError(
                f"checkpoint {filename_or_checkpoint} does not fit this trainer and its plans, or is damaged: {reason}"
            ) from error
        self.training_is_over = os.path.basename(str(filename_or_checkpoint)) == FINAL
        self._complete_log()

    def _complete_log(self) -> None:
        """Fills the log up to one entry an epoch: checkpoint_best is written before its epoch's end is logged."""
        log = self.logger.get_checkpoint()
        for values in log.values():
            values.extend([values[-1]] * (self.current_epoch - len(values)) if values else [])

    def _bare_network(self) -> nn.Module:
        network = self.network.module if self.is_ddp else self.network
        bare: nn.Module = getattr(network, "_orig_mod", network)
        return bare

    def _to_device(self, batch: dict[str, Any]) -> tuple[torch.Tensor, Any]:
        data, target = batch["data"], batch["target"]
        if isinstance(target, list):
            return data.to(self.device, non_blocking=True), [t.to(self.device, non_blocking=True) for t in target]
        return data.to(self.device, non_blocking=True), target.to(self.device, non_blocking=True)

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.precision is torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.precision)

    @contextmanager
    def _gradients_synchronised(self, wanted: bool) -> Iterator[None]:
        """Lets GPUs exchange gradients once per optimiser step, not once per accumulated pass."""
        if self.is_ddp and not wanted:
            with self.network.no_sync():
                yield
        else:
            yield


def best_epoch(scores: list[float]) -> int:
    """Returns the first epoch with the highest score; one without a score (nan) only where there is no other."""
    finite = [score if np.isfinite(score) else -np.inf for score in scores]
    return int(np.argmax(finite))


def learning_rate(epoch: int, settings: Settings) -> float:
    """Computes an epoch's learning rate: from epoch 0 it rises by equal steps to its peak, then falls by half a cosine.

    The peak is reached in the last warm-up epoch; the first epoch after it still has the peak.
    """
    if epoch < settings.warmup_epochs:
        return settings.learning_rate * (epoch + 1) / settings.warmup_epochs
    done = (epoch - settings.warmup_epochs) / max(1, settings.max_epochs - settings.warmup_epochs)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


class EpochSchedule:
    """Sets the learning rate when nnU-Net calls `step(epoch)`; a function of the epoch, so nothing is to be saved."""

    def __init__(self, optimizer: torch.optim.Optimizer, settings: Settings) -> None:
        self.optimizer, self.settings = optimizer, settings

    def step(self, epoch: int) -> None:
        """Sets the rate; nnU-Net calls this at the start of every epoch."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(epoch, self.settings)


@dataclass(frozen=True)
class RegionCounts:
    """Voxels of one case, each array (R,): true positive, false positive, false negative."""

    true_positive: npt.NDArray[np.int64]
    false_positive: npt.NDArray[np.int64]
    false_negative: npt.NDArray[np.int64]


def region_counts(logits: torch.Tensor, truth: torch.Tensor, *, has_ignore_channel: bool) -> RegionCounts:
    """Counts voxels of sigmoid(logits) > 0.5 against the truth, both (1, R, D, H, W); ignored voxels count nowhere."""
    counted = torch.ones_like(truth[:, :1], dtype=torch.bool)
    if has_ignore_channel:
        counted, truth = truth[:, -1:] == 0, truth[:, :-1]
    predicted, truth = (logits > 0) & counted, (truth > 0) & counted

    def voxels(mask: torch.Tensor) -> npt.NDArray[np.int64]:
        counts: npt.NDArray[np.int64] = mask.sum(dim=(0, 2, 3, 4)).cpu().numpy()
        return counts

    return RegionCounts(voxels(predicted & truth), voxels(predicted & ~truth), voxels(~predicted & truth))


def mean_dice(cases: list[RegionCounts]) -> npt.NDArray[np.float64]:
    """Computes the mean over cases of each region's Dice, (R,).

    A case with neither truth nor prediction of a region does not count; without any other the region is nan.
    """
    rows = []
    for case in cases:
        total = 2 * case.true_positive + case.false_positive + case.false_negative
        rows.append(np.where(total > 0, 2 * case.true_positive / np.maximum(total, 1), np.nan))
    table = np.array(rows, dtype=np.float64)
    counted = np.isfinite(table).sum(axis=0)
    return np.where(counted > 0, np.nansum(table, axis=0) / np.maximum(counted, 1), np.nan)
