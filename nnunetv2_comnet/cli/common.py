"""What several commands ask of their arguments and of the environment."""

import os
from pathlib import Path
from typing import Any, ClassVar

import typer
from typer.core import TyperCommand

from nnunetv2_comnet.errors import ConfigurationError


class ListOptions(TyperCommand):
    """Takes `-f 0 1 2` as nnU-Net's commands do, for each of `flags`; the parser itself knows only `-f 0 -f 1 -f 2`."""

    flags: ClassVar[tuple[str, ...]] = ()

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        words: list[str] = []
        current: str | None = None
        for word in args:
            if word.startswith("-"):
                current = word if word in self.flags else None
            elif current is not None and words[-1] != current and self.belongs_to_list(word):
                words.append(current)
            words.append(word)
        return super().parse_args(ctx, words)

    def belongs_to_list(self, word: str) -> bool:
        """Whether a word after a flag's first value is one more; a command whose arguments look otherwise says so."""
        return True


def dataset_id(value: int) -> int:
    """Checks a dataset id: nnU-Net's names hold three digits."""
    if not 1 <= value <= 999:
        raise typer.BadParameter(f"{value} is not a dataset id; use a number from 1 to 999")
    return value


def require_variables(*names: str) -> None:
    """Raises `ConfigurationError` unless each environment variable names an existing folder."""
    for name in names:
        value = os.environ.get(name)
        if not value:
            raise ConfigurationError(f"environment variable {name} is not set; export {name}=/a/folder of yours")
        if not Path(value).is_dir():
            raise ConfigurationError(f"{name} names {value}, which is not a folder; create it: mkdir -p {value}")


def output_folder(path: Path) -> Path:
    """Raises `ConfigurationError` where results cannot go into `path`, before anything is computed for it."""
    if os.path.lexists(path) and not path.is_dir():
        raise ConfigurationError(f"the output {path} is not a folder; choose another")
    return path
