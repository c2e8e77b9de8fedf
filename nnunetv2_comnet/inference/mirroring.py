"""A network averaged over mirrored images: as many of them in one batch as the device's memory holds."""

import contextlib
from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor, nn


class MirroredNetwork:
    """Tile (1, C, D, H, W) -> mean answer (1, R, D, H, W), float32, over the mirror images along `axes` (0 to 2).

    No axes: the network alone. at_once: images in a batch; None takes all of them on a GPU and one elsewhere. Where
    they do not fit into a GPU's memory, half as many are tried from then on. One by one, the result is nnU-Net's to the
    bit; a batch may differ in its last bits.
    """

    def __init__(self, network: nn.Module, axes: Sequence[int] = (), at_once: int | None = None) -> None:
        self.network = network
        self.flips = [
            tuple(axis + 2 for axis in chosen) for count in range(len(axes) + 1) for chosen in combinations(axes, count)
        ]
        self.at_once = at_once

    def __call__(self, tile: Tensor) -> Tensor:
        if self.at_once is None:
            # On a CPU a batch costs memory and saves nothing: one image keeps all cores busy.
            self.at_once = len(self.flips) if tile.device.type == "cuda" else 1
        while True:
            try:
                return self._mean(tile, self.at_once)
            except torch.cuda.OutOfMemoryError:
                if self.at_once == 1:
                    raise
                self.at_once = (self.at_once + 1) // 2
            torch.cuda.empty_cache()

    def _mean(self, tile: Tensor, at_once: int) -> Tensor:
        total: Tensor | None = None
        for first in range(0, len(self.flips), at_once):
            flips = self.flips[first : first + at_once]
            batch = torch.cat([tile.flip(flip) for flip in flips]) if len(flips) > 1 or flips[0] else tile
            with _as_nnunet_computes(tile.device):
                answers = self.network(batch)
            for answer, flip in zip(answers.split(1), flips, strict=True):
                mirrored_back = answer.flip(flip) if flip else answer
                if total is None:
                    # A copy: a network may use the memory of its answer again.
                    total = mirrored_back.to(torch.float32, copy=True)
                else:
                    total += mirrored_back
        assert total is not None
        return total if len(self.flips) == 1 else total.div_(len(self.flips))


def _as_nnunet_computes(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Half precision on a GPU, float32 elsewhere."""
    return torch.autocast(device.type) if device.type == "cuda" else contextlib.nullcontext()
