"""The folds' weights, read from their checkpoints one at a time: memory does not grow with the number of folds."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import overload

from torch import Tensor

from nnunetv2_comnet.trust.checkpoints import read_checkpoint

Weights = dict[str, Tensor]


class FoldWeights(Sequence[Weights]):
    """Stands where nnU-Net keeps the weights of all folds at once.

    Each access maps a checkpoint into memory, and only what is copied into the network is read; the optimiser's state,
    two thirds of the file, never is. prefix: only the weights below it, without it. Raises `DataError` for a
    checkpoint that cannot be read.
    """

    def __init__(self, checkpoints: Sequence[Path], prefix: str = "") -> None:
        self.checkpoints, self.prefix = tuple(checkpoints), prefix

    def __len__(self) -> int:
        return len(self.checkpoints)

    @overload
    def __getitem__(self, index: int) -> Weights: ...
    @overload
    def __getitem__(self, index: slice) -> "FoldWeights": ...
    def __getitem__(self, index: int | slice) -> "Weights | FoldWeights":
        if isinstance(index, slice):
            return FoldWeights(self.checkpoints[index], self.prefix)
        weights: Weights = read_checkpoint(self.checkpoints[index])["network_weights"]
        return {
            name.removeprefix(self.prefix): value for name, value in weights.items() if name.startswith(self.prefix)
        }

    def below(self, prefix: str) -> "FoldWeights":
        """The same checkpoints, seen from one part of the network."""
        return FoldWeights(self.checkpoints, self.prefix + prefix)


def read_ahead(folds: FoldWeights) -> Iterator[Weights]:
    """The folds' weights in turn; while the caller works with one, a thread reads the next from disk, no further.

    Raises `DataError` when the turn comes to a checkpoint that cannot be read.
    """
    with ThreadPoolExecutor(max_workers=1) as reader:
        coming = reader.submit(_read, folds, 0)
        for index in range(len(folds)):
            read = [coming.result()]
            if index + 1 < len(folds):
                coming = reader.submit(_read, folds, index + 1)
            else:
                del coming
            yield read.pop()  # no name is left for it here: the caller alone decides how long it lives


def _read(folds: FoldWeights, index: int) -> Weights:
    """One fold's weights in memory of their own, so that nothing is left to be read from disk."""
    return {name: value.clone() for name, value in folds[index].items()}
