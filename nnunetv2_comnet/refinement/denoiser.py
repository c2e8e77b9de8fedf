"""The denoiser: a small U-Net in the latent, of ConvNeXt-GRN blocks as in stage 1, with timestep and condition."""

import math

import torch
from torch import Tensor, nn

from nnunetv2_comnet.configurations import RefinerConfig
from nnunetv2_comnet.networks.backends import conv1x1
from nnunetv2_comnet.networks.blocks import MedNeXtBlock, MedNeXtDownBlock, MedNeXtUpBlock
from nnunetv2_comnet.refinement.condition import OPTIONS

_FREQUENCIES = 32
_TIME_CHANNELS = 64


class TimestepBlock(MedNeXtBlock):
    """A MedNeXt block whose normalisation is scaled and shifted by the timestep (as in DiT); at the start it is not.

    Before the normalisation a shift would be lost: the group norm of one channel subtracts any constant.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, OPTIONS)
        self.modulation = nn.Linear(_TIME_CHANNELS, 2 * channels)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Computes x (B, C, d, h, w), embedded timestep (B, _TIME_CHANNELS) -> (B, C, d, h, w)."""
        scale, shift = self.modulation(embedding).chunk(2, dim=1)
        return super().forward(x, (scale, shift))


class Denoiser(nn.Module):
    """Latent z_t (B, L, d, h, w), timestep (B,), condition features -> prediction (B, L, d, h, w), at the start 0."""

    def __init__(self, config: RefinerConfig) -> None:
        super().__init__()
        c = config.channels
        self.num_train_timesteps = config.num_train_timesteps
        self.time = nn.Sequential(  # its name in checkpoints
            nn.Linear(2 * _FREQUENCIES, _TIME_CHANNELS), nn.SiLU()
        )
        self.stem = nn.Conv3d(config.latent_channels, c, 1)
        self.encode_0, self.down_0 = TimestepBlock(c), MedNeXtDownBlock(c, 2 * c, OPTIONS)
        self.encode_1, self.down_1 = TimestepBlock(2 * c), MedNeXtDownBlock(2 * c, 4 * c, OPTIONS)
        self.middle = TimestepBlock(4 * c)
        self.up_1, self.decode_1 = MedNeXtUpBlock(4 * c, 2 * c, OPTIONS), TimestepBlock(2 * c)
        self.up_0, self.decode_0 = MedNeXtUpBlock(2 * c, c, OPTIONS), TimestepBlock(c)
        self.head = nn.Conv3d(c, config.latent_channels, 1)
        nn.init.zeros_(self.head.weight)
        assert self.head.bias is not None
        nn.init.zeros_(self.head.bias)

    def forward(self, latent: Tensor, timestep: Tensor, condition: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        at_0, at_1, at_2 = condition
        embedding = self.time(timestep_embedding(timestep, self.num_train_timesteps))  # (B, _TIME_CHANNELS)
        skip_0 = self.encode_0(conv1x1(latent, self.stem) + at_0, embedding)
        skip_1 = self.encode_1(self.down_0(skip_0) + at_1, embedding)  # (B, 2c, d/2, h/2, w/2)
        x = self.middle(self.down_1(skip_1) + at_2, embedding)  # (B, 4c, d/4, h/4, w/4)
        x = self.decode_1(skip_1 + self.up_1(x), embedding)
        x = self.decode_0(skip_0 + self.up_0(x), embedding)  # (B, c, d, h, w)
        return conv1x1(x, self.head)


def timestep_embedding(timestep: Tensor, num_train_timesteps: int) -> Tensor:
    """Embeds timesteps (B,) from 0 to T -> (B, 64) sines and cosines of t / T at frequencies from 1/2 to 64 turns."""
    frequencies = 0.5 * 128 ** (torch.arange(_FREQUENCIES, device=timestep.device) / (_FREQUENCIES - 1))
    angle = timestep.float()[:, None] / num_train_timesteps * frequencies * 2 * math.pi
    return torch.cat([angle.sin(), angle.cos()], dim=1)
