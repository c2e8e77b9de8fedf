"""Sends what nnU-Net and the readers print to the log, and makes one line of an error."""

import contextlib
import io
import logging
import re
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any, TextIO

import torch

from nnunetv2_comnet.errors import ComnetError

log = logging.getLogger(__name__)

_NO_MEMORY = re.compile("DefaultCPUAllocator|not enough memory|can't allocate memory|std::bad_alloc")  # torch, ITK
LONGEST = 300  # characters of a message of nnU-Net, torch or ITK in a line of ours


class _OutputPerThread:
    """Replaces standard output while any thread listens; what such a thread prints goes to that thread alone."""

    def __init__(self) -> None:
        self._local = threading.local()
        self._lock = threading.Lock()
        self._listeners = 0
        self._real: TextIO = sys.stdout
        self._filters = contextlib.ExitStack()

    @property
    def _heard(self) -> list[io.StringIO]:
        if not hasattr(self._local, "heard"):
            self._local.heard = []
        heard: list[io.StringIO] = self._local.heard
        return heard

    def write(self, text: str) -> int:
        return (self._heard[-1] if self._heard else self._real).write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def listen(self) -> io.StringIO:
        """Starts to keep what this thread prints."""
        with self._lock:
            if not self._listeners:
                self._real, sys.stdout = sys.stdout, self
                self._filters.enter_context(warnings.catch_warnings())
                warnings.simplefilter("ignore")
            self._listeners += 1
        self._heard.append(io.StringIO())
        return self._heard[-1]

    def leave(self) -> None:
        """Ends the last `listen` of this thread; the last of all threads restores standard output."""
        self._heard.pop()
        with self._lock:
            self._listeners -= 1
            if not self._listeners:
                sys.stdout = self._real
                self._filters.close()


_output = _OutputPerThread()


@contextlib.contextmanager
def nnunet_messages_to_log() -> Iterator[io.StringIO]:
    """Keeps what this thread prints off standard output, yields it as it grows, and logs it at debug level in the end.

    Threads may do so at the same time. Warnings are silenced in all threads meanwhile.
    """
    said = _output.listen()
    try:
        yield said
    finally:
        _output.leave()
        if said.getvalue().strip():
            log.debug("%s", said.getvalue().rstrip())


def one_line(error: BaseException | str) -> str:
    """Puts a text or an exception on one line of at most `LONGEST` characters, with the type where needed."""
    text = " ".join(str(error).split())
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return "not enough GPU memory; --not_on_device keeps whole volumes off the GPU"
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and _NO_MEMORY.search(text)):
        text = f"not enough memory: {text or 'no more is known'}"
    elif isinstance(error, BaseException) and not isinstance(error, ComnetError | SystemExit | OSError | RuntimeError):
        text = f"{type(error).__name__}: {text}"
    elif isinstance(error, BaseException):
        text = text or type(error).__name__
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."
