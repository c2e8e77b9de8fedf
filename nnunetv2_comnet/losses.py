"""The losses: DSC++ and Dice per region, binary cross-entropy, and deep supervision (CoMNeT, loss equations).

Everything is computed in float32, also inside autocast (float64 logits stay float64, for checks).
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nnunetv2_comnet.configurations import SMOOTHING
from nnunetv2_comnet.errors import ConfigurationError


def dsc_plus_plus(
    probabilities: Tensor,
    target: Tensor,
    *,
    counted: Tensor | None = None,
    smooth: float = SMOOTHING,
    squared: bool = True,
) -> Tensor:
    """Computes DSC++ of every sample and region: (2 sum py + smooth) / (sum p^2 + sum y^2 + smooth).

    Args:
        probabilities: (B, R, D, H, W), in [0, 1].
        target: The same shape, 0 or 1.
        counted: (B, 1, D, H, W), 1 where a voxel counts and 0 where it is ignored.
        smooth: Epsilon, above 0.
        squared: False leaves the squares out: the standard Dice.

    Returns:
        (B, R), in [0, 1].
    """
    p, y = _float(probabilities), target.to(_float(probabilities).dtype)
    if counted is not None:
        p, y = p * counted, y * counted
    axes = tuple(range(2, p.ndim))
    overlap = (p * y).sum(axes)
    sizes = (p.square() + y.square()).sum(axes) if squared else (p + y).sum(axes)
    return (2 * overlap + smooth) / (sizes + smooth)


class DSCPlusPlusBCELoss(nn.Module):
    """(1 - mean DSC++) + BCE, over regions and samples; squared=False: standard Dice.

    logits: (B, R, D, H, W). target: (B, R, D, H, W), boolean or numeric, 0 or 1; with `has_ignore_channel` one
    channel more, the last, which is 1 where a voxel is ignored (nnU-Net's form for regions). An ignored voxel counts
    in neither term; with no voxel counted the loss is 0 and so is its gradient. Returns a scalar.
    Raises ConfigurationError where the shapes do not fit.
    """

    def __init__(
        self,
        *,
        smooth: float = SMOOTHING,
        squared: bool = True,
        has_ignore_channel: bool = False,
    ) -> None:
        super().__init__()
        if smooth <= 0:
            raise ConfigurationError(f"DSC++: smooth must be above 0 (an absent region is 0/0 without), got {smooth}")
        self.smooth, self.squared, self.has_ignore_channel = smooth, squared, has_ignore_channel

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        expected = (logits.shape[0], logits.shape[1] + self.has_ignore_channel, *logits.shape[2:])
        if tuple(target.shape) != expected:
            raise ConfigurationError(f"loss: expected a target of shape {expected}, got {tuple(target.shape)}")
        with torch.autocast(logits.device.type, enabled=False):
            logits = _float(logits)
            target = target.to(logits.dtype)
            counted = 1 - target[:, -1:] if self.has_ignore_channel else None  # (B, 1, D, H, W)
            regions = target[:, : logits.shape[1]]
            dsc = dsc_plus_plus(logits.sigmoid(), regions, counted=counted, smooth=self.smooth, squared=self.squared)
            return 1 - dsc.mean() + _bce(logits, regions, counted)


def dice_bce_loss(*, smooth: float = SMOOTHING, has_ignore_channel: bool = False) -> DSCPlusPlusBCELoss:
    """Makes standard Dice + BCE, (1 - mean Dice) + BCE, of SegResNet and of the refiner (L_seg)."""
    return DSCPlusPlusBCELoss(smooth=smooth, squared=False, has_ignore_channel=has_ignore_channel)


def _bce(logits: Tensor, target: Tensor, counted: Tensor | None) -> Tensor:
    """Computes binary cross-entropy, mean over counted voxels of all regions and samples; 0 where none is."""
    if counted is None:
        return F.binary_cross_entropy_with_logits(logits, target)
    voxelwise = F.binary_cross_entropy_with_logits(logits, target, reduction="none") * counted
    return voxelwise.sum() / (counted.sum() * logits.shape[1]).clamp(min=1)


def _float(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def deep_supervision_weights(n_levels: int) -> tuple[float, ...]:
    """Computes 1, 1/2, 1/4, ... for n_levels outputs, finest first, divided by their sum."""
    if n_levels < 1:
        raise ConfigurationError(f"deep supervision: needs at least one level, got {n_levels}")
    weights = [0.5**level for level in range(n_levels)]
    return tuple(weight / sum(weights) for weight in weights)


class DeepSupervisionLoss(nn.Module):
    """The sum of one loss over the levels of deep supervision, by `deep_supervision_weights`.

    Called with equally long lists of logits and targets, finest first. Returns a scalar.
    """

    def __init__(self, loss: nn.Module, n_levels: int = 5) -> None:
        super().__init__()
        self.loss, self.weights = loss, deep_supervision_weights(n_levels)

    def forward(self, outputs: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
        if not len(outputs) == len(targets) == len(self.weights):
            raise ConfigurationError(
                f"deep supervision: expected {len(self.weights)} outputs and targets, "
                f"got {len(outputs)} and {len(targets)}"
            )
        levels = zip(self.weights, outputs, targets, strict=True)
        return torch.stack([weight * self.loss(output, target) for weight, output, target in levels]).sum()
