"""calibration.json, beside a refined model: each region's strength, the checkpoints that it holds for, the evidence.

The file keeps the name of the command that writes it, `comnet calibrate`, since models carry it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from nnunetv2_comnet.errors import ConfigurationError
from nnunetv2_comnet.files import read_checked, sha256

FILE = "calibration.json"
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)  # those that are tried, the weakest first


class Strengths(BaseModel):
    """What the file holds. strength: alpha per region. checkpoints: SHA-256 by path below the model folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = Field(1, ge=1, le=1)
    strength: dict[str, float]
    checkpoints: dict[str, str]
    evidence: dict[str, Any] = {}


def read_strengths_file(folder: Path) -> Strengths | None:
    """Reads the file of a model folder; None where it is missing. Raises `DataError` for a broken one."""
    path = folder / FILE
    return read_checked(path, Strengths, "write it again with `comnet calibrate`") if path.is_file() else None


def read_strengths(folder: Path, regions: Sequence[str], folds: Sequence[int | str]) -> tuple[float, ...] | None:
    """Reads alpha in the order of `regions`; None where the model has no strengths file.

    Raises `ConfigurationError` where the file is of another model (a checkpoint of `folds` differs or is unknown to
    it), or of other regions.
    """
    found = read_strengths_file(folder)
    if found is None:
        return None
    if set(found.strength) != set(regions) or not all(0 <= alpha <= 1 for alpha in found.strength.values()):
        raise ConfigurationError(
            f"{folder / FILE} holds strengths of {', '.join(found.strength)}, where this model has "
            f"{', '.join(regions)} (strengths from 0 to 1); run `comnet calibrate` on this model"
        )
    for fold in folds:
        wanted = [name for name in found.checkpoints if name.split("/")[0] == f"fold_{fold}"]
        if not wanted or any(found.checkpoints[name] != sha256(folder / name) for name in wanted):
            raise ConfigurationError(
                f"{folder / FILE} is another model's: it was not measured with the checkpoint of fold {fold}; "
                "run `comnet calibrate` again, or delete the file to correct at full strength"
            )
    return tuple(found.strength[region] for region in regions)
