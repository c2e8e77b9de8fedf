"""The denoiser: a small U-Net in the latent, of the ConvNeXt-GRN blocks of stage 1, told the time and the condition."""

import math

import torch
from torch import Tensor, nn

from nnunetv2_comnet.networks.backends import conv1x1
from nnunetv2_comnet.networks.blocks import MedNeXtBlock, MedNeXtDownBlock, MedNeXtUpBlock
from nnunetv2_comnet.refinement.condition import OPTIONS
from nnunetv2_comnet.refinement.config import RefinerConfig

_FREQUENCIES = 32
_TIME_CHANNELS = 64


class TimedBlock(MedNeXtBlock):
    """A MedNeXt block whose normalisation is scaled and shifted by the time (as in DiT); at the start it is not.

    Before the normalisation a shift would be lost: the group norm of one channel subtracts any constant.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, OPTIONS)
        self.modulation = nn.Linear(_TIME_CHANNELS, 2 * channels)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """x (B, C, d, h, w), time embedding (B, _TIME_CHANNELS) -> (B, C, d, h, w)."""
        scale, shift = self.modulation(time).chunk(2, dim=1)
        return super().forward(x, (scale, shift))


class Denoiser(nn.Module):
    """Latent z_t (B, L, d, h, w), time (B,), condition features -> prediction (B, L, d, h, w), at the start 0."""

    def __init__(self, config: RefinerConfig) -> None:
        super().__init__()
        c = config.channels
        self.training_steps = config.training_steps
        self.time = nn.Sequential(nn.Linear(2 * _FREQUENCIES, _TIME_CHANNELS), nn.SiLU())
        self.stem = nn.Conv3d(config.latent_channels, c, 1)
        self.encode_0, self.down_0 = TimedBlock(c), MedNeXtDownBlock(c, 2 * c, OPTIONS)
        self.encode_1, self.down_1 = TimedBlock(2 * c), MedNeXtDownBlock(2 * c, 4 * c, OPTIONS)
        self.middle = TimedBlock(4 * c)
        self.up_1, self.decode_1 = MedNeXtUpBlock(4 * c, 2 * c, OPTIONS), TimedBlock(2 * c)
        self.up_0, self.decode_0 = MedNeXtUpBlock(2 * c, c, OPTIONS), TimedBlock(c)
        self.head = nn.Conv3d(c, config.latent_channels, 1)
        nn.init.zeros_(self.head.weight)
        assert self.head.bias is not None
        nn.init.zeros_(self.head.bias)

    def forward(self, latent: Tensor, time: Tensor, condition: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        at_0, at_1, at_2 = condition
        when = self.time(time_embedding(time, self.training_steps))  # (B, _TIME_CHANNELS)
        skip_0 = self.encode_0(conv1x1(latent, self.stem) + at_0, when)
        skip_1 = self.encode_1(self.down_0(skip_0) + at_1, when)  # (B, 2c, d/2, h/2, w/2)
        x = self.middle(self.down_1(skip_1) + at_2, when)  # (B, 4c, d/4, h/4, w/4)
        x = self.decode_1(skip_1 + self.up_1(x), when)
        x = self.decode_0(skip_0 + self.up_0(x), when)  # (B, c, d, h, w)
        return conv1x1(x, self.head)


def time_embedding(time: Tensor, training_steps: int) -> Tensor:
    """Times (B,) from 0 to T -> (B, 64) sines and cosines of t / T at frequencies from 1/2 to 64 turns."""
    frequencies = 0.5 * 128 ** (torch.arange(_FREQUENCIES, device=time.device) / (_FREQUENCIES - 1))
    angle = time.float()[:, None] / training_steps * frequencies * 2 * math.pi
    return torch.cat([angle.sin(), angle.cos()], dim=1)
