"""Runs cases in worker processes: a worker that dies costs its own case, an interruption ends cleanly."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def run_all(
    function: Callable[[Item], Result], items: Sequence[Item], jobs: int, on_death: Callable[[Item], Result]
) -> Iterator[Result]:
    """Yields `function(item)` for all items, in the order in which they finish.

    `jobs` of 1 runs in this process. Where a worker is killed, the items under way are tried again one by one;
    `on_death` gives the result of one that kills its worker again. An exception of `function` ends the run.
    """
    if jobs == 1:
        yield from map(function, items)
        return
    waiting = deque(items)
    while waiting:
        suspects: list[Item] = []
        yield from _run_until_death(function, waiting, min(jobs, len(waiting)), suspects)
        for item in suspects:
            yield from _run_alone(function, item, on_death)


def _executor(workers: int) -> ProcessPoolExecutor:
    # "spawn" everywhere: forking a process that has threads (ITK has) can hang.
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_prepare_worker)


def _run_until_death(
    function: Callable[[Item], Result], waiting: deque[Item], workers: int, suspects: list[Item]
) -> Iterator[Result]:
    """Works `waiting` off; on the death of a worker the items under way go to `suspects`, the rest stays in `waiting`.

    No more items are handed out than there are workers, so that few are under suspicion.
    """
    under_way: dict[Future[Result], Item] = {}
    executor = _executor(workers)
    broken = False
    try:
        while (waiting or under_way) and not broken:
            while waiting and len(under_way) < workers and not broken:
                item = waiting.popleft()
                try:
                    under_way[executor.submit(function, item)] = item
                except BrokenProcessPool:
                    waiting.appendleft(item)
                    broken = True
            for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                try:
                    result = future.result()
                except BrokenProcessPool:
                    broken = True
                    continue
                del under_way[future]
                yield result
        suspects.extend(under_way.values())
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _run_alone(function: Callable[[Item], Result], item: Item, on_death: Callable[[Item], Result]) -> Iterator[Result]:
    with _executor(1) as executor:
        try:
            yield executor.submit(function, item).result()
        except BrokenProcessPool:
            yield on_death(item)


def _prepare_worker() -> None:
    """The parent alone answers Ctrl-C; a worker whose parent was killed ends instead of waiting for ever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(1)
