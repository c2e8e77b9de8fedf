"""What the refiner knows about a patch, and the network that encodes it once, whatever the number of reverse steps."""

import math

import torch
from torch import Tensor, nn

from nnunetv2_comnet.configurations import RefinerConfig
from nnunetv2_comnet.networks.blocks import BlockOptions, MedNeXtBlock, MedNeXtDownBlock, MedNeXtUpBlock

LEAST_PROBABILITY = 1e-3  # probabilities and their logits are clamped here: bounded, and no denormals
LARGEST_LOGIT = math.log((1 - LEAST_PROBABILITY) / LEAST_PROBABILITY)
OPTIONS = BlockOptions(expansion=2)  # ConvNeXt blocks with GRN, as in stage 1


def binary_entropy(probabilities: Tensor) -> Tensor:
    """Computes the entropy in bits, in [0, 1], of probabilities of any shape; exactly 0 at 0 and 1."""
    p = probabilities.float()
    return -(torch.xlogy(p, p) + torch.xlogy(1 - p, 1 - p)) / math.log(2)


def condition_channels(image: Tensor, logits: Tensor) -> Tensor:
    """Stacks MRI (B, C, D, H, W) and what coarse logits (B, R, D, H, W) say: (B, C + 3R, D, H, W).

    The image, then logits (clamped, scaled to about one), probabilities and their entropy per region.
    """
    probabilities = logits.float().sigmoid()
    scaled = logits.float().clamp(-LARGEST_LOGIT, LARGEST_LOGIT) / LARGEST_LOGIT
    return torch.cat([image.float(), scaled, probabilities, binary_entropy(probabilities)], dim=1)


class ConditionEncoder(nn.Module):
    """(B, C + 3R, D, H, W) -> features at 1, 1/2 and 1/4 of the latent grid, with c, 2c and 4c channels."""

    def __init__(self, config: RefinerConfig, *, image_channels: int, regions: int) -> None:
        super().__init__()
        c, factor = config.channels, config.downsampling
        self.stem = nn.Conv3d(image_channels + 3 * regions, c, factor, factor)
        self.encode_0, self.down_0 = _blocks(c), MedNeXtDownBlock(c, 2 * c, OPTIONS)
        self.encode_1, self.down_1 = _blocks(2 * c), MedNeXtDownBlock(2 * c, 4 * c, OPTIONS)
        self.encode_2 = _blocks(4 * c)
        self.up_1, self.decode_1 = MedNeXtUpBlock(4 * c, 2 * c, OPTIONS), _blocks(2 * c)
        self.up_0, self.decode_0 = MedNeXtUpBlock(2 * c, c, OPTIONS), _blocks(c)

    def forward(self, channels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        skip_0 = self.encode_0(self.stem(channels))  # (B, c, d, h, w)
        skip_1 = self.encode_1(self.down_0(skip_0))  # (B, 2c, d/2, h/2, w/2)
        at_2 = self.encode_2(self.down_1(skip_1))  # (B, 4c, d/4, h/4, w/4)
        at_1 = self.decode_1(skip_1 + self.up_1(at_2))
        at_0 = self.decode_0(skip_0 + self.up_0(at_1))
        return at_0, at_1, at_2


def _blocks(channels: int) -> nn.Sequential:
    return nn.Sequential(*(MedNeXtBlock(channels, channels, OPTIONS) for _ in range(2)))
