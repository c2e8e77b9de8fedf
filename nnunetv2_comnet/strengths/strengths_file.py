"""calibration.json, beside a refined model: how strongly each region is corrected, whose model it is, the evidence."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from nnunetv2_comnet.errors import ConfigurationError
from nnunetv2_comnet.files import read_checked, sha256

FILE = "calibration.json"
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)  # those that are tried, the weakest first


class Calibration(BaseModel):
    """What the file holds. strength: alpha per region. checkpoints: SHA-256 by path below the model folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = Field(1, ge=1, le=1)
    strength: dict[str, float]
    checkpoints: dict[str, str]
    evidence: dict[str, Any] = {}


def read_calibration(folder: Path) -> Calibration | None:
    """The calibration of a model folder, None where there is none. A broken file is a `DataError`."""
    path = folder / FILE
    if not path.is_file():
        return None
    return read_checked(path, Calibration, "write it anew with `comnet calibrate`")


def read_strengths(folder: Path, regions: Sequence[str], folds: Sequence[int | str]) -> tuple[float, ...] | None:
    """alpha in the order of `regions`; None without a calibration.

    Raises ConfigurationError where the file is of another model (a checkpoint of `folds` differs or is unknown to it),
    or of other regions.
    """
    calibration = read_calibration(folder)
    if calibration is None:
        return None
    if set(calibration.strength) != set(regions) or not all(0 <= a <= 1 for a in calibration.strength.values()):
        raise ConfigurationError(
            f"{folder / FILE} calibrates {', '.join(calibration.strength)}, where this model has {', '.join(regions)} "
            "(strengths from 0 to 1); run `comnet calibrate` on this model"
        )
    for fold in folds:
        wanted = [name for name in calibration.checkpoints if name.split("/")[0] == f"fold_{fold}"]
        if not wanted or any(calibration.checkpoints[name] != sha256(folder / name) for name in wanted):
            raise ConfigurationError(
                f"{folder / FILE} is another model's: it was not measured with the checkpoint of fold {fold}; "
                "run `comnet calibrate` again, or delete the file to correct at full strength"
            )
    return tuple(calibration.strength[region] for region in regions)
