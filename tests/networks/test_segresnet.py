"""The baseline's network: MONAI's, in the sizes of its BraTS bundle."""

import pytest
import torch
from pydantic import ValidationError

from nnunetv2_comnet.configurations import SegResNetConfig
from nnunetv2_comnet.networks.segresnet import segresnet

CHANNELS = {"in_channels": 4, "out_channels": 3}


def block(channels: int) -> int:
    """Parameters of a residual block: two 3x3x3 convolutions without bias, two group norms."""
    return 2 * 27 * channels**2 + 2 * 2 * channels


def test_the_default_has_the_parameters_of_monais_brats_bundle() -> None:
    expected = (
        27 * 4 * 16  # stem
        + block(16)
        + 27 * 16 * 32 + 2 * block(32)
        + 27 * 32 * 64 + 2 * block(64)
        + 27 * 64 * 128 + 4 * block(128)
        + 128 * 64 + block(64) + 64 * 32 + block(32) + 32 * 16 + block(16)  # 1x1x1, linear upsampling, one block
        + 2 * 16 + 16 * 3 + 3  # norm, head
    )  # fmt: skip
    network = segresnet(SegResNetConfig(), **CHANNELS)
    assert sum(parameter.numel() for parameter in network.parameters()) == expected == 4_702_227


def test_shapes_and_dropout() -> None:
    network = segresnet(SegResNetConfig(init_filters=8, blocks_down=(1, 1, 1, 1), dropout=0.5), **CHANNELS)
    image = torch.randn(2, 4, 16, 24, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        training = [network.train()(image) for _ in range(2)]
        predicting = [network.eval()(image) for _ in range(2)]
    assert training[0].shape == (2, 3, 16, 24, 32)
    assert not torch.equal(*training)  # dropout draws anew
    assert torch.equal(*predicting)


def test_it_compiles_as_one_graph() -> None:
    network = segresnet(SegResNetConfig(init_filters=8, blocks_down=(1, 1, 1, 1), dropout=0.0), **CHANNELS).eval()
    image = torch.randn(1, 4, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():  # nnU-Net compiles the network on a GPU; fullgraph raises at any break
        assert torch.allclose(torch.compile(network, fullgraph=True, backend="eager")(image), network(image), atol=1e-6)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"init_filters": 12}, "init_filters"),
        ({"blocks_down": (1, 2, 2)}, r"blocks_down\.3"),
        ({"blocks_up": (1, 0, 1)}, "blocks_up"),
        ({"dropout": 1.0}, "dropout"),
    ],
)
def test_sizes_that_cannot_be_built_are_refused(wrong: dict, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        SegResNetConfig(**wrong)
