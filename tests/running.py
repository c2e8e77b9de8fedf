"""Runs a command by its own entry point in this process, which spares the seconds of importing torch each time.

What a shell would see is kept: both streams by their file descriptors, the exit code, Python's own last words.
"""

import contextlib
import io
import logging
import os
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import IO, Any

BIN = Path(sys.executable).parent
SILENT = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)  # Python's own choice


Seen = subprocess.CompletedProcess[str]


def run_alone(words: Sequence[str], env: Mapping[str, str | None]) -> Seen:
    """The installed command as a process of its own; a variable that is None is removed."""
    variables = {name: value for name, value in {**os.environ, **env}.items() if value is not None}
    return subprocess.run(
        [str(BIN / words[0]), *words[1:]], env=variables, capture_output=True, text=True, timeout=900, check=False
    )


def run_here(words: Sequence[str], env: Mapping[str, str | None]) -> Seen:
    """The same function that the installed command calls, in this process."""
    (script,) = entry_points(group="console_scripts", name=words[0])
    entry = script.load()
    with _variables(env), _streams() as (out, err), _as_in_a_new_process():
        before, sys.argv = sys.argv, list(words)
        try:
            code = _exit_code(entry)
        finally:
            sys.argv = before
    return Seen(words, code, out.getvalue(), err.getvalue())


def _exit_code(entry: Any) -> int:
    """What the shell gets, and on standard error what the interpreter says last."""
    try:
        code = entry()
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
        return 1
    if isinstance(code, str):
        sys.stderr.write(code + "\n")
        return 1
    return int(code or 0)


@contextlib.contextmanager
def _variables(env: Mapping[str, str | None]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update({name: value for name, value in env.items() if value is not None})
    for name in [name for name, value in env.items() if value is None]:
        os.environ.pop(name, None)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextlib.contextmanager
def _streams() -> Iterator[tuple[io.StringIO, io.StringIO]]:
    """Both streams, whether Python or a library in C writes them; what was written is there at the end."""
    texts = io.StringIO(), io.StringIO()
    before = sys.stdout, sys.stderr
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        files: tuple[IO[bytes], IO[bytes]] = (out, err)
        kept = [os.dup(1), os.dup(2)]
        for stream in before:
            stream.flush()
        for number, file in enumerate(files, 1):
            os.dup2(file.fileno(), number)
        sys.stdout, sys.stderr = (open(number, "w", closefd=False) for number in (1, 2))  # noqa: SIM115
        try:
            yield texts
        finally:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            sys.stdout, sys.stderr = before
            for number, descriptor in enumerate(kept, 1):
                os.dup2(descriptor, number)
                os.close(descriptor)
            for file, text in zip(files, texts, strict=True):
                file.seek(0)
                text.write(file.read().decode())


@contextlib.contextmanager
def _as_in_a_new_process() -> Iterator[None]:
    """Logging and warnings as no test runner has set them."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    root.handlers.clear()
    try:
        with warnings.catch_warnings():
            warnings.resetwarnings()
            for kind in SILENT:
                warnings.simplefilter("ignore", kind)
            warnings.showwarning = _show_warning
            yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


def _show_warning(message: Any, category: Any, filename: str, lineno: int, *_: Any) -> None:
    sys.stderr.write(warnings.formatwarning(message, category, filename, lineno))
