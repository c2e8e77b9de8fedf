"""The three blocks of MedNeXt (Roy et al., MICCAI 2023, section 2) with Global Response Normalization.

Every block is the same chain: depthwise convolution, group norm, pointwise expansion, GELU, GRN (Woo et al.,
ConvNeXt V2, CVPR 2023, section 3), pointwise compression. They differ in the depthwise convolution's stride and in
the residual. Parameter names are those of the official MedNeXt, so that its checkpoints fit.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from nnunetv2_comnet.networks import cpu
from nnunetv2_comnet.networks.operations import (
    GRN_EPS,
    channel_norm,
    depthwise_conv3d,
    depthwise_conv_transpose3d,
    grn_share,
    pointwise,
)

Modulation = tuple[Tensor, Tensor]  # scale and shift, (B, C) each


def grn_response(x: Tensor, denominator: str = "mean") -> Tensor:
    """Each channel's share of the response: its norm over space, divided by the channels' mean norm.

    x: (B, E, D, H, W), any floating type. Returns (B, E) in float32 (float64 for float64 input).
    denominator: "mean" as in the code of MedNeXt and ConvNeXt V2; "sum" gives exactly the mean form divided by E.
    """
    return grn_share(channel_norm(x), denominator)


def grn_reference(x: Tensor, gamma: Tensor, beta: Tensor, denominator: str = "mean") -> Tensor:
    """GRN as the papers write it, gamma * (x * n) + beta + x; the blocks use the folded form below instead.

    x: (B, E, D, H, W); gamma, beta: (1, E, 1, 1, 1). Returns the shape and type of x.
    """
    response = grn_response(x, denominator)[:, :, None, None, None]
    return (gamma * (x * response) + beta + x).to(x.dtype)


@dataclass(frozen=True)
class BlockOptions:
    """What a network's blocks share or take from their stage; the fields are those of MedNeXtConfig."""

    expansion: int
    kernel_size: int = 3
    grn: bool = True
    grn_denominator: str = "mean"
    checkpointing: str = "none"


