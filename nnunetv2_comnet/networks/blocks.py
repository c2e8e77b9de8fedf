"""The three blocks of MedNeXt (Roy et al., MICCAI 2023, section 2) with Global Response Normalization.

Every block is the same chain: depthwise convolution, group norm, pointwise expansion, GELU, GRN (grn.py), pointwise
compression, residual. They differ in the depthwise convolution's stride and in the residual. Parameter names are those
of the official MedNeXt, so that its checkpoints fit.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from nnunetv2_comnet.networks import backends
from nnunetv2_comnet.networks.backends import Modulation, conv1x1, pointwise
from nnunetv2_comnet.networks.grn import fold_grn


@dataclass(frozen=True)
class BlockOptions:
    """What a network's blocks share or take from their stage; the fields are those of MedNeXtConfig."""

    expansion: int
    kernel_size: int = 3
    grn: bool = True
    grn_denominator: str = "mean"
    checkpointing: str = "none"


def recomputed(wanted: bool, function: Callable[..., Tensor], *inputs: Any) -> Tensor:
    """Calls the function; where wanted, the backward pass computes again what it would have kept."""
    if wanted and torch.is_grad_enabled():
        return checkpoint(function, *inputs, use_reentrant=False, preserve_rng_state=False)
    return function(*inputs)


