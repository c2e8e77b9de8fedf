"""Which cases a folder of images holds: NAME_0000.nii.gz, NAME_0001.nii.gz, ..., one file per channel."""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunetv2_comnet.errors import ConfigurationError, DataError, printable
from nnunetv2_comnet.files import same_when_folded

log = logging.getLogger(__name__)

NEEDS_ALL = "the model was not trained with modality dropout (comnet plan --modality-dropout), so it needs every image"


@dataclass(frozen=True)
class Case:
    """One patient's images in the order of the channels, None for one that is not there.

    missing_channels: their names. problem: why the case cannot be predicted, if so.
    """

    name: str
    images: tuple[Path | None, ...]
    missing_channels: tuple[str, ...] = ()
    problem: str | None = None


def find_cases(
    folder: Path,
    file_ending: str,
    channels: Sequence[str],
    part: int = 0,
    parts: int = 1,
    *,
    allows_missing_channels: bool = False,
) -> list[Case]:
    """Lists the cases of `folder` by name; a case with a problem is listed with it.

    Args:
        folder: holds the images.
        file_ending: of the images, ".nii.gz".
        channels: the names of the model's channels.
        part: number, from 0, of the part to list, as nnU-Net deals cases out to its -part_id.
        parts: number of parts.
        allows_missing_channels: whether a missing channel is no problem.

    Raises:
        ConfigurationError: `part` does not exist.
        DataError: the folder is missing, or holds no case.
    """
    if not (parts >= 1 and 0 <= part < parts):
        raise ConfigurationError(f"part {part} of {parts} does not exist: parts are numbered from 0")
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; it must hold the patients' images")
    pattern = re.compile(r"(.+)_(\d{4})" + re.escape(file_ending), re.DOTALL)
    found: dict[str, dict[int, Path]] = {}
    for path in sorted(folder.iterdir()):
        match = pattern.fullmatch(path.name)
        if match and path.name.startswith("."):
            log.warning("%s is hidden and is left out", printable(path))
        elif match and path.is_file():
            found.setdefault(match[1], {})[int(match[2])] = path
    if not found:
        raise DataError(
            f"{folder} holds no case: expected files NAME_0000{file_ending} to "
            f"NAME_{len(channels) - 1:04d}{file_ending}, one per channel ({', '.join(channels)})"
        )
    names = sorted(found)[part::parts]
    twins = same_when_folded(found)
    return [_case(name, found[name], channels, twins.get(name, ()), allows_missing_channels) for name in names]


def _case(
    name: str, files: dict[int, Path], channels: Sequence[str], twins: Sequence[str], allows_missing_channels: bool
) -> Case:
    images = tuple(files.get(number) for number in range(len(channels)))
    if not name.isprintable():
        problem = "its name holds a character that cannot be printed; rename its files"
        return Case(name, images, problem=problem)
    if twins:
        problem = f"its name and {twins[0]} differ only in how they are written; rename one of them"
        return Case(name, images, problem=problem)
    missing = {f"_{number:04d} ({channel})": channel for number, channel in enumerate(channels) if number not in files}
    unknown = [f"_{number:04d}" for number in sorted(files) if number >= len(channels)]
    missing_channels = tuple(missing.values())
    if not unknown and (not missing or allows_missing_channels):
        return Case(name, images, missing_channels)
    problem = f"expected {len(channels)} channels ({', '.join(channels)}), got {len(files)}"
    problem += f"; missing: {', '.join(missing)}" if missing else ""
    problem += f"; not of this model: {', '.join(unknown)}" if unknown else ""
    problem += f"; {NEEDS_ALL}" if missing and not allows_missing_channels else ""
    return Case(name, images, missing_channels, problem)
