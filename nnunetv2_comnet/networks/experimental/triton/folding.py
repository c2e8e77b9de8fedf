"""The group norm folded into the expansion, and what its statistics add to the gradients; plain torch, no voxels.

With one group per channel the norm is x * a + (beta - a * mean), a = weight / deviation, so that the expansion of the
normalised input is an expansion of the input itself: (W a) x + (b + W beta - (W a) mean). The folded weights are
rounded to the type of x, and the bias is made of the rounded ones: their error then multiplies x - mean, not x, which
keeps half precision as good as the unfolded form however far the mean lies from zero.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Norm:
    """A group norm with one group per channel. mean, deviation_inverse: (B, C); weight, bias: (C,); all float32."""

    mean: Tensor
    deviation_inverse: Tensor
    weight: Tensor
    bias: Tensor


@dataclass(frozen=True)
class Moments:
    """Sums over voxels of the gradient du of the expansion's output: times the input (B, E, C), and alone (B, E)."""

    by_input: Tensor
    alone: Tensor


def moments_of(partial: Tensor, batch: int, eps: float) -> tuple[Tensor, Tensor]:
    """Joins every part's count, mean and squared deviations (3, B * C, parts): the mean and 1 / deviation, (B, C).

    The deviation is sqrt(variance + eps), as the norm divides by it.
    """
    count, mean, deviations = partial.unbind(0)
    total = count.sum(dim=1)
    center = (count * mean).sum(dim=1) / total
    variance = (deviations + count * (mean - center[:, None]) ** 2).sum(dim=1) / total
    return center.view(batch, -1), torch.rsqrt(variance + eps).view(batch, -1)


def folded(weight: Tensor, bias: Tensor, norm: Norm, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Folds the norm into weight (E, C) and bias (E,): (B, E, C) in `dtype` and (B, E) in float32."""
    weight = weight.float()
    rounded = (weight * (norm.weight * norm.deviation_inverse)[:, None, :]).to(dtype).contiguous()
    constant = bias.float() + (weight * norm.bias).sum(dim=1)
    return rounded, constant - (rounded.float() * norm.mean[:, None, :]).sum(dim=2)


def centred(moments: Moments, norm: Norm) -> Tensor:
    """Computes the sums of du times the normalised input (before the norm's own weight and bias): (B, E, C)."""
    apart = moments.by_input - moments.alone[:, :, None] * norm.mean[:, None, :]
    return apart * norm.deviation_inverse[:, None, :]


def parameter_gradients(
    moments: Moments, products: Tensor, norm: Norm, weight: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Computes the gradients of the norm's weight and bias, (C,), and the expansion's; products: of `centred`."""
    products, alone = products.sum(dim=0), moments.alone.sum(dim=0)
    weight = weight.float()
    for_weight = products * norm.weight + alone[:, None] * norm.bias
    return (weight * products).sum(dim=0), (weight * alone[:, None]).sum(dim=0), for_weight, alone


def statistics_gradient(
    moments: Moments, products: Tensor, norm: Norm, rounded: Tensor, voxels: int
) -> tuple[Tensor, Tensor]:
    """Computes what mean and deviation, which depend on x, add to its gradient: offset + slope * x, both (B, C)."""
    rounded = rounded.float()
    slope = -norm.deviation_inverse * (rounded * products).sum(dim=1) / voxels
    offset = -(rounded * moments.alone[:, :, None]).sum(dim=1) / voxels - slope * norm.mean
    return offset, slope
