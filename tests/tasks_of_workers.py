"""Tasks for worker processes, some of which kill them; a module of its own, so that a worker has little to import."""

import os
import signal
import time
from pathlib import Path
from typing import Any

from nnunetv2_comnet.errors import DataError

STARTED = "started-"


class Bad(Exception):  # noqa: N818
    """Takes more arguments than it keeps."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} {second}")


def double(seconds: float) -> float:
    time.sleep(seconds)
    return 2 * seconds


def process(_: int) -> int:
    return os.getpid()


def fail(item: Any) -> Any:
    if item is Bad:
        raise Bad("of", "two")
    if item == 1:
        raise DataError(f"case {item} is broken")
    return item


def unpicklable(_: int) -> Any:
    return lambda: None


def die_once(task: tuple[int, str, Path]) -> int:
    """Kills its process on 3 always, on 5 the first time (a file remembers)."""
    item, how, folder = task
    marker = folder / "died"
    if item == 3 or (item == 5 and not marker.exists()):
        if item == 5:
            marker.touch()
        die(item, how)
    return 2 * item


def die(item: int, how: str = "exit") -> None:
    if how == "exit":
        os._exit(9)
    os.kill(os.getpid(), signal.SIGKILL)


def no_memory(item: int) -> int:
    if item == 3:
        raise MemoryError
    return item


def wait_for_ever(folder: Path) -> None:
    unfinished = folder / f"{STARTED}{os.getpid()}"
    try:
        unfinished.touch()
        time.sleep(3600)
    finally:
        unfinished.unlink()
