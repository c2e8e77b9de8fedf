"""What several commands ask of their arguments and of the environment."""

import os
from pathlib import Path
from typing import Any, ClassVar

import typer
from typer.core import TyperCommand

from nnunetv2_comnet.errors import ConfigurationError


class ListOptions(TyperCommand):
    """Takes `-f 0 1 2` as nnU-Net's commands do, for each of `flags`; the parser itself knows only `-f 0 -f 1 -f 2`.

    A word that contains `list_end` is no value of a list.
    """

    flags: ClassVar[tuple[str, ...]] = ()
    list_end: ClassVar[str | None] = None

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        words: list[str] = []
        current: str | None = None
        for word in args:
            if word.startswith("-"):
                current = word if word in self.flags else None
            elif current is not None and words[-1] != current and not (self.list_end and self.list_end in word):
                words.append(current)
            words.append(word)
        return super().parse_args(ctx, words)


def with_lists(*flags: str, list_end: str | None = None) -> type[ListOptions]:
    """Makes the class of a command whose `flags` take several values; see `ListOptions`."""
    return type("WithLists", (ListOptions,), {"flags": flags, "list_end": list_end})


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
    """Returns `path`. Raises `ConfigurationError` where it exists and is no folder."""
    if os.path.lexists(path) and not path.is_dir():
        raise ConfigurationError(f"the output {path} is not a folder; choose another")
    return path
