"""Installs models of a zip file in nnUNet_results: unpacked in a folder beside, checked, then renamed."""

import os
import shutil
import tempfile
import zipfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from nnunetv2_comnet.errors import DataError
from nnunetv2_comnet.files import PARTIAL, read_json
from nnunetv2_comnet.postprocessing.stock import read_pickle
from nnunetv2_comnet.trust import manifest
from nnunetv2_comnet.trust.archive import Contents, check_archive, unpack
from nnunetv2_comnet.trust.checkpoints import read_checkpoint


@dataclass(frozen=True)
class Installed:
    """The folders of the installed models, the names of those with a manifest, and the entries of no model."""

    models: tuple[Path, ...]
    verified: tuple[str, ...]
    left_out: tuple[str, ...]


def install(source: Path, results: Path, *, overwrite: bool = False) -> Installed:
    """Installs every model of a zip of nnUNetv2_export_model_to_zip into `results`.

    Raises `DataError`, with nothing changed: for what is no such zip, for entries that `check_archive` refuses, for
    checkpoints or rules that could run code, for a model that differs from the manifest beside it, and for a model that
    is there already, unless `overwrite`.
    """
    if not results.is_dir():
        raise DataError(f"{results} is not a folder; create it, or set nnUNet_results")
    try:
        with zipfile.ZipFile(source) as archive:
            contents = check_archive(archive, source.stat().st_size)
            _require_room(contents, results, overwrite=overwrite)
            with tempfile.TemporaryDirectory(prefix=PARTIAL, dir=results) as aside:
                new = Path(aside) / "new"
                unpack(archive, contents, new)
                verified = _checked(contents.models, new)
                _move_in(contents.models, new, Path(aside) / "old", results)
    except zipfile.BadZipFile as error:
        raise DataError(f"{source} is not a zip file that can be read: {error}") from error
    except OSError as error:
        raise DataError(f"{source} cannot be installed in {results}: {error.strerror or error}") from error
    except DataError as error:
        raise DataError(f"{source} is not installed: {error}") from error
    return Installed(tuple(results / name for name in contents.models), verified, contents.left_out)


def _require_room(contents: Contents, results: Path, *, overwrite: bool) -> None:
    for name in contents.models:
        if os.path.lexists(results / name) and not overwrite:
            raise DataError(f"{results / name} is there already; --overwrite replaces it")
        dataset = name.split("/")[0]
        number = dataset.split("_")[0]
        others = [path.name for path in results.glob(f"{number}_*") if path.name != dataset]
        if others:
            raise DataError(f"{results} holds {min(others)} already, and nnU-Net wants one name per number")
    needed, free = sum(entry.file_size for entry in contents.files.values()), shutil.disk_usage(results).free
    if needed > free:
        raise DataError(f"it needs {needed} bytes, and {results} has {free} left")


def _checked(models: Sequence[str], new: Path) -> tuple[str, ...]:
    """Checks that models hold no code and equal their manifest; returns the names of those that have one."""
    try:
        for name in models:
            _require_model(new / name)
        verified = tuple(name for name in models if (new / name / manifest.FILE).is_file())
        for name in verified:
            found = manifest.read_manifest(new / name / manifest.FILE)
            manifest.require_same(new / name, new / name / manifest.FILE, found.checkpoint)
    except DataError as error:
        raise DataError(str(error).replace(f"{new}{os.sep}", "")) from error  # the folder is gone when this is read
    return verified


def _require_model(folder: Path) -> None:
    for name in ("plans.json", "dataset.json"):
        read_json(folder / name)
    checkpoints = sorted(folder.rglob("*.pth"))
    if not checkpoints:
        raise DataError(f"{folder} holds no checkpoint")
    for checkpoint in checkpoints:
        read_checkpoint(checkpoint)
    for rules in sorted(folder.rglob("*.pkl")):
        read_pickle(rules)


def _move_in(models: Sequence[str], new: Path, old: Path, results: Path) -> None:
    """Moves all models or none: where one fails, those before it are moved back."""
    with ExitStack() as undo:
        for name in models:
            target = results / name
            target.parent.mkdir(exist_ok=True)
            if os.path.lexists(target):
                (old / name).parent.mkdir(parents=True, exist_ok=True)
                os.replace(target, old / name)
                undo.callback(os.replace, old / name, target)
            os.replace(new / name, target)
            undo.callback(os.replace, target, new / name)
        undo.pop_all()
