"""The command line in this process, which is faster than a new one."""

import sys
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from nnunetv2_comnet.cli import app


@pytest.fixture
def comnet_here(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Environment variables and words -> exit code, standard output, standard error."""

    def call(env: Mapping[str, str], *words: object) -> tuple[int, str, str]:
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["comnet", *map(str, words)])
        capfd.readouterr()
        code: Any = 0
        try:
            app.main()
        except SystemExit as end:
            code = end.code
        said = capfd.readouterr()
        return int(code or 0), said.out, said.err

    return call
