"""The operations that MedNeXt spends its time in, each in the form that is fastest where it runs; all are exact."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import grad as convolution_gradients


def pointwise(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A 1x1x1 convolution, its weight shared by the samples or one per sample.

    x: (B, C_in, D, H, W); weight: (C_out, C_in) or (B, C_out, C_in); bias: (C_out,).
    Returns (B, C_out, D, H, W). A CPU is fastest with a matrix product, and so is a batch with a weight per sample.
    """
    weight = weight.to(x.dtype) if weight.ndim == 3 else weight[None]
    if x.device.type != "cpu" and weight.shape[0] == 1:
        return F.conv3d(x, weight[0, :, :, None, None, None], None if bias is None else bias.to(weight.dtype))
    flat = x.flatten(2)  # (B, C_in, D * H * W)
    weight = weight.expand(flat.shape[0], -1, -1)
    product = torch.bmm(weight, flat) if bias is None else torch.baddbmm(bias.to(weight.dtype)[:, None], weight, flat)
    return product.unflatten(2, x.shape[2:])


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
    is_cpu_training = x.device.type == "cpu" and torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    if stride == 1 and is_cpu_training and x.dtype == torch.float32 and not torch.compiler.is_compiling():
        return _DepthwiseConv3dCPU.apply(x, weight)
    return _depthwise_conv3d(x, weight, stride)


def depthwise_conv_transpose3d(x: Tensor, weight: Tensor) -> Tensor:
    """x: (B, C, D, H, W); weight: (C, 1, k, k, k), k odd; stride 2, padding k // 2: (B, C, 2D - 1, 2H - 1, 2W - 1)."""
    return F.conv_transpose3d(x, weight, None, 2, weight.shape[-1] // 2, groups=x.shape[1])


def _depthwise_conv3d(x: Tensor, weight: Tensor, stride: int = 1) -> Tensor:
    return F.conv3d(x, weight, None, stride, weight.shape[-1] // 2, groups=x.shape[1])


class _DepthwiseConv3dCPU(torch.autograd.Function):
    """The stride-1 convolution; its two gradients are written as operations for which the CPU has fast kernels."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x, weight)
        return _depthwise_conv3d(x, weight)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:  # type: ignore[no-untyped-def]
        x, weight = ctx.saved_tensors
        gradient = gradient.to(x.dtype)  # lower precision where the forward pass ran under autocast
        x_gradient = _depthwise_conv3d(gradient, weight.flip(2, 3, 4)) if ctx.needs_input_grad[0] else None
        weight_gradient = _weight_gradient(x, weight, gradient) if ctx.needs_input_grad[1] else None
        return x_gradient, weight_gradient


def _weight_gradient(x: Tensor, weight: Tensor, gradient: Tensor) -> Tensor:
    """One 2D depthwise weight gradient per plane of the kernel, with the slices along the depth as the batch."""
    depth, kernel_size = x.shape[2], weight.shape[-1]
    padding = kernel_size // 2
    slices, gradient_slices = (volume.transpose(1, 2).contiguous() for volume in (x, gradient))  # (B, D, C, H, W)
    planes = []
    for shift in range(-padding, padding + 1):  # output slice z meets input slice z + shift
        first, last = max(0, -shift), min(depth, depth - shift)
        if first >= last:
            planes.append(torch.zeros_like(weight[:, :, 0]))
            continue
        plane = convolution_gradients.conv2d_weight(
            slices[:, first + shift : last + shift].flatten(0, 1),
            weight[:, :, 0].shape,
            gradient_slices[:, first:last].flatten(0, 1),
            padding=padding,
            groups=x.shape[1],
        )
        planes.append(plane)
    return torch.stack(planes, dim=2)
