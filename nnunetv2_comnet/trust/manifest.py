"""comnet_manifest.json: size and SHA-256 of every file of a model that decides what it predicts.

Plans, dataset.json, the checkpoint of each fold, calibration and post-processing. Records of the training are left out:
prediction does not read them, and nnU-Net's export does not contain them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from nnunetv2_comnet import __version__
from nnunetv2_comnet.errors import ConfigurationError, DataError
from nnunetv2_comnet.files import read_checked, sha256, write_json

FILE = "comnet_manifest.json"
CHECKPOINT = "checkpoint_final.pth"
_RULES = ("comnet_postprocessing.json", "postprocessing.json", "postprocessing.pkl")
_PATTERNS = (
    "plans.json",
    "dataset.json",
    "calibration.json",
    *_RULES,
    *(f"crossval_results_folds_*/{name}" for name in _RULES),  # where nnU-Net writes them
)
SAME, CHANGED, MISSING, UNLISTED = "same", "changed", "missing", "not in the manifest"


class Entry(BaseModel):
    """One file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    bytes: Annotated[int, Field(ge=0)]


class Manifest(BaseModel):
    """What the file holds: the checkpoint's name in each fold, and the files by path below the model's folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Annotated[int, Field(ge=1, le=1)] = 1
    written_by: str = f"nnunetv2-comnet {__version__}"
    checkpoint: str
    files: Annotated[dict[str, Entry], Field(min_length=1)]

    @field_validator("files")
    @classmethod
    def _stay_inside(cls, files: dict[str, Entry]) -> dict[str, Entry]:
        for name in files:
            if "\\" in name or PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                raise ValueError(f"'{name}' is not a path below the model's folder")
        return files


@dataclass(frozen=True)
class Difference:
    """The state of one file, by its path below the model's folder: same, changed, missing or not in the manifest."""

    state: str
    file: str


def make_manifest(model: Path, checkpoint: str = CHECKPOINT) -> Manifest:
    """Hashes a model's files. Raises `ConfigurationError` without plans.json, dataset.json or `checkpoint`."""
    found = model_files(model, checkpoint)
    for needed in ("plans.json", "dataset.json"):
        if needed not in found:
            raise ConfigurationError(f"{model} is not a trained model: it has no {needed}")
    if not any(name.endswith(f"/{checkpoint}") for name in found):
        raise ConfigurationError(f"{model} holds no fold with {checkpoint}")
    entries = {name: Entry(sha256=sha256(model / name), bytes=(model / name).stat().st_size) for name in found}
    return Manifest(checkpoint=checkpoint, files=entries)


def write_manifest(manifest: Manifest, target: Path) -> str:
    """Writes the file; returns its own SHA-256."""
    write_json(target, manifest.model_dump(mode="json"))
    return sha256(target)


def read_manifest(path: Path, digest: str | None = None) -> Manifest:
    """Reads a manifest. Raises `DataError` for any other file, and for a manifest whose SHA-256 is not `digest`."""
    if digest is not None and path.is_file() and sha256(path) != digest.strip().lower():
        raise DataError(f"{path} is another manifest: its SHA-256 is {sha256(path)}, not {digest}")
    return read_checked(path, Manifest, "write it again with `comnet manifest`, from a model that you trust")


def compare(model: Path, manifest: Manifest, checkpoint: str | None = None) -> list[Difference]:
    """Compares every file of the manifest, then the model's others. `checkpoint`: None for the manifest's."""
    there = model_files(model, checkpoint or manifest.checkpoint)
    unlisted = [Difference(UNLISTED, name) for name in there if name not in manifest.files]
    return [*_listed(model, manifest), *unlisted]


def require_same(model: Path, manifest_file: Path, checkpoint: str, digest: str | None = None) -> None:
    """Raises `DataError` that names the first file in which the model differs from its manifest."""
    manifest = read_manifest(manifest_file, digest)
    for found in compare(model, manifest, checkpoint):
        if found.state != SAME:
            raise DataError(f"{model} is not the model of {manifest_file}: {found.file} is {found.state}")


def model_files(model: Path, checkpoint: str) -> list[str]:
    """Lists the existing files that belong into a manifest."""
    patterns = (*_PATTERNS, f"fold_*/{checkpoint}")
    return [path.relative_to(model).as_posix() for each in patterns for path in sorted(model.glob(each))]


def _listed(model: Path, manifest: Manifest) -> Iterator[Difference]:
    for name, entry in manifest.files.items():
        path = model / name
        if not path.is_file():
            yield Difference(MISSING, name)
        elif path.stat().st_size != entry.bytes or sha256(path) != entry.sha256:
            yield Difference(CHANGED, name)
        else:
            yield Difference(SAME, name)
