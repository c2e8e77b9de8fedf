"""Chooses the form in which each operation is computed; no other file does. All forms are exact.

networks/cpu for float32 on a CPU with oneDNN; networks/experimental/triton on a GPU, where it was switched on; plain
PyTorch for everything else: other devices, float64, autocast on a CPU, torch.compile.
"""

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nnunetv2_comnet.networks import cpu
from nnunetv2_comnet.networks.experimental import triton
from nnunetv2_comnet.networks.grn import EPS

Modulation = tuple[Tensor, Tensor]  # scale and shift, (B, C) each


class Block(Protocol):
    """What a form of a whole block is computed from, see `blocks.MedNeXtBlock`; gamma and beta are None without GRN."""

    norm: nn.GroupNorm
    conv2: nn.Conv3d
    conv3: nn.Conv3d
    grn_gamma: nn.Parameter | None
    grn_beta: nn.Parameter | None
    grn_denominator: str
    checkpointing: str
    use_triton: bool

    def depthwise(self, x: Tensor) -> Tensor: ...


def fused_block(block: Block, x: Tensor, residual: Tensor | None, modulation: Modulation | None) -> Tensor | None:
    """Computes what `block.forward` writes out by a form of few passes; None where there is none for x.

    residual: (B, C_out, D', H', W') or None; modulation: of the norm's output.
    """
    if cpu.fits(x):
        return _on_cpu(block, x, residual, modulation)
    wanted = block.use_triton and x.is_cuda and modulation is None
    if not wanted or not triton.suits_branch(x, block.conv3.out_channels):
        return None
    return triton.fused_branch(
        block.depthwise(x), block.norm, block.conv2, block.conv3, grn_gamma=block.grn_gamma, grn_beta=block.grn_beta,
        grn_denominator=block.grn_denominator, residual=residual,
    )  # fmt: skip


def _on_cpu(block: Block, x: Tensor, residual: Tensor | None, modulation: Modulation | None) -> Tensor:
    """Computes the block by `cpu.branch`; a modulation of the norm's output becomes a weight and bias of the norm."""
    norm_weight: Tensor = block.norm.weight
    norm_bias: Tensor = block.norm.bias
    if modulation is not None:
        scale, shift = modulation
        norm_weight, norm_bias = norm_weight * (1 + scale), norm_bias * (1 + scale) + shift
    assert block.conv2.bias is not None
    assert block.conv3.bias is not None
    weights = cpu.BranchWeights(
        norm_weight,
        norm_bias,
        block.conv2.weight.flatten(1),
        block.conv2.bias,
        block.conv3.weight.flatten(1),
        block.conv3.bias,
        None if block.grn_gamma is None else block.grn_gamma.flatten(),
        None if block.grn_beta is None else block.grn_beta.flatten(),
    )
    return cpu.branch(
        block.depthwise(x),
        residual,
        weights,
        norm_eps=block.norm.eps,
        form=cpu.GrnForm(EPS, block.grn_denominator == "sum"),
        recompute=(lambda: block.depthwise(x)) if block.checkpointing == "expansion" else None,
    )


def depthwise_conv3d(x: Tensor, weight: Tensor, stride: int = 1, *, use_triton: bool = False) -> Tensor:
    """Convolves each channel of x (B, C, D, H, W) by a weight (C, 1, k, k, k), k odd; padding k // 2, no bias."""
    if cpu.fits(x):
        return cpu.depthwise_conv3d(x, weight, stride)
    if use_triton and stride == 1 and x.is_cuda:
        return triton.depthwise_conv3d(x, weight)
    return F.conv3d(x, weight, None, stride, weight.shape[-1] // 2, groups=x.shape[1])


def depthwise_conv_transpose3d(x: Tensor, weight: Tensor) -> Tensor:
    """Convolves as `depthwise_conv3d`, transposed, stride 2: (B, C, D, H, W) -> (B, C, 2D - 1, 2H - 1, 2W - 1)."""
    if cpu.fits(x):
        return cpu.depthwise_conv_transpose3d(x, weight)
    return F.conv_transpose3d(x, weight, None, 2, weight.shape[-1] // 2, groups=x.shape[1])


def conv1x1(x: Tensor, layer: nn.Conv3d) -> Tensor:
    """Computes the layer, a 1x1x1 convolution with bias, by `pointwise`; its stride is taken for 1."""
    return pointwise(x, layer.weight.flatten(1), layer.bias)


def pointwise(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Computes a 1x1x1 convolution, its weight shared by the samples or one per sample.

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
