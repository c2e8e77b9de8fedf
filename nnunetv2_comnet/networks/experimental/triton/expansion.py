"""Group norm, pointwise expansion and GELU in one Triton kernel, which also sums the squares that GRN needs.

Not measured on a GPU. The expanded tensor is written once; its norms cost no further pass over it, and the backward
pass keeps neither the normalised input nor the expansion before GELU. Sums are in float32 and in a fixed order.
"""

from typing import Any

import torch
from torch import Tensor

from nnunetv2_comnet.networks.experimental.triton.folding import (
    Moments,
    Norm,
    centred,
    folded,
    moments_of,
    parameter_gradients,
    statistics_gradient,
)
from nnunetv2_comnet.networks.experimental.triton.launch import (
    BLOCK_E,
    BLOCK_V,
    STAGES,
    check_few_channels,
    check_shape,
    check_volume,
    in_autocast_type,
    on_device_of,
    padded,
    split_of,
    warps_for,
)

NAME = "fused expansion"
MOMENTS_BLOCK = 1024


def norm_expand_gelu(
    x: Tensor, norm_weight: Tensor, norm_bias: Tensor, weight: Tensor, bias: Tensor, eps: float = 1e-5
) -> tuple[Tensor, Tensor]:
    """Computes gelu(W norm(x) + b), W (E, C), b (E,), the norm with a group per channel, weight and bias (C,).

    x: (B, C, D, H, W), float32, float16 or bfloat16; under autocast it is converted first. Returns the expanded
    (B, E, D, H, W) in the type of x and its sums of squares over space, (B, E) in float32, whose gradient is used too.
    Raises ConfigurationError for another type or shape.
    """
    x = in_autocast_type(x)
    check_volume(NAME, x)
    channels = x.shape[1]
    check_few_channels(NAME, channels)
    check_shape(NAME, "norm_weight", norm_weight, (channels,))
    check_shape(NAME, "norm_bias", norm_bias, (channels,))
    check_shape(NAME, "weight", weight, (weight.shape[0], channels))
    check_shape(NAME, "bias", bias, (weight.shape[0],))
    hidden, squares, _, _ = _expand(x, norm_weight, norm_bias, weight, bias, eps)
    return hidden, squares


