"""comnet_manifest.json: size and SHA-256 of every file of a model that decides what it predicts.

Plans, dataset.json, the checkpoint of each fold, calibration and post-processing. Records of the training are left out:
prediction does not read them, and nnU-Net's export does not carry them.
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
    """What the file holds. checkpoint: the name that each fold's has. files: by path below the model's folder."""

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
    """state: one of same, changed, missing, not in the manifest. file: below the model's folder."""

    state: str
    file: str


def make_manifest(model: Path, checkpoint: str = CHECKPOINT) -> Manifest:
    """Hashes a model. Raises `ConfigurationError` where it is none: no plans.json, dataset.json or `checkpoint`."""
    found = model_files(model, checkpoint)
    for needed in ("plans.json", "dataset.json"):
        if needed not in found:
            raise ConfigurationError(f"{model} is not a trained model: it has no {needed}")
    if not any(name.endswith(f"/{checkpoint}") for name in found):
        raise ConfigurationError(f"{model} holds no fold with {checkpoint}")
    return Manifest(checkpoint=checkpoint, files={name: _entry(model / name) for name in found})


def write_manifest(manifest: Manifest, target: Path) -> str:
    """Writes the file; returns its own SHA-256."""
    write_json(target, manifest.model_dump(mode="json"))
    return sha256(target)


def read_manifest(path: Path, digest: str | None = None) -> Manifest:
    """Raises `DataError` for a file that is no manifest, or is another one than its SHA-256 `digest` tells."""
    if digest is not None and path.is_file() and sha256(path) != digest.strip().lower():
        raise DataError(f"{path} is another manifest: its SHA-256 is {sha256(path)}, not {digest}")
    return read_checked(path, Manifest, "write it anew with `comnet manifest`, from a model that you trust")


def compare(model: Path, manifest: Manifest, checkpoint: str | None = None) -> list[Difference]:
    """Every file of the manifest and of the model, the manifest's first. checkpoint: other than the manifest's."""
    return [*_listed(model, manifest), *_unlisted(model, manifest, checkpoint or manifest.checkpoint)]


def require_same(model: Path, manifest_file: Path, checkpoint: str, digest: str | None = None) -> None:
    """Raises `DataError` that names the first file by which the model is not the manifest's."""
    manifest = read_manifest(manifest_file, digest)
    for found in compare(model, manifest, checkpoint):
        if found.state != SAME:
            raise DataError(f"{model} is not the model of {manifest_file}: {found.file} is {found.state}")


def model_files(model: Path, checkpoint: str) -> list[str]:
    """The files that a manifest lists, of those that are there."""
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


def _unlisted(model: Path, manifest: Manifest, checkpoint: str) -> Iterator[Difference]:
    for name in model_files(model, checkpoint):
        if name not in manifest.files:
            yield Difference(UNLISTED, name)


def _entry(path: Path) -> Entry:
    return Entry(sha256=sha256(path), bytes=path.stat().st_size)
