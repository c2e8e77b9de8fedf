"""Global Response Normalization (Woo et al., ConvNeXt V2, CVPR 2023, section 3), folded into a convolution.

n is a channel's Euclidean norm over space, divided by the mean of the channels' norms; GRN(x) = gamma (x n) + beta + x.
"""

import torch
from torch import Tensor

EPS = 1e-6


def fold_grn(
    x: Tensor, gamma: Tensor, beta: Tensor, weight: Tensor, bias: Tensor, denominator: str = "mean"
) -> tuple[Tensor, Tensor]:
    """Folds GRN into the pointwise convolution W, b that follows it.

    W (gamma (x n) + beta + x) + b = (W (1 + gamma n)) x + (W beta + b): the same function, without one pass over x and
    without keeping its copies for the backward pass. Scales and folded weights are computed in float32.

    Args:
        x: what would be normalised, (B, E, D, H, W).
        gamma, beta: of GRN, (1, E, 1, 1, 1).
        weight, bias: of the convolution, (C_out, E) and (C_out,).
        denominator: as in `grn_response`.

    Returns:
        A weight for each sample, (B, C_out, E), and the bias, (C_out,).
    """
    weight = weight.to(torch.promote_types(x.dtype, torch.float32))
    scale = 1 + gamma.flatten() * grn_response(x, denominator)  # (B, E)
    bias = (weight * beta.flatten()).sum(dim=1) + bias
    return weight * scale[:, None, :], bias


def grn_response(x: Tensor, denominator: str = "mean") -> Tensor:
    """Computes n: (B, E, D, H, W), any floating type -> (B, E) in float32 (float64 for float64 input).

    denominator: "mean" as in the code of MedNeXt and ConvNeXt V2; "sum" gives exactly the mean form divided by E.
    """
    return grn_share(channel_norm(x), denominator)


def grn_share(norm: Tensor, denominator: str = "mean") -> Tensor:
    """Computes n from the channels' norms (B, E): each over their mean, or over that times E ("sum")."""
    response = norm / (norm.mean(dim=1, keepdim=True) + EPS)
    return response / norm.shape[1] if denominator == "sum" else response


def channel_norm(x: Tensor) -> Tensor:
    """Computes every channel's Euclidean norm: (B, E, D, H, W) -> (B, E) in float32 (float64 for float64 input)."""
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
