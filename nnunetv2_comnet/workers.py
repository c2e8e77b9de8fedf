"""Runs tasks in worker processes: a worker that dies costs its own task alone, an interruption ends all at once.

Workers are spawned, on every system: a forked process whose parent has threads (torch and ITK have) can hang.
"""

import contextlib
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from nnunetv2_comnet.errors import ConfigurationError, DataError

Item = TypeVar("Item")
Result = TypeVar("Result")

GRACE_S = 3.0  # for a worker to take its unfinished files away before it is killed


def allowed_cores() -> int:
    """Counts the cores that this process may run on: in a job of a cluster fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def allowed_threads() -> int:
    """Returns OMP_NUM_THREADS where it is set, else `allowed_cores`; nnU-Net takes every core of the machine."""
    wanted = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()  # OpenMP: one number for each level of nesting
    return int(wanted) if wanted.isdecimal() and int(wanted) > 0 else allowed_cores()


def require_jobs(jobs: int) -> None:
    """Raises `ConfigurationError` for a number of processes below 1."""
    if jobs < 1:
        raise ConfigurationError(f"{jobs} jobs cannot run; give --jobs 1 or more")


def run_all(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    jobs: int,
    *,
    name: Callable[[Item], str] = str,
    on_death: Callable[[Item], Result] | None = None,
    ordered: bool = True,
) -> Iterator[Result]:
    """Yields `work(item)` for all items, from at most `jobs` processes; the arguments are those of `Workers.run`."""
    with Workers(max(1, min(jobs, len(items)))) as workers:
        yield from workers.run(work, items, name=name, on_death=on_death, ordered=ordered)


@dataclass
class _Worker:
    """A process, this side of its pipe, and the position of the task that it has."""

    process: BaseProcess
    pipe: "Connection[Any, Any]"
    task: int


class Workers:
    """Up to `jobs` processes, started when needed and kept for the next tasks; with one job, this process works itself.

    A context manager: on its exit every process ends.
    """

    def __init__(self, jobs: int) -> None:
        require_jobs(jobs)
        self.jobs = jobs
        self._idle: list[_Worker] = []
        self._busy: list[_Worker] = []

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        _end([*self._idle, *self._busy])

    def run(
        self,
        work: Callable[[Item], Result],
        items: Sequence[Item],
        *,
        name: Callable[[Item], str] = str,
        on_death: Callable[[Item], Result] | None = None,
        ordered: bool = True,
    ) -> Iterator[Result]:
        """Yields `work(item)` for all items.

        Where a worker is killed, or has no memory, its task is tried once more in the end, with no other beside it. An
        exception of `work` ends the run.

        Args:
            work: Can be pickled, as the items and results can.
            items: One task each.
            name: What an item is called in a message.
            on_death: Gives the result of an item that kills its worker twice; None: a `DataError` that names it.
            ordered: Whether results come in the order of the items, or as they are ready.
        """
        if self.jobs == 1:
            yield from map(work, items)
            return
        early: dict[int, _Success | _Failure] = {}
        following = 0
        try:
            for position, answer in self._answers(work, items, name, on_death):
                following = following if ordered else position
                early[position] = answer
                while following in early:  # an exception waits for its turn too: the first one is that of a single job
                    yield early.pop(following).value()
                    following += 1
        finally:  # also where the caller stops early
            _end(self._busy)
            self._busy = []

    def _answers(
        self,
        work: Callable[[Item], Result],
        items: Sequence[Item],
        name: Callable[[Item], str],
        on_death: Callable[[Item], Result] | None,
    ) -> "Iterator[tuple[int, _Success | _Failure]]":
        """Yields the position and the answer of each item, as they are ready."""
        waiting, again, last_tries = deque(range(len(items))), deque[int](), set[int]()
        while waiting or again or self._busy:
            while waiting and len(self._busy) < self.jobs:
                self._give(work, items, waiting.popleft())
            if not self._busy:
                last_tries.add(again[0])
                self._give(work, items, again.popleft())
            ready = wait([worker.pipe for worker in self._busy])
            for worker in [worker for worker in self._busy if worker.pipe in ready]:
                answer = self._answer_of(worker)
                position = worker.task
                if answer is None:  # it has just started
                    _send(worker, work, items)
                elif not answer.for_want_of_memory:
                    yield position, answer
                elif position not in last_tries:
                    again.append(position)
                elif on_death is not None:
                    yield position, _Success(on_death(items[position]))
                else:
                    said = "the process that worked on it was killed, twice, perhaps because memory ran out"
                    yield position, _Failure(DataError(f"{name(items[position])}: {said}; use fewer --jobs"))

    def _answer_of(self, worker: _Worker) -> "_Success | _Failure | None":
        """Returns a worker's answer, None when it has just started, a `_Failure` when it was killed."""
        try:
            answer: _Success | _Failure | None = worker.pipe.recv()
        except (EOFError, OSError):
            self._busy.remove(worker)
            _end([worker])
            return _Failure(MemoryError())
        if answer is not None:
            self._busy.remove(worker)
            self._idle.append(worker)
        return answer

    def _give(self, work: Callable[[Item], Result], items: Sequence[Item], position: int) -> None:
        """Hands a task to a worker that is idle, or to a new one, which takes it when it has started."""
        if self._idle:
            worker = self._idle.pop()
            worker.task = position
            self._busy.append(worker)
            _send(worker, work, items)
            return
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs,), daemon=True)
        with _interruptions_held_back():
            process.start()
            self._busy.append(_Worker(process, ours, position))
        theirs.close()