@torch.library.custom_op("nnunetv2_comnet::norm_expand_gelu", mutates_args=())
def _expand(
    x: Tensor, norm_weight: Tensor, norm_bias: Tensor, weight: Tensor, bias: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Computes the expanded tensor, its sums of squares, and for the backward pass mean and 1 / deviation, (B, C)."""
    from nnunetv2_comnet.networks.experimental.triton.expansion_kernels import expand_kernel

    x = x.contiguous()
    batch, channels = x.shape[:2]
    expanded, voxels = weight.shape[0], x[0, 0].numel()
    mean, inverse = _moments(x, eps)
    rows, shift = folded(weight, bias, Norm(mean, inverse, norm_weight.float(), norm_bias.float()), x.dtype)
    hidden = x.new_empty((batch, expanded, *x.shape[2:]))
    row_blocks = -(-expanded // BLOCK_E)
    splits, blocks_each = split_of(voxels, BLOCK_V, batch * row_blocks, batch * expanded)
    squares = torch.empty((splits, batch, expanded), device=x.device)
    with on_device_of(x):
        expand_kernel[(row_blocks, splits, batch)](
            x, rows, shift, hidden, squares, channels, expanded, voxels, blocks_each, padded(channels), BLOCK_E,
            BLOCK_V, num_warps=warps_for(channels), num_stages=STAGES,
        )  # fmt: skip
    return hidden, squares.sum(dim=0), mean, inverse


def _moments(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    from nnunetv2_comnet.networks.experimental.triton.expansion_kernels import moments_kernel

    batch, channels = x.shape[:2]
    voxels = x[0, 0].numel()
    splits, blocks_each = split_of(voxels, MOMENTS_BLOCK, batch * channels, 3 * batch * channels)
    partial = torch.empty((3, batch * channels, splits), device=x.device)
    with on_device_of(x):
        moments_kernel[(batch * channels, splits)](x, partial, voxels, blocks_each, MOMENTS_BLOCK)
    return moments_of(partial, batch, eps)


@torch.library.custom_op("nnunetv2_comnet::norm_expand_gelu_gradient", mutates_args=())
def _expand_gradient(
    by_hidden: Tensor, by_squares: Tensor, x: Tensor, mean: Tensor, inverse: Tensor, norm_weight: Tensor,
    norm_bias: Tensor, weight: Tensor, bias: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Computes the gradients of x and, in float32, of weight and bias of norm and expansion."""
    from nnunetv2_comnet.networks.experimental.triton.expansion_kernels import (
        expand_input_gradient_kernel,
        expand_weight_gradient_kernel,
    )

    x, by_hidden = x.contiguous(), by_hidden.contiguous()
    by_squares = by_squares.float().contiguous()
    batch, channels = x.shape[:2]
    expanded, voxels, size = weight.shape[0], x[0, 0].numel(), padded(channels)
    norm = Norm(mean, inverse, norm_weight.float(), norm_bias.float())
    rows, shift = folded(weight, bias, norm, x.dtype)
    row_blocks, warps = -(-expanded // BLOCK_E), warps_for(channels)
    splits, blocks_each = split_of(voxels, BLOCK_V, batch * row_blocks, batch * expanded * channels)
    by_weight = torch.empty((splits, batch, expanded, channels), device=x.device)
    by_bias = torch.empty((splits, batch, expanded), device=x.device)
    with on_device_of(x):
        expand_weight_gradient_kernel[(row_blocks, splits, batch)](
            x, rows, shift, by_hidden, by_squares, by_weight, by_bias, channels, expanded, voxels, blocks_each, size,
            BLOCK_E, BLOCK_V, num_warps=warps, num_stages=STAGES,
        )  # fmt: skip
    moments = Moments(by_weight.sum(dim=0), by_bias.sum(dim=0))
    products = centred(moments, norm)
    offset, slope = statistics_gradient(moments, products, norm, rows, voxels)
    for_x = torch.empty_like(x)
    with on_device_of(x):
        expand_input_gradient_kernel[(-(-voxels // BLOCK_V), batch)](
            x, rows, shift, by_hidden, by_squares, offset, slope, for_x, channels, expanded, voxels, size, BLOCK_E,
            BLOCK_V, num_warps=warps, num_stages=STAGES,
        )  # fmt: skip
    return for_x, *parameter_gradients(moments, products, norm, weight)


@_expand.register_fake
def _(
    x: Tensor, norm_weight: Tensor, norm_bias: Tensor, weight: Tensor, bias: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    batch, channels = x.shape[:2]
    rows = [x.new_empty((batch, n), dtype=torch.float32) for n in (weight.shape[0], channels, channels)]
    return x.new_empty((batch, weight.shape[0], *x.shape[2:])), rows[0], rows[1], rows[2]


@_expand_gradient.register_fake
def _(
    by_hidden: Tensor, by_squares: Tensor, x: Tensor, mean: Tensor, inverse: Tensor, norm_weight: Tensor,
    norm_bias: Tensor, weight: Tensor, bias: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    parameters = [torch.empty_like(p, dtype=torch.float32) for p in (norm_weight, norm_bias, weight, bias)]
    for_x = torch.empty_like(x, memory_format=torch.contiguous_format)
    return for_x, parameters[0], parameters[1], parameters[2], parameters[3]


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, norm_weight, norm_bias, weight, bias, _ = inputs
    _, _, mean, inverse = output
    ctx.save_for_backward(x, mean, inverse, norm_weight, norm_bias, weight, bias)


def _gradients(ctx: Any, by_hidden: Tensor, by_squares: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
    x, mean, inverse, *parameters = ctx.saved_tensors
    for_x, *for_parameters = _expand_gradient(by_hidden.to(x.dtype), by_squares, x, mean, inverse, *parameters)
    return for_x, *(g.to(p.dtype) for g, p in zip(for_parameters, parameters, strict=True)), None


_expand.register_autograd(_gradients, setup_context=_save)
