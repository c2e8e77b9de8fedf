"""Where a coarse map may be corrected, and how a residual becomes a correction of its logits.

l_final = l + alpha * gate * delta. The gate is a function of the coarse map alone; where it is 0, l_final is l bit for
bit. delta turns the probability p into p + r: logit(p + r) - logit(p), so that no residual means no correction.
"""

import torch
from torch import Tensor

from nnunetv2_comnet.refinement.condition import binary_entropy

LEAST = 1e-2  # p and p + r are clamped to [LEAST, 1 - LEAST] before their logits are taken


def gate(logits: Tensor, *, low: float, high: float, reach: int) -> Tensor:
    """Computes where coarse logits (B, R, D, H, W) may be corrected: the same shape, in [0, 1], float32.

    0 where no voxel within `reach` (along each axis) has a binary entropy above `low` bits, 1 where one has `high` or
    more, linear between. A region that is confidently wrong further inside than `reach` stays as it is.
    """
    entropy = binary_entropy(logits.float().sigmoid())
    for axis in (2, 3, 4):  # one axis after the other: the same cube with fewer comparisons
        entropy = _largest_within(entropy, axis, reach)
    return ((entropy - low) / (high - low)).clamp(0, 1)


def _largest_within(values: Tensor, axis: int, reach: int) -> Tensor:
    """Finds the largest value within `reach` voxels along an axis; on a CPU 8 to 25 times as fast as max_pool3d."""
    largest, side = values.clone(), values.shape[axis]
    for step in range(1, min(reach, side - 1) + 1):
        for to, source in ((0, step), (step, 0)):
            part = largest.narrow(axis, to, side - step)
            torch.maximum(part, values.narrow(axis, source, side - step), out=part)
    return largest


def logit_correction(logits: Tensor, residual: Tensor) -> Tensor:
    """Computes delta (B, R, D, H, W), float32: logit(p + r) - logit(p) with both clamped; exactly 0 where r is."""
    p = logits.float().sigmoid()
    corrected = _Clamp.apply(p + residual.float()) if residual.requires_grad else _clamped(p + residual.float())
    return torch.logit(corrected) - torch.logit(_clamped(p))


def _clamped(p: Tensor) -> Tensor:
    return p.clamp(LEAST, 1 - LEAST)


class _Clamp(torch.autograd.Function):
    """The clamp, with a gradient beyond its ends where that leads back inside.

    Without any, a residual that shot past the wrong end would never learn; with one in both directions, the right end
    would draw it on for ever.
    """

    @staticmethod
    def forward(ctx, p: Tensor) -> Tensor:  # type: ignore[no-untyped-def]  # torch's own context
        ctx.save_for_backward(p)
        return _clamped(p)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        (p,) = ctx.saved_tensors
        outwards = ((p < LEAST) & (gradient > 0)) | ((p > 1 - LEAST) & (gradient < 0))
        return gradient.masked_fill(outwards, 0)
