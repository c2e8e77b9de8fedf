"""The 3D VQ-VAE of the residual r = y - sigmoid(coarse logits) (CoMNeT, stage 2).

All convolutions run on the latent grid, where they cost an eighth; blocks of voxels are folded into channels on the way
in and unfolded on the way out. No normalisation: a residual's code must not depend on how much else a patch holds.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nnunetv2_comnet.configurations import RefinerConfig

ACTIVE_ABOVE = 0.05  # |r| from which a voxel counts as an error of the coarse map


class ResidualBlock(nn.Module):
    """(B, C, d, h, w) -> the same: two convolutions around an identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv3d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.silu(self.conv1(F.silu(x))))


class ResidualEncoder(nn.Module):
    """Residual (B, R, D, H, W) -> latent (B, L, D/f, H/f, W/f)."""

    def __init__(self, config: RefinerConfig, regions: int) -> None:
        super().__init__()
        self.fold = nn.Conv3d(regions, config.autoencoder_channels, config.downsampling, config.downsampling)
        self.blocks = nn.Sequential(*(ResidualBlock(config.autoencoder_channels) for _ in range(2)))
        self.to_latent = nn.Conv3d(config.autoencoder_channels, config.latent_channels, 1)

    def forward(self, residual: Tensor) -> Tensor:
        latent: Tensor = self.to_latent(self.blocks(self.fold(residual)))
        return latent


class ResidualDecoder(nn.Module):
    """Latent (B, L, d, h, w) -> residual (B, R, f*d, f*h, f*w) in (-1, 1). Its last layer starts at zero."""

    def __init__(self, config: RefinerConfig, regions: int) -> None:
        super().__init__()
        self.factor = config.downsampling
        self.from_latent = nn.Conv3d(config.latent_channels, config.autoencoder_channels, 1)
        self.blocks = nn.Sequential(*(ResidualBlock(config.autoencoder_channels) for _ in range(2)))
        self.unfold = nn.Conv3d(config.autoencoder_channels, regions * self.factor**3, 1)
        nn.init.zeros_(self.unfold.weight)
        assert self.unfold.bias is not None
        nn.init.zeros_(self.unfold.bias)

    def forward(self, latent: Tensor) -> Tensor:
        folded = self.unfold(self.blocks(self.from_latent(latent)))  # (B, R * f^3, d, h, w)
        return torch.tanh(depth_to_space(folded, self.factor).float())  # (B, R, f*d, f*h, f*w)


def depth_to_space(x: Tensor, factor: int) -> Tensor:
    """Turns channels into blocks of f^3 voxels: (B, C * f^3, d, h, w) -> (B, C, f*d, f*h, f*w)."""
    b, c, d, h, w = x.shape
    x = x.reshape(b, c // factor**3, factor, factor, factor, d, h, w)
    return x.permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(b, c // factor**3, d * factor, h * factor, w * factor)


def active_tokens(residual: Tensor, factor: int) -> Tensor:
    """Finds latent voxels that cover an error in any region: (B, R, D, H, W) -> (B, D/f, H/f, W/f), bool."""
    largest = residual.abs().amax(dim=1, keepdim=True)
    return (F.max_pool3d(largest, factor) > ACTIVE_ABOVE)[:, 0]


def reconstruction_loss(decoded: Tensor, residual: Tensor) -> Tensor:
    """Computes the L1 loss of residuals (B, R, D, H, W): per region, the means over voxels with and without error.

    About one voxel in a hundred holds an error; in a plain mean the answer "no residual" costs next to nothing, and a
    small region's errors less than a large one's.
    """
    over = (0, 2, 3, 4)
    active = residual.abs() > ACTIVE_ABOVE
    error = (decoded - residual).abs()
    of_errors = (error * active).sum(over) / active.sum(over).clamp(min=1)
    of_others = (error * ~active).sum(over) / (~active).sum(over).clamp(min=1)
    return (of_errors + of_others).mean()
