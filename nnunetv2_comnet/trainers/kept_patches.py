"""The batches of one epoch, over and over: made once, then kept in memory."""

from collections.abc import Iterator
from typing import Any


class KeptPatches:
    """Iterates for ever over the first `per_epoch` batches of a loader, in their order.

    Making a batch and its coarse map costs more than a step of the refiner; what differs between epochs is drawn anew:
    crops, temperatures, times and noise.
    """

    def __init__(self, loader: Any, per_epoch: int) -> None:
        self._loader, self._per_epoch = loader, per_epoch
        self._kept: list[Any] = []
        self._next = 0

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if len(self._kept) < self._per_epoch:
            self._kept.append(next(self._loader))
            if len(self._kept) == self._per_epoch and hasattr(self._loader, "_finish"):
                self._loader._finish()  # ends the worker processes
        batch = self._kept[self._next % self._per_epoch]
        self._next += 1
        return batch
