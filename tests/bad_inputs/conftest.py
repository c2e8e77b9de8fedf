"""What the corpus needs: models of no training (those of tests/inference; here they are only read), and a listing."""

from pathlib import Path

import pytest

from tests.inference.conftest import model, refined_model

__all__ = ["model", "refined_model"]
ROWS: list[tuple[int, str, str, str]] = []  # number, command, input, message as seen


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--table", action="store_true", help="Print every case of the corpus with the message as seen.")


@pytest.fixture(scope="session")
def shared_places(
    tmp_path_factory: pytest.TempPathFactory, model: Path, refined_model: Path, blobs: Path
) -> dict[str, Path]:
    """Models and preprocessed data, under names beside the cases' own folders."""
    root = tmp_path_factory.mktemp("corpus")
    for name, folder in (("model", model), ("refined", refined_model), ("blobs", blobs)):
        (root / name).symlink_to(folder)
    return {"HERE": root / "case", "MODEL": root / "model", "REFINED": root / "refined"}


@pytest.fixture
def rows() -> list[tuple[int, str, str, str]]:
    return ROWS


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.getoption("--table", default=False):
        for number, command, title, message in sorted(ROWS):
            terminalreporter.write_line(f"{number:4} {command:18} {title}: {message}")
        terminalreporter.write_line(f"{len(ROWS)} cases")
