"""CUDA graphs for inference tiles: one recording of the network per tile shape, replayed without its launches' cost.

A network of many small kernels keeps a GPU waiting for the processor that launches them; a recorded graph is launched
as one. Not measured on a GPU. Everything but inference on a GPU goes to the network as it is.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

MAX_RECORDINGS = 4  # whole and partial batches of tiles; each keeps its activations' memory
WARM_UPS = 3


@dataclass
class Recording:
    """A graph, the buffer that it reads and what it writes: tensors that every replay overwrites."""

    graph: Any
    input: Tensor
    output: Any


class GraphedNetwork(nn.Module):
    """Calls `network(tile)`; on a GPU, without gradients and in eval mode, by a graph recorded per input.

    network: tensor (B, C, D, H, W) -> a tensor, or a list or tuple of tensors. The output is a copy that later calls do
    not change. A recording holds for one shape, type, memory layout, device, autocast type and place of the weights:
    weights that are copied in place (`load_state_dict`) are seen, moved ones cause a new recording. The network must
    not depend on anything else, and not read values back to the processor. Where recording fails, the network is called
    as it is, and `refused` holds the reason. `enabled` can be set at any time.
    """

    def __init__(self, network: nn.Module, *, enabled: bool = True, max_recordings: int = MAX_RECORDINGS) -> None:
        super().__init__()
        self.network = network
        self.enabled = enabled
        self.refused: dict[tuple[Any, ...], str] = {}
        self._max_recordings = max_recordings
        self._recordings: OrderedDict[tuple[Any, ...], Recording] = OrderedDict()

    @property
    def recordings(self) -> int:
        """How many graphs are held."""
        return len(self._recordings)

    def forward(self, tile: Tensor) -> Any:
        if not self._applies(tile):
            return self.network(tile)
        key = self._key(tile)
        if key in self.refused:
            return self.network(tile)
        recording = self._recordings.get(key)
        if recording is None:
            try:
                recording = self._record(tile)
            except torch.cuda.OutOfMemoryError:
                raise
            except RuntimeError as error:
                self.refused[key] = str(error).splitlines()[0]
                return self.network(tile)
            self._recordings[key] = recording
            while len(self._recordings) > self._max_recordings:
                self._recordings.popitem(last=False)
        self._recordings.move_to_end(key)
        recording.input.copy_(tile)
        recording.graph.replay()
        return copied(recording.output)

    def _applies(self, tile: Tensor) -> bool:
        if not self.enabled or tile.device.type != "cuda" or self.training or torch.compiler.is_compiling():
            return False
        return not torch.is_grad_enabled() or not (
            tile.requires_grad or any(parameter.requires_grad for parameter in self.network.parameters())
        )

    def _key(self, tile: Tensor) -> tuple[Any, ...]:
        autocast = torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else None
        places = hash(tuple(t.data_ptr() for t in (*self.network.parameters(), *self.network.buffers())))
        return tile.shape, tile.stride(), tile.dtype, tile.device, autocast, places

    def _record(self, tile: Tensor) -> Recording:
        """Runs the network a few times, so that libraries choose their kernels, then records it.

        Autocast's cache of converted weights is off: a graph must not hold on to what leaving autocast frees, and
        must convert the weights that are there when it is replayed.
        """
        is_autocast, dtype = torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda")
        with (
            torch.cuda.device(tile.device),
            torch.no_grad(),
            torch.autocast("cuda", dtype=dtype, enabled=is_autocast, cache_enabled=False),
        ):
            buffer = tile.clone()
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(WARM_UPS):
                    self.network(buffer)
            torch.cuda.current_stream().wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                output = self.network(buffer)
        return Recording(graph, buffer, output)


def copied(output: Any) -> Any:
    """Copies every tensor of a nested output."""
    if isinstance(output, Tensor):
        return output.clone()
    return type(output)(copied(part) for part in output)