def _send(worker: _Worker, work: Callable[[Item], Result], items: Sequence[Item]) -> None:
    with contextlib.suppress(OSError):  # of a worker that has died; its pipe says so when it is read
        worker.pipe.send((work, items[worker.task]))


def _end(workers: Sequence[_Worker]) -> None:
    """Ends the processes, within `GRACE_S`."""
    for worker in workers:
        worker.process.terminate()
    until = time.monotonic() + GRACE_S
    for worker in workers:
        worker.process.join(max(0.0, until - time.monotonic()))
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
        worker.pipe.close()


@contextlib.contextmanager
def _interruptions_held_back() -> Iterator[None]:
    """Delays Ctrl-C; a process that is started meanwhile ignores it, so that the parent alone answers."""
    if not hasattr(signal, "pthread_sigmask"):  # on Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@dataclass(frozen=True)
class _Success:
    result: Any
    for_want_of_memory = False

    def value(self) -> Any:
        return self.result


@dataclass(frozen=True)
class _Failure:
    error: Exception
    trace: str = ""

    @property
    def for_want_of_memory(self) -> bool:
        """As is supposed of a worker that was killed."""
        return isinstance(self.error, MemoryError)

    def value(self) -> Any:
        raise self.error from (_InWorker(self.trace) if self.trace else None)


class _InWorker(Exception):  # noqa: N818 - not raised, but shown as the cause of what is
    """Where in a worker an exception was raised."""


def _serve(pipe: "Connection[Any, Any]") -> None:
    """Runs in a worker: reports that it has started, then answers one task after the other."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that unfinished files are taken away
    threading.Thread(target=_end_with_parent, daemon=True).start()
    answer: _Success | _Failure | None = None
    with contextlib.suppress(EOFError, OSError):  # the parent has gone
        while True:
            try:
                pipe.send(answer)
            except (AttributeError, TypeError, pickle.PicklingError) as error:  # a result that cannot be sent
                pipe.send(_failure(error))
            answer = _answer(*pipe.recv())


def _answer(work: Callable[[Any], Any], item: Any) -> _Success | _Failure:
    try:
        return _Success(work(item))
    except Exception as error:  # the parent raises it
        return _failure(error)


def _failure(error: Exception) -> _Failure:
    trace = traceback.format_exc()
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # some exceptions take more arguments than they keep
        return _Failure(RuntimeError(f"{type(error).__name__}: {error}"), trace)
    return _Failure(error, trace)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
