"""The command line, called in this process."""

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def comnet(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """`comnet convert ... -d 501 --jobs 1` in this process, through the same `main` as the installed command."""
    from nnunetv2_comnet.cli.app import main

    def call(*words: Any) -> Outcome:
        given = [str(word) for word in words]
        given += [] if "-d" in given else ["-d", "501"]
        given += [] if "--jobs" in given else ["--jobs", "1"]
        monkeypatch.setattr(sys, "argv", ["comnet", "convert", *given])
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        printed = capsys.readouterr()
        return Outcome(code, printed.out, printed.err)

    return call
