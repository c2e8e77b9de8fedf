"""The paper's baseline: MONAI's SegResNet (Myronenko, arXiv 1810.11654, without its autoencoder branch), by our config.

MONAI is imported when a network is built: other trainers need not wait for it.
"""

from torch import nn

from nnunetv2_comnet.configurations import SegResNetConfig

SIDE_DIVISOR = 8  # three halvings between its four levels


def segresnet(config: SegResNetConfig, *, in_channels: int, out_channels: int) -> nn.Module:
    """Builds the network: (B, in_channels, D, H, W) -> logits (B, out_channels, D, H, W); sides divide by 8."""
    from monai.networks.nets.segresnet import SegResNet

    network: nn.Module = SegResNet(
        spatial_dims=3,
        init_filters=config.init_filters,
        in_channels=in_channels,
        out_channels=out_channels,
        dropout_prob=config.dropout or None,
        blocks_down=config.blocks_down,
        blocks_up=config.blocks_up,
    )
    return network
