"""The operations that MedNeXt spends its time in, each in the form that is fastest where it runs; all are exact."""

import torch
import torch.nn.functional as F
from torch import Tensor

from nnunetv2_comnet.networks import cpu

GRN_EPS = 1e-6


def pointwise(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A 1x1x1 convolution, its weight shared by the samples or one per sample.

    x: (B, C_in, D, H, W); weight: (C_out, C_in) or (B, C_out, C_in); bias: (C_out,).
    Returns (B, C_out, D, H, W). A CPU is fastest with a matrix product, and so is a batch with a weight per sample.
    """
    if weight.ndim == 2 and cpu.fits(x):
        return cpu.volume(F.linear(cpu.rows(x), weight, bias), x.shape[2:])
    weight = weight.to(x.dtype) if weight.ndim == 3 else weight[None]
    if x.device.type != "cpu" and weight.shape[0] == 1:
        return F.conv3d(x, weight[0, :, :, None, None, None], None if bias is None else bias.to(weight.dtype))
    flat = x.flatten(2)  # (B, C_in, D * H * W)
    weight = weight.expand(flat.shape[0], -1, -1)
    product = torch.bmm(weight, flat) if bias is None else torch.baddbmm(bias.to(weight.dtype)[:, None], weight, flat)
    return product.unflatten(2, x.shape[2:])


def grn_share(norm: Tensor, denominator: str = "mean") -> Tensor:
    """GRN's response (B, E): each channel's norm (B, E) over the channels' mean norm, or over that times E ("sum")."""
    response = norm / (norm.mean(dim=1, keepdim=True) + GRN_EPS)
    return response / norm.shape[1] if denominator == "sum" else response


def channel_norm(x: Tensor) -> Tensor:
    """(B, E, D, H, W) -> (B, E): the Euclidean norm of every channel, in float32 (float64 for float64 input)."""
    return _norm(x) if torch.compiler.is_compiling() else _ChannelNorm.apply(x)


def _norm(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x, dim=(2, 3, 4), dtype=torch.promote_types(x.dtype, torch.float32))


class _ChannelNorm(torch.autograd.Function):
    """The norm with a backward pass of one pass over x, where PyTorch's makes three; 0 where the norm is 0."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:  # type: ignore[no-untyped-def]  # torch's own context
        norm = _norm(x)
        ctx.save_for_backward(x, norm)
        return norm

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        x, norm = ctx.saved_tensors
        scale = torch.where(norm > 0, gradient / norm, 0)
        return (x * scale[:, :, None, None, None]).to(x.dtype)


def depthwise_conv3d(x: Tensor, weight: Tensor, stride: int = 1) -> Tensor:
    """x: (B, C, D, H, W); weight: (C, 1, k, k, k), k odd; padding k // 2, no bias."""
    if cpu.fits(x):
        return cpu.depthwise_conv3d(x, weight, stride)
    return F.conv3d(x, weight, None, stride, weight.shape[-1] // 2, groups=x.shape[1])


def depthwise_conv_transpose3d(x: Tensor, weight: Tensor) -> Tensor:
    """x: (B, C, D, H, W); weight: (C, 1, k, k, k), k odd; stride 2, padding k // 2: (B, C, 2D - 1, 2H - 1, 2W - 1)."""
    if cpu.fits(x):
        return cpu.depthwise_conv_transpose3d(x, weight)
    return F.conv_transpose3d(x, weight, None, 2, weight.shape[-1] // 2, groups=x.shape[1])
