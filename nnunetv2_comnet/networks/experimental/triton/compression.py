"""GRN's scale, and the pointwise compression with GRN folded in and the residual added, in one Triton kernel.

Not measured on a GPU. compress(gamma * (h * n) + beta + h) = (W * (1 + gamma * n)) h + (W beta + b): the expanded
tensor is read once and no copy of it is written. Sums are in float32 and in a fixed order.
"""

from typing import Any

import torch
from torch import Tensor

from nnunetv2_comnet.networks.experimental.triton.launch import (
    BLOCK_E,
    BLOCK_V,
    STAGES,
    check_few_channels,
    check_shape,
    check_volume,
    on_device_of,
    padded,
    split_of,
    warps_for,
)
from nnunetv2_comnet.networks.grn import grn_share

NAME = "fused compression"


def grn_scale(squares: Tensor, gamma: Tensor, denominator: str = "mean") -> Tensor:
    """Computes 1 + gamma * n, (B, E) in float32, from the expanded channels' sums of squares (B, E) and gamma (E,).

    denominator: of the response n, "mean" or "sum" over the channels' norms, as in the blocks.
    The gradient is 0 by a channel whose norm is 0.
    """
    is_zero = squares == 0
    norm = torch.where(is_zero, 0, torch.sqrt(torch.where(is_zero, 1, squares)))
    return 1 + gamma.float() * grn_share(norm, denominator)


def grn_compress(
    hidden: Tensor, scale: Tensor, grn_bias: Tensor, weight: Tensor, bias: Tensor, residual: Tensor | None = None
) -> Tensor:
    """Computes W (scale * hidden + grn_bias) + b (+ residual), W (C, E), b (C,), grn_bias (E,), scale (B, E).

    hidden: (B, E, D, H, W), float32, float16 or bfloat16; residual: (B, C, D, H, W).
    Returns (B, C, D, H, W) in the type of hidden, promoted by the residual's.
    Raises ConfigurationError for another type or shape.
    """
    check_volume(NAME, hidden)
    expanded, channels = hidden.shape[1], weight.shape[0]
    check_few_channels(NAME, channels)
    check_shape(NAME, "scale", scale, (hidden.shape[0], expanded))
    check_shape(NAME, "grn_bias", grn_bias, (expanded,))
    check_shape(NAME, "weight", weight, (channels, expanded))
    check_shape(NAME, "bias", bias, (channels,))
    if residual is not None:
        check_volume(NAME, residual)
        check_shape(NAME, "residual", residual, (hidden.shape[0], channels, *hidden.shape[2:]))
    return _compress(hidden, scale, grn_bias, weight, bias, residual)


def _folded(scale: Tensor, weight: Tensor, dtype: torch.dtype) -> Tensor:
    """Folds the scale into the weight: (B, C, E)."""
    return (weight.float() * scale.float()[:, None, :]).to(dtype).contiguous()


def _out_type(hidden: Tensor, residual: Tensor | None) -> torch.dtype:
    return hidden.dtype if residual is None else torch.promote_types(hidden.dtype, residual.dtype)


@torch.library.custom_op("nnunetv2_comnet::grn_compress", mutates_args=())
def _compress(
    hidden: Tensor, scale: Tensor, grn_bias: Tensor, weight: Tensor, bias: Tensor, residual: Tensor | None
) -> Tensor:
    from nnunetv2_comnet.networks.experimental.triton.compression_kernels import compress_kernel

    hidden = hidden.contiguous()
    batch, expanded = hidden.shape[:2]
    channels, voxels = weight.shape[0], hidden[0, 0].numel()
    constant = bias.float() + (weight.float() * grn_bias.float()).sum(dim=1)
    out = hidden.new_empty((batch, channels, *hidden.shape[2:]), dtype=_out_type(hidden, residual))
    with on_device_of(hidden):
        compress_kernel[(-(-voxels // BLOCK_V), batch)](
            hidden, _folded(scale, weight, hidden.dtype), constant,
            hidden if residual is None else residual.contiguous(), out, channels, expanded, voxels,
            residual is not None, padded(channels), BLOCK_E, BLOCK_V, num_warps=warps_for(channels), num_stages=STAGES,
        )  # fmt: skip
    return out


@torch.library.custom_op("nnunetv2_comnet::grn_compress_gradient", mutates_args=())
def _compress_gradient(
    gradient: Tensor, hidden: Tensor, scale: Tensor, grn_bias: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Computes the gradients of hidden and, in float32, of scale, grn_bias, weight and bias."""
    from nnunetv2_comnet.networks.experimental.triton.compression_kernels import compress_gradient_kernel

    gradient, hidden = gradient.contiguous(), hidden.contiguous()
    batch, expanded = hidden.shape[:2]
    channels, voxels = weight.shape[0], hidden[0, 0].numel()
    row_blocks = -(-expanded // BLOCK_E)
    splits, blocks_each = split_of(voxels, BLOCK_V, batch * row_blocks, batch * expanded * channels)
    for_hidden = torch.empty_like(hidden)
    by_weight = torch.empty((splits, batch, channels, expanded), device=hidden.device)
    by_bias = torch.empty((splits, batch, channels), device=hidden.device)
    with on_device_of(hidden):
        compress_gradient_kernel[(row_blocks, splits, batch)](
            gradient, hidden, _folded(scale, weight, hidden.dtype), for_hidden, by_weight, by_bias, channels, expanded,
            voxels, blocks_each, padded(channels), BLOCK_E, BLOCK_V, num_warps=warps_for(channels), num_stages=STAGES,
        )  # fmt: skip
    products, for_bias = by_weight.sum(dim=0), by_bias.sum(dim=(0, 1))  # (B, C, E), (C,)
    weight, scale = weight.float(), scale.float()
    for_scale = (products * weight).sum(dim=1)
    for_grn_bias = (weight * for_bias[:, None]).sum(dim=0)
    for_weight = (products * scale[:, None, :]).sum(dim=0) + for_bias[:, None] * grn_bias.float()
    return for_hidden, for_scale, for_grn_bias, for_weight, for_bias


@_compress.register_fake
def _(hidden: Tensor, scale: Tensor, grn_bias: Tensor, weight: Tensor, bias: Tensor, residual: Tensor | None) -> Tensor:
    shape = (hidden.shape[0], weight.shape[0], *hidden.shape[2:])
    return hidden.new_empty(shape, dtype=_out_type(hidden, residual))


@_compress_gradient.register_fake
def _(
    gradient: Tensor, hidden: Tensor, scale: Tensor, grn_bias: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    small = [torch.empty_like(p, dtype=torch.float32) for p in (scale, grn_bias, weight)]
    for_bias = weight.new_empty((weight.shape[0],), dtype=torch.float32)
    for_hidden = torch.empty_like(hidden, memory_format=torch.contiguous_format)
    return for_hidden, small[0], small[1], small[2], for_bias


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    hidden, scale, grn_bias, weight, bias, residual = inputs
    ctx.types = [scale.dtype, grn_bias.dtype, weight.dtype, bias.dtype]
    ctx.residual_type = None if residual is None else residual.dtype
    ctx.save_for_backward(hidden, scale, grn_bias, weight)


def _gradients(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    hidden, *others = ctx.saved_tensors
    for_hidden, *for_parameters = _compress_gradient(gradient.to(hidden.dtype), hidden, *others)
    for_residual = None if ctx.residual_type is None else gradient.to(ctx.residual_type)
    return for_hidden, *(g.to(t) for g, t in zip(for_parameters, ctx.types, strict=True)), for_residual


_compress.register_autograd(_gradients, setup_context=_save)
