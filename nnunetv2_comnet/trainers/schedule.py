"""The learning rate of an epoch: linear warm-up, then cosine annealing to zero (paper, training)."""

import math

from torch.optim import Optimizer

from nnunetv2_comnet.settings import Settings


def learning_rate(epoch: int, settings: Settings) -> float:
    """The learning rate of an epoch (from 0): it rises by equal steps to its peak, then falls along a half cosine.

    The peak is reached in the last warm-up epoch; the first epoch after it still has the peak.
    """
    if epoch < settings.warmup_epochs:
        return settings.learning_rate * (epoch + 1) / settings.warmup_epochs
    done = (epoch - settings.warmup_epochs) / max(1, settings.max_epochs - settings.warmup_epochs)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


class EpochSchedule:
    """Sets the learning rate when nnU-Net calls `step(epoch)`; a function of the epoch, so nothing is to be saved."""

    def __init__(self, optimizer: Optimizer, settings: Settings) -> None:
        self.optimizer, self.settings = optimizer, settings

    def step(self, epoch: int) -> None:
        """Called by nnU-Net at the start of every epoch."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(epoch, self.settings)
