"""What the tests of the networks share."""

from collections.abc import Callable

import pytest
import torch
from random_weights import randomise

from nnunetv2_comnet.networks import MedNeXt, mednext


@pytest.fixture
def small_network() -> Callable[..., MedNeXt]:
    """`mednext(...)` with 8 base channels (unless told) and random weights."""

    def build(size: str = "B", **options: object) -> MedNeXt:
        torch.manual_seed(0)
        network = mednext(size, **{"base_channels": 8, **options})
        randomise(network)
        return network

    return build


@pytest.fixture
def image() -> torch.Tensor:
    return torch.randn(2, 4, 32, 32, 32, generator=torch.Generator().manual_seed(1))
