"""Batches that are a function of the seed and of their number alone, whatever the workers and restarts.

nnU-Net's loader draws from the worker's own random state, so a resumed training sees other patches. Here patch number
n reseeds from (seed, n): worker t of T makes n = t, t + T, ..., and a resumed training starts at the n where it was.
"""

import contextlib
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from batchgenerators.dataloading.multi_threaded_augmenter import MultiThreadedAugmenter
from batchgenerators.dataloading.single_threaded_augmenter import SingleThreadedAugmenter
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class, nnUNetDatasetBlosc2

from nnunetv2_comnet.crossval import require_fold
from nnunetv2_comnet.errors import DataError

STOCK_FOLDS = 5  # of the split that nnU-Net makes by itself


def require_data(folder: Path, splits: Path, fold: int | str, remedy: str) -> None:
    """Raises `DataError` where `folder` holds no case or a broken one, or `splits` gives the fold nothing to do.

    remedy: the command that preprocesses.
    """
    kind = infer_dataset_class(str(folder)) if any(folder.glob("*")) else None
    known = sorted(kind.get_identifiers(str(folder))) if kind else []
    if not known:
        raise DataError(f"{folder} holds no preprocessed case; run: {remedy}")
    if splits.is_file():
        require_fold(splits, fold, set(known))
    elif isinstance(fold, int) and not fold < STOCK_FOLDS <= len(known):
        raise DataError(
            f"{splits} does not exist, and nnU-Net's own split needs {STOCK_FOLDS} cases and a fold below "
            f"{STOCK_FOLDS}: there are {len(known)} cases, and fold {fold} is asked for"
        )
    if kind is not nnUNetDatasetBlosc2:  # whose files open without being read
        return
    cases = kind(str(folder), known)
    for case in known:
        try:
            cases.load_case(case)
        except Exception as error:  # whatever a broken file makes blosc2 or pickle raise
            raise DataError(f"case {case} cannot be read from {folder}; preprocess it again: {remedy}") from error


class NumberedLoader(nnUNetDataLoader):
    """nnU-Net's loader over one endless sequence of cases: pass after pass, every case once, in a new order.

    Args:
        seed: The training's.
        first: Number of the first batch.
        period: After so many batches the sequence starts again, in the order of the cases (validation: every epoch
            sees the same patches).
        rank, world_size: Each process takes every world_size-th batch: two GPUs see in a step what one sees in two.
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
        """Returns the case at a place of the sequence."""
        which_pass, index = divmod(place, len(self.indices))
        if self.period is not None:
            return str(self.indices[index])
        order = np.random.default_rng([self.seed, which_pass]).permutation(len(self.indices))
        return str(self.indices[order[index]])

    def get_indices(self) -> list[str]:
        """Returns the cases of the current batch (nnU-Net asks for them first)."""
        first = self._place() * self.batch_size
        return [self.case_of(first + offset) for offset in range(self.batch_size)]

    def generate_train_batch(self) -> dict[str, Any]:
        """Makes the next batch: 'data' (B, C, D, H, W), 'target' per scale, 'keys'."""
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


class KeptPatches:
    """Iterates for ever over the first `per_epoch` batches of a loader, in their order.

    Making a batch and its coarse map costs more than a step of the refiner; what differs between epochs is
    drawn again: crops, temperatures, timesteps and noise.
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
