"""Depthwise convolutions in channels-last layout, with gradients for which oneDNN has fast kernels.

Its channels-last kernel is six times as fast as torch's for contiguous volumes, but its 3D weight gradient is not: that
is one 2D weight gradient per plane of the kernel, with the slices along the depth as the batch. A transposed
convolution of stride 2 is a convolution of the volume with zeros between its voxels.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import grad as convolution_gradients

from nnunetv2_comnet.networks.cpu.layout import channels_last


def depthwise_conv3d(x: Tensor, weight: Tensor, stride: int = 1) -> Tensor:
    """Convolves x (B, C, D, H, W) float32 by a weight (C, 1, k, k, k), k odd; padding k // 2. Returns channels-last."""
    result: Tensor = _Depthwise.apply(channels_last(x), weight, stride)
    return result


def depthwise_conv_transpose3d(x: Tensor, weight: Tensor) -> Tensor:
    """Convolves as above with stride 2, transposed: (B, C, 2D - 1, 2H - 1, 2W - 1), channels-last."""
    result: Tensor = _Transposed.apply(channels_last(x), weight)
    return result


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        return _conv(x, weight, stride)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        gradient = channels_last(gradient)
        x_gradient = weight_gradient = None
        if ctx.needs_input_grad[0]:
            spread = gradient if ctx.stride == 1 else _spread(gradient, x.shape[2:])
            x_gradient = _conv(spread, weight.flip(2, 3, 4))
        if ctx.needs_input_grad[1]:
            weight_gradient = _weight_gradient(x, gradient, weight.shape, ctx.stride)
        return x_gradient, weight_gradient, None


class _Transposed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _conv(_spread(x, [2 * side - 1 for side in x.shape[2:]]), weight.flip(2, 3, 4))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        gradient = channels_last(gradient)
        x_gradient = _conv(gradient, weight, 2) if ctx.needs_input_grad[0] else None
        # The convolution of which this is the transpose takes the output to the input.
        weight_gradient = _weight_gradient(gradient, x, weight.shape, 2) if ctx.needs_input_grad[1] else None
        return x_gradient, weight_gradient


def _conv(x: Tensor, weight: Tensor, stride: int = 1) -> Tensor:
    return F.conv3d(x, weight, None, stride, weight.shape[-1] // 2, groups=x.shape[1])


def _spread(x: Tensor, sides: Sequence[int]) -> Tensor:
    """Puts the voxels of x on every second one of a larger volume, zeros between."""
    shape = (*x.shape[:2], *sides)
    spread = torch.empty(shape, dtype=x.dtype, memory_format=torch.channels_last_3d).zero_()
    spread[:, :, ::2, ::2, ::2] = x
    return spread


def _weight_gradient(x: Tensor, gradient: Tensor, shape: Sequence[int], stride: int) -> Tensor:
    """Computes the weight's gradient from x and the output's gradient, both channels-last."""
    channels, kernel_size = shape[0], shape[-1]
    padding, depth, depth_out = kernel_size // 2, x.shape[2], gradient.shape[2]
    total = torch.zeros(shape, dtype=x.dtype)
    for slices, gradient_slices in zip(x.transpose(1, 2), gradient.transpose(1, 2), strict=True):  # (D, C, H, W)
        for plane in range(kernel_size):
            shift = plane - padding  # output slice z meets input slice stride * z + shift
            first = max(0, -(shift // stride))
            last = min(depth_out, (depth - 1 - shift) // stride + 1)
            if first >= last:
                continue
            total[:, :, plane] += convolution_gradients.conv2d_weight(
                slices[stride * first + shift : stride * (last - 1) + shift + 1 : stride],
                (channels, 1, kernel_size, kernel_size),
                gradient_slices[first:last],
                stride=stride,
                padding=padding,
                groups=channels,
            )
    return total
