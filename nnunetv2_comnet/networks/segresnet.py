"""The paper's baseline: MONAI's SegResNet (Myronenko, arXiv 1810.11654, without its autoencoder branch), by our config.

MONAI is imported when a network is built: other trainers need not wait for it.
"""

from dataclasses import dataclass

from torch import nn

from nnunetv2_comnet.errors import ConfigurationError

SIDE_DIVISOR = 8  # three halvings between its four levels
NORM_GROUPS = 8  # MONAI's group norm


@dataclass(frozen=True)
class SegResNetConfig:
    """Sizes as MONAI's BraTS bundle has them: filters of the first level, blocks per level, dropout after the stem."""

    in_channels: int = 4
    out_channels: int = 3
    init_filters: int = 16
    blocks_down: tuple[int, int, int, int] = (1, 2, 2, 4)
    blocks_up: tuple[int, int, int] = (1, 1, 1)
    dropout: float = 0.2

    def __post_init__(self) -> None:
        if self.init_filters < NORM_GROUPS or self.init_filters % NORM_GROUPS:
            raise ConfigurationError(
                f"SegResNet: init_filters must be a multiple of {NORM_GROUPS} (its group norm), got {self.init_filters}"
            )
        if len(self.blocks_down) != 4 or len(self.blocks_up) != 3 or min(*self.blocks_down, *self.blocks_up) < 1:
            raise ConfigurationError(
                f"SegResNet: needs four numbers of blocks down and three up, each 1 or more, got {self.blocks_down} "
                f"and {self.blocks_up}"
            )
        if not 0 <= self.dropout < 1:
            raise ConfigurationError(f"SegResNet: dropout must be in [0, 1), got {self.dropout}")


def segresnet(config: SegResNetConfig) -> nn.Module:
    """The network: (B, in_channels, D, H, W) -> logits (B, out_channels, D, H, W); sides divide by SIDE_DIVISOR."""
    from monai.networks.nets.segresnet import SegResNet

    network: nn.Module = SegResNet(
        spatial_dims=3,
        init_filters=config.init_filters,
        in_channels=config.in_channels,
        out_channels=config.out_channels,
        dropout_prob=config.dropout or None,
        blocks_down=config.blocks_down,
        blocks_up=config.blocks_up,
    )
    return network
