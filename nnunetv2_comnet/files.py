"""Files are written whole or not at all: to a temporary name beside the target, flushed, then renamed."""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
import time
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from nnunetv2_comnet.errors import DataError, OutputError

Kind = TypeVar("Kind")
PARTIAL = ".partial-"
GENERATED_MARKER = "phantom.json"  # in a folder of generated patients, whose data must never pass for real ones
_CLOCK_TICK_NS = 1_000_000_000  # coarser than any file system's clock but FAT's
_digests: dict[tuple[str, int, int, int, int], str] = {}  # by path, inode, size and times of change
_MAKE_ROOM, _MAY_NOT = "make room", "choose a folder that may be written to"
_REMEDIES = {
    errno.ENOSPC: _MAKE_ROOM,
    errno.EDQUOT: _MAKE_ROOM,
    errno.EFBIG: "raise the limit of a file's size (ulimit -f)",
    errno.EROFS: _MAY_NOT,
    errno.EACCES: _MAY_NOT,
    errno.EPERM: _MAY_NOT,
}


@contextlib.contextmanager
def written_whole(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary path with the target's own name; on a clean exit it becomes `target`, else it vanishes.

    The temporary file lies in a hidden folder beside the target: on the same file system, so that the rename is
    atomic, and out of sight of readers that list `*.nii.gz` (nnU-Net would take a hidden file for a case). Raises
    `OutputError` where it cannot be written.
    """
    with _beside(Path(target)) as temporary:
        yield temporary
        _flush_to_disk(temporary)
        _put_in_place(temporary, Path(target))


def link_whole(target: Path, source: Path) -> None:
    """Makes `target` a link to `source`, in one step even where an older file is replaced."""
    with _beside(target) as temporary:
        os.symlink(os.path.abspath(source), temporary)
        _put_in_place(temporary, target)


def cannot_write(target: str | os.PathLike[str], reason: str, remedy: str = _MAKE_ROOM) -> OutputError:
    """Returns the error of a target that could not be written, or not to its end."""
    return OutputError(f"{target} cannot be written: {reason}; {remedy}, then run the same command again")


@contextlib.contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """Yields a path with the target's name in a new hidden folder beside it; deletes that folder on exit."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=target.parent))
    except OSError as error:
        raise _as_output_error(target, error) from error
    try:
        yield folder / target.name
    except OSError as error:
        elsewhere = error.filename is not None and not str(error.filename).startswith(str(folder))
        if elsewhere or error.errno is None:  # of a file that was read meanwhile
            raise
        raise _as_output_error(target, error) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _as_output_error(target: Path, error: OSError) -> OutputError:
    remedy = _REMEDIES.get(error.errno or 0, "fix that")
    return cannot_write(target, (error.strerror or str(error)).lower(), remedy)


def _put_in_place(temporary: Path, target: Path) -> None:
    """Renames, and flushes the folder, so that the rename itself survives a power cut."""
    os.replace(temporary, target)
    with contextlib.suppress(OSError):  # some file systems, and Windows, flush no folders
        descriptor = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_text(target: str | os.PathLike[str], text: str) -> None:
    """Writes `text` as UTF-8, whole or not at all; bytes of file names that are no UTF-8 as escapes."""
    with written_whole(target) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(target: str | os.PathLike[str], value: Any) -> None:
    """Writes JSON, whole or not at all."""
    write_text(target, json_text(value))


def json_text(value: Any) -> str:
    """Returns JSON with the keys in the order given (nnU-Net reads meaning from the order of regions)."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


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


def read_checked(source: str | os.PathLike[str], kind: type[Kind], remedy: str) -> Kind:
    """Reads JSON and checks that it is a `kind`.

    Args:
        source: The file.
        kind: A pydantic model, or a type such as dict[str, str].
        remedy: What the user should do about a file that does not fit.

    Raises:
        DataError: Names the file, the field at fault and the remedy.
    """
    try:
        return TypeAdapter(kind).validate_python(read_json(source))
    except ValidationError as error:
        raise DataError(f"{source}: {first_fault(error)}; {remedy}") from error


def first_fault(error: ValidationError) -> str:
    """Returns the first of pydantic's findings on one line: the field, and what is wrong with it."""
    return faults(error)[0]


def faults(error: ValidationError) -> list[str]:
    """Returns each of pydantic's findings on one line: the field, and what is wrong with it."""
    lines = []
    for each in error.errors():
        where = ".".join(map(str, each["loc"]))
        said = " ".join(each["msg"].removeprefix("Value error, ").split())
        if each["type"] == "model_type":  # pydantic names our class, which a user does not know
            said = "Input should be an object with named fields"
        lines.append(f"{where}: {said}" if where else said)
    return lines


def same_when_folded(names: Iterable[str]) -> dict[str, list[str]]:
    """Returns, for each name that differs from others only in case or Unicode form, those others.

    Some file systems take such names for one file.
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(unicodedata.normalize("NFC", name).casefold(), []).append(name)
    return {
        name: [other for other in group if other != name] for group in groups.values() for name in group if group[1:]
    }


def sha256(source: str | os.PathLike[str]) -> str:
    """Computes the file's digest, in hexadecimal; a file that cannot be read is a `DataError`.

    A file that has not changed since this process read it is not read again: checkpoints are large, and strengths,
    manifest and record each need the digest.
    """
    try:
        status = os.stat(source)
        state = (os.path.realpath(source), status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        if state not in _digests:
            digest = hashlib.sha256()
            with open(source, "rb") as stream:
                while block := stream.read(1 << 20):
                    digest.update(block)
            if time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) < _CLOCK_TICK_NS:
                return digest.hexdigest()  # a change within the clock's tick would leave the same times
            _digests[state] = digest.hexdigest()
        return _digests[state]
    except OSError as error:
        raise DataError(f"{source} cannot be read: {error.strerror}") from error


def remove_leftovers(folder: str | os.PathLike[str]) -> None:
    """Deletes the temporary folders that a killed run left in `folder` (not in its subfolders)."""
    for leftover in Path(folder).glob(f"{PARTIAL}*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _flush_to_disk(path: Path) -> None:
    with open(path, "rb+") as stream:
        os.fsync(stream.fileno())