def with_block_checkpointing(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Recomputes all of a block's `forward` where the block's checkpointing is "block"."""

    @functools.wraps(forward)
    def call(self: "MedNeXtBlock", *inputs: Any) -> Tensor:
        return recomputed(self.checkpointing == "block", functools.partial(forward, self), *inputs)

    return call


class MedNeXtBlock(nn.Module):
    """(B, C, D, H, W) -> the same shape.

    The depthwise bias is kept for the official key names only. The group norm has one group per channel, so it
    subtracts whatever the bias adds: the bias is frozen at zero and never added.
    """

    stride = 1
    use_triton = False  # networks.experimental.triton.use_triton_kernels sets it
    grn_gamma: nn.Parameter | None
    grn_beta: nn.Parameter | None

    def __init__(self, in_channels: int, out_channels: int, options: BlockOptions) -> None:
        super().__init__()
        expanded = options.expansion * in_channels
        self.grn_denominator, self.checkpointing = options.grn_denominator, options.checkpointing
        self.conv1 = self._depthwise_layer(in_channels, options.kernel_size)
        self.norm = nn.GroupNorm(in_channels, in_channels)
        self.conv2 = nn.Conv3d(in_channels, expanded, 1)
        self.conv3 = nn.Conv3d(expanded, out_channels, 1)
        for name in ("grn_gamma", "grn_beta"):  # zero: the block starts as one without GRN
            self.register_parameter(name, nn.Parameter(torch.zeros(1, expanded, 1, 1, 1)) if options.grn else None)
        assert self.conv1.bias is not None
        nn.init.zeros_(self.conv1.bias).requires_grad_(False)

    def _depthwise_layer(self, channels: int, kernel_size: int) -> nn.Conv3d | nn.ConvTranspose3d:
        return nn.Conv3d(channels, channels, kernel_size, self.stride, kernel_size // 2, groups=channels)

    @with_block_checkpointing
    def forward(self, x: Tensor, modulation: Modulation | None = None) -> Tensor:
        residual = self.residual(x)  # (B, C_out, D', H', W'), D' = D, D / 2 (down) or 2D - 1 (up)
        fused = backends.fused_block(self, x, residual, modulation)
        if fused is not None:  # the same by a form of fewer passes
            return fused

        def expand_and_compress(y: Tensor) -> Tensor:
            y = F.gelu(conv1x1(y, self.conv2))  # (B, E, D', H', W')
            return self.compress_grn(y)  # conv3(GRN(y)), (B, C_out, D', H', W')

        y = self.depthwise(x)  # (B, C, D', H', W')
        y = self.normalise(y, modulation)
        y = recomputed(self.checkpointing == "expansion", expand_and_compress, y)
        return y if residual is None else residual + y

    def residual(self, x: Tensor) -> Tensor | None:
        """Computes what is added to the compression's output."""
        return x

    def depthwise(self, x: Tensor) -> Tensor:
        """Convolves every channel by itself: conv1 without its bias."""
        return backends.depthwise_conv3d(x, self.conv1.weight, self.stride, use_triton=self.use_triton)

    def normalise(self, x: Tensor, modulation: Modulation | None = None) -> Tensor:
        """Computes the group norm, one group per channel; a modulation makes x + x * scale + shift of its output x."""
        x = torch.group_norm(x, x.shape[1], self.norm.weight, self.norm.bias, self.norm.eps)
        if modulation is None:
            return x
        scale, shift = (value[:, :, None, None, None] for value in modulation)
        return torch.addcmul(x + shift, x, scale)

    def compress_grn(self, x: Tensor) -> Tensor:
        """Computes conv3(GRN(x)), GRN folded into conv3's weights; (B, E, D, H, W) -> (B, C_out, D, H, W)."""
        weight, bias = self.conv3.weight.flatten(1), self.conv3.bias  # (C_out, E), (C_out,)
        if self.grn_gamma is not None and self.grn_beta is not None and bias is not None:
            weight, bias = fold_grn(x, self.grn_gamma, self.grn_beta, weight, bias, self.grn_denominator)
        return pointwise(x, weight, bias)


class MedNeXtDownBlock(MedNeXtBlock):
    """(B, C, D, H, W) -> (B, C_out, D/2, H/2, W/2): stride-2 depthwise convolution, stride-2 pointwise residual."""

    stride = 2

    def __init__(self, in_channels: int, out_channels: int, options: BlockOptions) -> None:
        super().__init__(in_channels, out_channels, options)
        self.res_conv = nn.Conv3d(in_channels, out_channels, 1, stride=2)

    def residual(self, x: Tensor) -> Tensor:
        return conv1x1(x[:, :, ::2, ::2, ::2], self.res_conv)


class MedNeXtUpBlock(MedNeXtBlock):
    """(B, C, D, H, W) -> (B, C_out, 2D, 2H, 2W): transposed depthwise convolution, transposed pointwise residual.

    A transposed convolution of stride 2 gives 2S - 1 voxels along a side of S; a plane of zeros before the first
    makes it 2S, as in the official network.
    """

    stride = 2

    def __init__(self, in_channels: int, out_channels: int, options: BlockOptions) -> None:
        super().__init__(in_channels, out_channels, options)
        self.res_conv = nn.ConvTranspose3d(in_channels, out_channels, 1, stride=2)

    def _depthwise_layer(self, channels: int, kernel_size: int) -> nn.ConvTranspose3d:
        return nn.ConvTranspose3d(channels, channels, kernel_size, 2, kernel_size // 2, groups=channels)

    def depthwise(self, x: Tensor) -> Tensor:
        return backends.depthwise_conv_transpose3d(x, self.conv1.weight)

    def residual(self, x: Tensor) -> None:
        """Returns None: `forward` adds it after the plane of zeros."""

    def forward(self, x: Tensor) -> Tensor:
        assert self.res_conv.bias is not None
        y = super().forward(x)  # (B, C_out, 2D - 1, 2H - 1, 2W - 1)
        bias = self.res_conv.bias.to(y.dtype)[:, None, None, None]
        y = F.pad(y + bias, (1, 0, 1, 0, 1, 0))  # (B, C_out, 2D, 2H, 2W)
        # Stride 2 with a 1x1x1 kernel: the input's voxels land on every second one, here on the odd ones.
        y[:, :, 1::2, 1::2, 1::2] += pointwise(x, self.res_conv.weight.flatten(1).t()).to(y.dtype)
        return y


class OutputHead(nn.Module):
    """(B, C, D, H, W) -> logits (B, R, D, H, W). A transposed 1x1x1 convolution, for the official weight's layout."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv_out = nn.ConvTranspose3d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return pointwise(x, self.conv_out.weight.flatten(1).t(), self.conv_out.bias)
