"""Batches that are a function of the seed and of their number alone, whatever the workers and restarts.

nnU-Net's loader draws from the worker's own random state, so a resumed training sees other patches. Here patch number
n reseeds from (seed, n): worker t of T makes n = t, t + T, ..., and a resumed training starts at the n where it was.
"""

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from batchgenerators.dataloading.multi_threaded_augmenter import MultiThreadedAugmenter
from batchgenerators.dataloading.single_threaded_augmenter import SingleThreadedAugmenter
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader


class NumberedLoader(nnUNetDataLoader):
    """nnU-Net's loader over one endless sequence of cases: pass after pass, every case once, in an order drawn anew.

    `seed`: the training's. `first`: number of the first batch. `period`: after so many batches the sequence starts
    again from its beginning, in the order of the cases (validation: every epoch sees the same patches). `rank` of
    `world_size` processes takes every world_size-th batch, so two GPUs see in one step what one sees in two.
    """

    def __init__(
        self,
        *args: Any,
        seed: int,
        first: int = 0,
        period: int | None = None,
        rank: int = 0,
        world_size: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.seed, self.period = seed, period
        self.rank, self.world_size = rank, world_size
        self.workers = 0
        self._next = first
        self._started = False

    def case_of(self, place: int) -> str:
        """The case at a place of the sequence."""
        which_pass, index = divmod(place, len(self.indices))
        if self.period is not None:
            return str(self.indices[index])
        order = np.random.default_rng([self.seed, which_pass]).permutation(len(self.indices))
        return str(self.indices[order[index]])

    def get_indices(self) -> list[str]:
        """The cases of the batch that is being made (nnU-Net asks for them first)."""
        first = self._place() * self.batch_size
        return [self.case_of(first + offset) for offset in range(self.batch_size)]

    def generate_train_batch(self) -> dict[str, Any]:
        """The next batch: 'data' (B, C, D, H, W), 'target' per scale, 'keys'."""
        if self.workers and not self._started:
            self._next += self.thread_id
            torch.set_num_threads(1)  # a forked worker that enters its parent's thread pool waits for ever
            self._started = True
        with seeded(self.seed, int(self.period is not None), self._place()):
            batch: dict[str, Any] = super().generate_train_batch()
        self._next += max(1, self.workers)
        return batch

    def _place(self) -> int:
        number = self._next if self.period is None else self._next % self.period
        return number * self.world_size + self.rank


@contextlib.contextmanager
def seeded(*entropy: int) -> Iterator[None]:
    """Seeds Python's, numpy's and torch's (CPU) generators inside the block and restores them after it."""
    before = random.getstate(), np.random.get_state(), torch.random.get_rng_state()
    words = np.random.SeedSequence(entropy).generate_state(3)
    random.seed(int(words[0]))
    np.random.seed(int(words[1]))
    torch.manual_seed(int(words[2]))
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.random.set_rng_state(before[2])


def in_order(loader: NumberedLoader, workers: int, pin_memory: bool) -> Any:
    """Runs the loader in this process (workers 0) or in several that hand over their batches in turn, in order."""
    if workers == 0:
        return SingleThreadedAugmenter(loader, None)
    loader.workers = workers
    return MultiThreadedAugmenter(loader, None, workers, num_cached_per_queue=2, pin_memory=pin_memory, wait_time=0.002)
