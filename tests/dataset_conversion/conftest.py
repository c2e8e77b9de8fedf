"""`comnet convert`, called in this process."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from tests.running import run_here


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def comnet() -> Callable[..., Outcome]:
    """`comnet convert ... -d 501 --jobs 1`."""

    def call(*words: Any) -> Outcome:
        given = [str(word) for word in words]
        given += [] if "-d" in given else ["-d", "501"]
        given += [] if "--jobs" in given else ["--jobs", "1"]
        seen = run_here(["comnet", "convert", *given], {})
        return Outcome(seen.returncode, seen.stdout, seen.stderr)

    return call
