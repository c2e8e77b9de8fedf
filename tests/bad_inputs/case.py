"""What a case of the corpus declares: a bad input, the command that meets it, and the words that it must get."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ANY = "<...>"  # in a text that must be met: something on the line that may vary


def nothing(here: Path) -> None:
    """For a mistake in the command line alone."""


@dataclass(frozen=True)
class BadInput:
    """One bad input. Texts hold placeholders: <HERE> is the case's own folder, <MODEL> and <REFINED> trained models.

    make: writes the input below the case's folder. words: the command line. says: standard error, line by line, whole.
    report: of `comnet convert`, what the report must say of the excluded patient. makes: patterns of files that may be
    there afterwards and were not before. shell: also run by a shell, as a process of its own.
    """

    title: str
    words: str
    says: tuple[str, ...] = ()
    make: Callable[[Path], object] = nothing
    code: int = 1
    report: str = ""
    env: Mapping[str, str | None] = field(default_factory=dict)
    makes: tuple[str, ...] = ()
    shell: bool = False

    @property
    def command(self) -> str:
        """What the case belongs to in the listing."""
        words = self.words.split()
        return words[1] if words[0] == "comnet" else words[0]

    @property
    def message(self) -> str:
        """The text that a user reads, in the listing."""
        return self.report or "; then: ".join(self.says) or "(none: it works)"


def meets(text: str, wanted: str) -> bool:
    """Whether `text` is `wanted`, word by word, but for what stands in place of `ANY`."""
    return re.fullmatch(".+".join(re.escape(part) for part in wanted.split(ANY)), text) is not None


def filled(text: str, places: Mapping[str, Path]) -> str:
    """The text with folders in place of their names."""
    for name, folder in places.items():
        text = text.replace(f"<{name}>", str(folder))
    return text


def named(text: str, places: Mapping[str, Path]) -> str:
    """The other way round, for the listing."""
    for name, folder in places.items():
        text = text.replace(str(folder), f"<{name}>")
    return text


def shared(here: Path, name: str) -> Path:
    """What all cases read and none writes, beside their own folders: model, refined, blobs (preprocessed data)."""
    return here.parent / name
