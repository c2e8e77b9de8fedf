"""Depthwise 3D convolution of stride 1 by Triton kernels, with its two gradients; not measured on a GPU.

Three operators that torch.compile takes whole. Sums are in float32 and in a fixed order: the weight's gradient is
made of partial sums that a second step adds, without atomic additions, so that a run can be repeated bit by bit.
"""

from typing import Any

import torch
from torch import Tensor

from nnunetv2_comnet.errors import ConfigurationError
from nnunetv2_comnet.networks.experimental.triton.launch import (
    check_shape,
    check_volume,
    in_autocast_type,
    on_device_of,
)

KERNEL_SIZES = (3, 5)
SLICES = 16  # that one program marches through
BLOCKS = (512, 256, 128, 64)  # voxels of a plane that one program works on
NAME = "depthwise convolution"


def depthwise_conv3d(x: Tensor, weight: Tensor) -> Tensor:
    """Convolves each channel of x by itself: F.conv3d(x, weight, padding=k // 2, groups=C).

    x: (B, C, D, H, W), float32, float16 or bfloat16; weight: (C, 1, k, k, k), k 3 or 5. Returns the shape
    and type of x; under autocast x is converted first. The weight may have another type than x, and is not rounded to
    it. Raises `ConfigurationError` for another type, shape or kernel.
    """
    x = in_autocast_type(x)
    check_volume(NAME, x)
    size = weight.shape[-1]
    if size not in KERNEL_SIZES:
        raise ConfigurationError(f"{NAME}: the kernel must have a side of 3 or 5, got {size}")
    check_shape(NAME, "weight", weight, (x.shape[1], 1, size, size, size))
    return _convolution(x, weight)


@torch.library.custom_op("nnunetv2_comnet::depthwise_conv3d", mutates_args=())
def _convolution(x: Tensor, weight: Tensor) -> Tensor:
    return _stencil(x, weight, flip=False)


@torch.library.custom_op("nnunetv2_comnet::depthwise_conv3d_input_gradient", mutates_args=())
def _input_gradient(gradient: Tensor, weight: Tensor) -> Tensor:
    return _stencil(gradient, weight, flip=True)


@torch.library.custom_op("nnunetv2_comnet::depthwise_conv3d_weight_gradient", mutates_args=())
def _weight_gradient(x: Tensor, gradient: Tensor, size: int) -> Tensor:
    """Computes the weight's gradient, (C, 1, size, size, size) in float32."""
    from nnunetv2_comnet.networks.experimental.triton.depthwise_kernels import weight_gradient_kernel

    x, gradient = x.contiguous(), gradient.contiguous()
    batch, channels, depth, height, width = x.shape
    block, chunks = _block(height * width), -(-depth // SLICES)
    blocks = -(-height * width // block)
    partial = torch.empty((blocks * chunks * batch, channels, 1, size, size, size), device=x.device)
    with on_device_of(x):
        weight_gradient_kernel[(blocks, chunks * batch, channels * size)](
            x, gradient, partial, channels, depth, height, width, chunks, SLICES, size, block, num_warps=_warps(block)
        )
    return partial.sum(dim=0)


def _stencil(x: Tensor, weight: Tensor, flip: bool) -> Tensor:
    from nnunetv2_comnet.networks.experimental.triton.depthwise_kernels import stencil_kernel

    x, weight = x.contiguous(), weight.contiguous()
    batch, channels, depth, height, width = x.shape
    out = torch.empty_like(x)
    block, warps = _block(height * width), _warps(_block(height * width))
    grid = (-(-height * width // block), -(-depth // SLICES), batch * channels)
    with on_device_of(x):
        stencil_kernel[grid](
            x, weight, out, channels, depth, height, width, SLICES, weight.shape[-1], flip, block, num_warps=warps
        )
    return out


def _block(plane: int) -> int:
    """Chooses the largest block of which at most a fifth is wasted on a plane of so many voxels."""
    return next((block for block in BLOCKS if plane >= 0.8 * block * -(-plane // block)), BLOCKS[-1])


def _warps(block: int) -> int:
    """Returns the warps of a block: four voxels a thread."""
    return max(1, block // 128)


def _fake(x: Tensor, weight: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _fake_weight_gradient(x: Tensor, gradient: Tensor, size: int) -> Tensor:
    return x.new_empty((x.shape[1], 1, size, size, size), dtype=torch.float32)


def _save(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _gradients(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
    x, weight = ctx.saved_tensors
    gradient = gradient.to(x.dtype)
    for_x = _input_gradient(gradient, weight) if ctx.needs_input_grad[0] else None
    for_weight = None
    if ctx.needs_input_grad[1]:
        for_weight = _weight_gradient(x, gradient, weight.shape[-1]).to(weight.dtype)
    return for_x, for_weight


_convolution.register_fake(_fake)
_input_gradient.register_fake(_fake)
_weight_gradient.register_fake(_fake_weight_gradient)
_convolution.register_autograd(_gradients, setup_context=_save)
