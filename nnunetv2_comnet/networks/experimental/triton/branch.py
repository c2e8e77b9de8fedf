"""A MedNeXt block's branch behind its depthwise convolution, and the residual, in two Triton kernels.

Not measured on a GPU. The two kernels are those of expansion.py and compression.py; the second takes the squares that
the first summed.
"""

import torch
from torch import Tensor, nn

from nnunetv2_comnet.networks.experimental.triton.compression import grn_compress, grn_scale
from nnunetv2_comnet.networks.experimental.triton.expansion import norm_expand_gelu
from nnunetv2_comnet.networks.experimental.triton.launch import MAX_CHANNELS


def suits_branch(x: Tensor, out_channels: int) -> bool:
    """Returns whether the kernels are meant for such an input: half precision (or autocast to it), few channels.

    float32 is computed correctly too, but its unrounded matrix products do not fit a GPU's registers.
    """
    dtype = x.dtype
    if torch.is_autocast_enabled(x.device.type):
        dtype = torch.get_autocast_dtype(x.device.type)
    return dtype in (torch.float16, torch.bfloat16) and max(x.shape[1], out_channels) <= MAX_CHANNELS


def fused_branch(
    x: Tensor,
    norm: nn.GroupNorm,
    expansion: nn.Conv3d,
    compression: nn.Conv3d,
    *,
    grn_gamma: Tensor | None = None,
    grn_beta: Tensor | None = None,
    grn_denominator: str = "mean",
    residual: Tensor | None = None,
) -> Tensor:
    """Computes compression(grn(gelu(expansion(norm(x))))) (+ residual), with the parameters of a block's own layers.

    x: (B, C, D, H, W); the group norm has one group per channel; expansion C -> E and compression E -> C_out are
    1x1x1; grn_gamma, grn_beta: E numbers each, or both None for a block without GRN; residual: (B, C_out, D, H, W).
    Returns (B, C_out, D, H, W). Raises ConfigurationError for more than 128 channels or another type or shape.
    """
    assert norm.num_groups == norm.num_channels
    assert expansion.bias is not None
    assert compression.bias is not None
    rows, columns = expansion.weight.flatten(1), compression.weight.flatten(1)  # (E, C), (C_out, E)
    hidden, squares = norm_expand_gelu(x, norm.weight, norm.bias, rows, expansion.bias, norm.eps)
    if grn_gamma is None or grn_beta is None:
        scale, beta = torch.ones_like(squares), torch.zeros_like(squares[0])
    else:
        scale, beta = grn_scale(squares, grn_gamma.flatten(), grn_denominator), grn_beta.flatten()
    return grn_compress(hidden, scale, beta, columns, compression.bias, residual)
