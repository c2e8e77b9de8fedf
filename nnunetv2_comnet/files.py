"""Files are written whole or not at all: to a temporary name beside the target, flushed, then renamed."""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from nnunetv2_comnet.errors import DataError

PARTIAL = ".partial-"
GENERATED_MARKER = "phantom.json"  # in a folder of generated patients, whose data must never pass for real ones


@contextlib.contextmanager
def written_whole(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary path with the target's own name; on a clean exit it becomes `target`, else it vanishes.

    The temporary file lies in a hidden folder beside the target: on the same file system, so that the rename is
    atomic, and out of sight of readers that list `*.nii.gz` (nnU-Net would take a hidden file for a case).
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=target.parent))
    try:
        temporary = folder / target.name
        yield temporary
        _flush_to_disk(temporary)
        os.replace(temporary, target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_text(target: str | os.PathLike[str], text: str) -> None:
    """Writes `text` as UTF-8, whole or not at all; bytes of file names that are no UTF-8 as escapes."""
    with written_whole(target) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(target: str | os.PathLike[str], value: Any) -> None:
    """Writes JSON with the keys in the order given (nnU-Net reads meaning from the order of regions)."""
    write_text(target, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(source: str | os.PathLike[str]) -> Any:
    """Reads JSON; a missing or broken file is a `DataError` that names it."""
    try:
        return json.loads(Path(source).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{source} does not exist") from error
    except RecursionError as error:
        raise DataError(f"{source} cannot be read as JSON: it is nested too deeply") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{source} cannot be read as JSON: {error}") from error


def same_when_folded(names: Iterable[str]) -> dict[str, list[str]]:
    """For each name that another equals but for case or Unicode's form, those others: some disks keep one of them."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(unicodedata.normalize("NFC", name).casefold(), []).append(name)
    return {
        name: [other for other in group if other != name] for group in groups.values() for name in group if group[1:]
    }


def sha256(source: str | os.PathLike[str]) -> str:
    """The file's digest, in hexadecimal; a file that cannot be read is a `DataError`."""
    digest = hashlib.sha256()
    try:
        with open(source, "rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise DataError(f"{source} cannot be read: {error.strerror}") from error
    return digest.hexdigest()


def remove_leftovers(folder: str | os.PathLike[str]) -> None:
    """Deletes the temporary folders that a killed run left in `folder` (not in its subfolders)."""
    for leftover in Path(folder).glob(f"{PARTIAL}*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _flush_to_disk(path: Path) -> None:
    with open(path, "rb+") as stream:
        os.fsync(stream.fileno())
