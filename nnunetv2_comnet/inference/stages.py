"""Three stages of work on item after item, one after another or overlapping in threads, with the same results."""

import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True)
class Outcome(Generic[Item]):
    """What became of an item: the last stage's result, or the error that ended it; seconds over its stages."""

    item: Item
    seconds: float = 0.0
    result: Any = None
    error: Exception | None = None

    def then(self, stage: Callable[[Item, Any], Any]) -> "Outcome[Item]":
        """Runs the next stage on the item and the result so far; after an error it does nothing."""
        if self.error is not None:
            return self
        start = time.monotonic()
        result, caught = None, None
        try:
            result = stage(self.item, self.result)
        except Exception as error:  # whatever happens to one item, the others are worked on
            caught = error
            traceback.clear_frames(error.__traceback__)  # they hold the item's volumes, which the next one's need
        return Outcome(self.item, self.seconds + time.monotonic() - start, result, caught)


def in_stages(
    items: Sequence[Item],
    prepare: Callable[[Item, None], Any],
    compute: Callable[[Item, Any], Any],
    finish: Callable[[Item, Any], Any],
    *,
    overlap: bool,
) -> Iterator[Outcome[Item]]:
    """Yields the outcome of every item, in their order; `compute` runs in the caller's thread, one item at a time.

    overlap: the next item is prepared, and the last one finished, in a thread each while `compute` works; of each stage
    one item at a time is in memory. An interruption of `compute` waits for both, and the finished item comes out first.
    """
    if not overlap:
        for item in items:
            yield Outcome(item).then(prepare).then(compute).then(finish)
        return
    with ThreadPoolExecutor(max_workers=1) as ahead, ThreadPoolExecutor(max_workers=1) as behind:
        coming = [ahead.submit(Outcome(items[0]).then, prepare)] if items else []
        leaving: list[Future[Outcome[Item]]] = []
        for number in range(len(items)):
            prepared = coming.pop().result()
            if number + 1 < len(items):
                coming.append(ahead.submit(Outcome(items[number + 1]).then, prepare))
            try:
                computed = prepared.then(compute)
            except BaseException:  # an interruption
                yield from (future.result() for future in leaving)
                raise
            del prepared
            if leaving:
                yield leaving.pop().result()
            leaving.append(behind.submit(computed.then, finish))
            del computed
        yield from (future.result() for future in leaving)


class OneBehind:
    """One piece of work at a time in a thread behind the caller; without `threads`, each at once in the caller's."""

    def __init__(self, *, threads: bool) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1) if threads else None
        self._working: list[Future[None]] = []

    def submit(self, work: Callable[[], None]) -> None:
        """Starts the work when the one before is done, whose error is raised here."""
        self.wait()
        if self._pool is None:
            work()
        else:
            self._working.append(self._pool.submit(work))

    def wait(self) -> None:
        """Waits until nothing is left to do; raises the error of that work."""
        if self._working:
            self._working.pop().result()
