"""CUDA graphs for tiles: a plain call wherever they do not apply, the same numbers where they do."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from nnunetv2_comnet.networks.experimental.cuda_graphs import GraphedNetwork, copied

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")


def small(device: str = "cpu") -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv3d(4, 8, 3, padding=1), nn.GELU(), nn.Conv3d(8, 3, 1)).to(device).eval()


@pytest.mark.parametrize("enabled", [True, False])
def test_on_a_cpu_it_is_the_network(enabled: bool) -> None:
    network = small()
    graphed = GraphedNetwork(network, enabled=enabled)
    tile = torch.randn(2, 4, 5, 6, 7)
    with torch.no_grad():
        assert torch.equal(graphed(tile), network(tile))
    assert graphed.recordings == 0
    graphed(tile).sum().backward()  # and gradients pass
    assert network[0].weight.grad is not None


def test_copies_keep_the_structure() -> None:
    parts = [torch.ones(2), (torch.zeros(3),)]
    found = copied(parts)
    parts[0].fill_(5)
    assert isinstance(found, list)
    assert isinstance(found[1], tuple)
    assert found[0].tolist() == [1, 1]


@needs_gpu
@pytest.mark.parametrize("autocast", [False, True])
def test_replayed_tiles_equal_the_plain_call(autocast: bool) -> None:
    network = small("cuda")
    graphed = GraphedNetwork(network, max_recordings=2)
    tiles = [torch.randn(batch, 4, 8, 12, 10, device="cuda") for batch in (2, 2, 1, 2)]
    with torch.no_grad(), torch.autocast("cuda", torch.float16, enabled=autocast):
        expected = [network(tile) for tile in tiles]
        found = [graphed(tile) for tile in tiles]
    assert graphed.refused == {}
    assert graphed.recordings == 2  # one for each batch size
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3 if autocast else 1e-5)


@needs_gpu
def test_new_weights_are_seen() -> None:
    """Copied in place: the same recording. In another place: a new one."""
    network = small("cuda")
    graphed = GraphedNetwork(network)
    tile = torch.randn(1, 4, 8, 8, 8, device="cuda")
    with torch.no_grad():
        graphed(tile)
        network.load_state_dict({key: value * 2 for key, value in network.state_dict().items()})
        torch.testing.assert_close(graphed(tile), network(tile))
        assert graphed.recordings == 1
        network[0].weight = nn.Parameter(network[0].weight * 3)
        torch.testing.assert_close(graphed(tile), network(tile))
        assert graphed.recordings == 2


@needs_gpu
def test_no_graph_with_gradients_in_training_or_when_off() -> None:
    network = small("cuda")
    graphed = GraphedNetwork(network)
    tile = torch.randn(1, 4, 8, 8, 8, device="cuda")
    graphed(tile).sum().backward()
    assert network[0].weight.grad is not None
    with torch.no_grad():
        graphed.train()(tile)
        graphed.eval().enabled = False
        graphed(tile)
    assert graphed.recordings == 0


@needs_gpu
def test_a_network_that_cannot_be_recorded_is_called() -> None:
    class Reads(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * float(x.sum().item() > 0)  # reads a value back: not allowed while recording

    graphed = GraphedNetwork(Reads().eval())
    call: Callable[[Tensor], Tensor] = graphed
    with torch.no_grad():
        assert torch.equal(call(torch.ones(1, 4, 2, 2, 2, device="cuda")), torch.ones(1, 4, 2, 2, 2, device="cuda"))
    assert len(graphed.refused) == 1
    assert graphed.recordings == 0
