"""One target under many inputs: it returns, or raises an error of ours in one line; all else is a finding."""

import contextlib
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from hypothesis import HealthCheck, Phase, given, settings

from nnunetv2_comnet.errors import ComnetError
from tests.fuzz.targets import Target

LONGEST_S = 60  # of one input; a hang is a finding


@contextlib.contextmanager
def denormals() -> Iterator[None]:
    """hypothesis draws no floats where the processor flushes denormals, as our trainers make it do."""
    torch.set_flush_denormal(False)
    try:
        yield
    finally:
        torch.set_flush_denormal(True)


@contextlib.contextmanager
def _at_most(seconds: int) -> Iterator[None]:
    def hang(*_: Any) -> None:
        raise AssertionError(f"still running after {seconds} s")

    before = signal.signal(signal.SIGALRM, hang)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def fuzz(target: Target, examples: int, *, seeded: bool = True) -> int:
    """Tries so many inputs; returns how many it were. The first finding is raised, made as small as can be."""
    tried = 0

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=seeded,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(value=target.drawn)
    def run(value: Any) -> None:
        nonlocal tried
        tried += 1
        said = "nothing"
        folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
        try:
            with _at_most(LONGEST_S):
                target.call(value, folder)
        except ComnetError as error:
            said = str(error)
        finally:
            shutil.rmtree(folder)
        assert said.isprintable()

    with denormals():
        run()
    return tried
