"""A zip of trained models, as nnUNetv2_export_model_to_zip makes it, checked before the first byte is unpacked.

Python's own extractall trusts the names and sizes that an archive claims. Here every entry has to be a plain file below
DatasetXXX_NAME/TRAINER__PLANS__CONFIGURATION, and no larger than it says.
"""

import os
import re
import stat
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from nnunetv2_comnet.errors import DataError

MOST_TIMES = 20  # larger than the archive; weights hardly shrink, text does
FREE_BYTES = 256 << 20  # an archive of small files may unpack to so much whatever its own size
_BLOCK = 1 << 20
_DATASET = re.compile(r"Dataset\d{3,}_[A-Za-z0-9_.\-]+")
_MODEL = re.compile(r"[A-Za-z0-9.\-]+(_[A-Za-z0-9.\-]+)*(__[A-Za-z0-9.\-]+(_[A-Za-z0-9.\-]+)*){2}")
# What nnU-Net's export adds beside the models; prediction needs neither, and they belong to no single model.
_BESIDE = re.compile(r"ensembles/.+|inference_information\.(json|txt)")


@dataclass(frozen=True)
class Contents:
    """What a checked archive holds: models "DatasetXXX_NAME/TRAINER__PLANS__CONFIGURATION", sorted; their entries by
    checked path; and the names of other entries, which are left out."""

    models: tuple[str, ...]
    files: dict[str, zipfile.ZipInfo]
    left_out: tuple[str, ...]


def check_archive(archive: zipfile.ZipFile, size: int) -> Contents:
    """Lists what to unpack of an archive of `size` bytes. Raises `DataError` that names the entry that is refused."""
    files: dict[str, zipfile.ZipInfo] = {}
    left_out = []
    seen: set[str] = set()
    total = 0
    for entry in archive.infolist():
        name = entry.orig_filename  # as it is in the archive: zipfile cuts it at a NUL
        parts = _parts(name)
        _require_plain(entry)
        key = "/".join(parts).casefold()  # some file systems know no case
        if key in seen:
            raise DataError(f"entry {name!r} is in the archive twice")
        seen.add(key)
        total += entry.file_size
        if total > MOST_TIMES * size + FREE_BYTES:
            raise DataError(
                f"it would unpack to more than {MOST_TIMES} times its size of {size} bytes (at entry {name!r})"
            )
        if entry.is_dir():
            continue
        if _BESIDE.fullmatch("/".join(parts[1:])) and _DATASET.fullmatch(parts[0]):
            left_out.append("/".join(parts))
            continue
        if len(parts) < 3 or not _DATASET.fullmatch(parts[0]) or not _MODEL.fullmatch(parts[1]):
            raise DataError(f"entry {name!r} is not inside a folder DatasetXXX_NAME/TRAINER__PLANS__CONFIGURATION")
        files["/".join(parts)] = entry
    for name in files:
        for parent in list(Path(name).parents)[:-1]:
            if parent.as_posix() in files:
                raise DataError(f"entry {parent.as_posix()!r} is a file, and a folder of entry {name!r}")
    models = sorted({"/".join(name.split("/")[:2]) for name in files})
    if not models:
        raise DataError("it holds no model of nnU-Net")
    return Contents(tuple(models), files, tuple(left_out))


def unpack(archive: zipfile.ZipFile, contents: Contents, target: Path) -> None:
    """Writes the checked files below `target`, an empty folder. Raises `DataError` for an entry that is damaged."""
    for name, entry in contents.files.items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        left = entry.file_size
        try:
            with archive.open(entry) as source, open(path, "xb") as stream:
                while block := source.read(_BLOCK):
                    left -= len(block)
                    if left < 0:
                        break
                    stream.write(block)
                stream.flush()
                os.fsync(stream.fileno())  # the rename that puts the model in its place must not outrun it
        except (zipfile.BadZipFile, EOFError, zlib.error) as error:
            raise DataError(f"entry {name!r} is damaged: {error}") from error
        if left:
            raise DataError(f"entry {name!r} does not unpack to the {entry.file_size} bytes that it claims")


def _parts(name: str) -> list[str]:
    """Splits a path. Raises `DataError` for one that leads out of the folder, on this or another system."""
    parts = name.removesuffix("/").split("/")
    if name.startswith("/") or re.match(r"[A-Za-z]:", name):
        raise DataError(f"entry {name!r} is an absolute path")
    if ".." in parts:
        raise DataError(f"entry {name!r} leaves the target folder")
    if "\\" in name or ":" in name or any(ord(letter) < 32 for letter in name) or not set(parts).isdisjoint(("", ".")):
        raise DataError(f"entry {name!r} is not a plain path")
    return parts


def _require_plain(entry: zipfile.ZipInfo) -> None:
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind == stat.S_IFLNK:
        raise DataError(f"entry {entry.filename!r} is a symbolic link")
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR) or (kind == stat.S_IFDIR and not entry.is_dir()):
        raise DataError(f"entry {entry.filename!r} is not a plain file")
    if entry.flag_bits & 0x1:
        raise DataError(f"entry {entry.filename!r} is encrypted")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataError(f"entry {entry.filename!r} is compressed in another way than nnU-Net's export does")