class MedNeXtBlock(nn.Module):
    """(B, C, D, H, W) -> the same shape: the chain, plus the input.

    The depthwise bias is kept for the official key names only. The group norm has one group per channel, so it
    subtracts whatever the bias adds: the bias is frozen at zero and never added.
    """

    stride = 1
    use_triton = False  # networks.triton.use_triton_kernels sets it

    def __init__(self, in_channels: int, out_channels: int, options: BlockOptions) -> None:
        super().__init__()
        expanded = options.expansion * in_channels
        self.options = options
        self.conv1 = self._depthwise(in_channels, options.kernel_size)
        self.norm = nn.GroupNorm(in_channels, in_channels)
        self.conv2 = nn.Conv3d(in_channels, expanded, 1)
        self.conv3 = nn.Conv3d(expanded, out_channels, 1)
        if options.grn:  # zero: the block starts as one without GRN
            self.grn_gamma = nn.Parameter(torch.zeros(1, expanded, 1, 1, 1))
            self.grn_beta = nn.Parameter(torch.zeros(1, expanded, 1, 1, 1))
        assert self.conv1.bias is not None
        nn.init.zeros_(self.conv1.bias).requires_grad_(False)

    def _depthwise(self, channels: int, kernel_size: int) -> nn.Conv3d | nn.ConvTranspose3d:
        return nn.Conv3d(channels, channels, kernel_size, self.stride, kernel_size // 2, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        if self.options.checkpointing == "block" and torch.is_grad_enabled():
            return checkpoint(self._block, x, use_reentrant=False, preserve_rng_state=False)
        return self._block(x)

    def _block(self, x: Tensor) -> Tensor:
        return self._branch(x, residual=x)

    def _branch(self, x: Tensor, residual: Tensor | None = None, modulation: Modulation | None = None) -> Tensor:
        """The chain, plus a residual; a modulation makes x + x * scale + shift of the norm's output x."""
        if cpu.fits(x):
            return self._branch_on_cpu(x, residual, modulation)
        x = self._spatial(x)  # (B, C, D', H', W')
        if self.use_triton and x.is_cuda and modulation is None:
            from nnunetv2_comnet.networks.experimental import triton

            if triton.suits_branch(x, self.conv3.out_channels):
                return triton.fused_branch(
                    x, self.norm, self.conv2, self.conv3, grn_gamma=getattr(self, "grn_gamma", None),
                    grn_beta=getattr(self, "grn_beta", None), grn_denominator=self.options.grn_denominator,
                    residual=residual,
                )  # fmt: skip
        x = torch.group_norm(x, x.shape[1], self.norm.weight, self.norm.bias, self.norm.eps)
        if modulation is not None:
            scale, shift = (value[:, :, None, None, None] for value in modulation)
            x = torch.addcmul(x + shift, x, scale)
        if self.options.checkpointing == "expansion" and torch.is_grad_enabled():
            x = checkpoint(self._expand, x, use_reentrant=False, preserve_rng_state=False)
        else:
            x = self._expand(x)
        return x if residual is None else residual + x

    def _branch_on_cpu(self, x: Tensor, residual: Tensor | None, modulation: Modulation | None) -> Tensor:
        """The same in one operation; modulating the norm's output is another weight and bias of the norm."""
        norm_weight: Tensor = self.norm.weight
        norm_bias: Tensor = self.norm.bias
        if modulation is not None:
            scale, shift = modulation
            norm_weight, norm_bias = norm_weight * (1 + scale), norm_bias * (1 + scale) + shift
        has_grn = self.options.grn
        assert self.conv2.bias is not None
        assert self.conv3.bias is not None
        weights = cpu.BranchWeights(
            norm_weight,
            norm_bias,
            self.conv2.weight.flatten(1),
            self.conv2.bias,
            self.conv3.weight.flatten(1),
            self.conv3.bias,
            self.grn_gamma.flatten() if has_grn else None,
            self.grn_beta.flatten() if has_grn else None,
        )
        return cpu.branch(
            self._spatial(x),
            residual,
            weights,
            norm_eps=self.norm.eps,
            form=cpu.GrnForm(GRN_EPS, self.options.grn_denominator == "sum"),
            recompute=(lambda: self._spatial(x)) if self.options.checkpointing == "expansion" else None,
        )

    def _spatial(self, x: Tensor) -> Tensor:
        if self.use_triton and self.stride == 1 and x.is_cuda:
            from nnunetv2_comnet.networks.experimental import triton

            return triton.depthwise_conv3d(x, self.conv1.weight)
        return depthwise_conv3d(x, self.conv1.weight, self.stride)

    def _expand(self, x: Tensor) -> Tensor:
        """Expansion, GELU, GRN, compression; GRN is folded into the compression's weights.

        conv3(gamma * (x * n) + beta + x) = (W * (1 + gamma * n)) x + (W beta + b): the same function, without one
        pass over the expanded tensor and without keeping its copies for the backward pass. The scales and the
        folded weights are computed in float32.
        """
        x = F.gelu(pointwise(x, self.conv2.weight.flatten(1), self.conv2.bias))  # (B, E, D', H', W')
        weight, bias = self.conv3.weight.flatten(1), self.conv3.bias  # (C_out, E), (C_out,)
        assert bias is not None
        if self.options.grn:
            weight = weight.to(torch.promote_types(x.dtype, torch.float32))
            scale = 1 + self.grn_gamma.flatten() * grn_response(x, self.options.grn_denominator)  # (B, E)
            bias = (weight * self.grn_beta.flatten()).sum(dim=1) + bias
            weight = weight * scale[:, None, :]  # (B, C_out, E)
        return pointwise(x, weight, bias)  # (B, C_out, D', H', W')


class MedNeXtDownBlock(MedNeXtBlock):
    """(B, C, D, H, W) -> (B, C_out, D/2, H/2, W/2): stride-2 depthwise convolution, stride-2 pointwise residual."""

    stride = 2

    def __init__(self, in_channels: int, out_channels: int, options: BlockOptions) -> None:
        super().__init__(in_channels, out_channels, options)
        self.res_conv = nn.Conv3d(in_channels, out_channels, 1, stride=2)

    def _block(self, x: Tensor) -> Tensor:
        residual = pointwise(x[:, :, ::2, ::2, ::2], self.res_conv.weight.flatten(1), self.res_conv.bias)
        return self._branch(x, residual)


class MedNeXtUpBlock(MedNeXtBlock):
    """(B, C, D, H, W) -> (B, C_out, 2D, 2H, 2W): transposed depthwise convolution, transposed pointwise residual.

    A transposed convolution of stride 2 gives 2S - 1 voxels along a side of S; a plane of zeros before the first
    makes it 2S, as in the official network.
    """

    stride = 2

    def __init__(self, in_channels: int, out_channels: int, options: BlockOptions) -> None:
        super().__init__(in_channels, out_channels, options)
        self.res_conv = nn.ConvTranspose3d(in_channels, out_channels, 1, stride=2)

    def _depthwise(self, channels: int, kernel_size: int) -> nn.ConvTranspose3d:
        return nn.ConvTranspose3d(channels, channels, kernel_size, 2, kernel_size // 2, groups=channels)

    def _spatial(self, x: Tensor) -> Tensor:
        return depthwise_conv_transpose3d(x, self.conv1.weight)

    def _block(self, x: Tensor) -> Tensor:
        assert self.res_conv.bias is not None
        branch = self._branch(x)  # (B, C_out, 2D - 1, 2H - 1, 2W - 1)
        bias = self.res_conv.bias.to(branch.dtype)[:, None, None, None]
        y = F.pad(branch + bias, (1, 0, 1, 0, 1, 0))  # (B, C_out, 2D, 2H, 2W)
        # Stride 2 with a 1x1x1 kernel: the input's voxels land on every second one, here on the odd ones.
        y[:, :, 1::2, 1::2, 1::2] += pointwise(x, self.res_conv.weight.flatten(1).t()).to(branch.dtype)
        return y


class OutputHead(nn.Module):
    """(B, C, D, H, W) -> logits (B, R, D, H, W). A transposed 1x1x1 convolution, for the official weight's layout."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv_out = nn.ConvTranspose3d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return pointwise(x, self.conv_out.weight.flatten(1).t(), self.conv_out.bias)
