"""Tables and pictures from outside: any CSV file, such as `comnet cv-report`'s, and PNG files."""

import csv
from pathlib import Path
from typing import Any

from nnunetv2_comnet.errors import DataError

_PNG = b"\x89PNG\r\n\x1a\n"


def is_png(path: Path) -> bool:
    """Says whether the file exists and begins as a PNG does."""
    try:
        with open(path, "rb") as stream:
            return stream.read(len(_PNG)) == _PNG
    except OSError:
        return False


def read_table(path: Path) -> dict[str, Any]:
    """Reads a CSV file as title, header and rows of text. Raises `DataError` where it is not one."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as stream:
            rows = [row for row in csv.reader(stream) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as a CSV table: {error}") from error
    if not rows or any(len(row) != len(rows[0]) for row in rows):
        raise DataError(f"{path} is not a CSV table: its rows must have as many cells as its header")
    return {"title": path.stem.replace("_", " "), "header": rows[0], "rows": rows[1:]}


def with_ending(paths: list[Path], ending: str) -> list[Path]:
    """Lists files, and of a folder its files with that ending, by name. Raises `DataError` for what is not there."""
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise DataError(f"{path} does not exist")
        found += sorted(path.glob(f"*{ending}")) if path.is_dir() else [path]
    return found
