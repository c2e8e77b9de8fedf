"""Which files belong to a case: images by channel, truth, prediction and maps, by nnU-Net's names."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from nnunetv2_comnet.dataset_json import DatasetJson, dataset_beside
from nnunetv2_comnet.errors import ConfigurationError, DataError
from nnunetv2_comnet.evaluation.images import ENDING
from nnunetv2_comnet.label_schemes import BRATS_123
from nnunetv2_comnet.regions import Regions, short_name

# Kind of map (a subfolder of the predictions) -> the value that is drawn brightest. `comnet predict` writes them.
MAPS: Mapping[str, float] = {
    "disagreement": 0.3,  # standard deviation of values in [0, 1]: 0.5 at most, rarely above 0.3
    "entropy": 1.0,  # bits
    "spread": 0.3,
    "correction": 4.0,  # logits, either way
}
MANY_CASES = 60
_MOST_TELLING = ("T1C", "T1CE", "T1GD", "T1CONTRAST", "FLAIR", "T2F", "T2FLAIR")


@dataclass(frozen=True)
class CaseFiles:
    """Files of one case that exist: images by channel's name, maps by kind, one file per region."""

    case: str
    images: Mapping[str, Path]
    truth: Path | None
    prediction: Path | None
    maps: Mapping[str, tuple[Path, ...]]


@dataclass(frozen=True)
class Sources:
    """The folders given. A case's prediction, and its maps, are taken from the first folder that has it."""

    images: Path | None = None
    reference: Path | None = None
    predictions: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        for folder in self.folders:
            if not folder.is_dir():
                raise DataError(f"{folder} is not a folder; give the one that holds the cases' files")

    @property
    def folders(self) -> list[Path]:
        """All that were given: predictions, reference, images."""
        return [*self.predictions, *(folder for folder in (self.reference, self.images) if folder)]

    @cached_property
    def dataset(self) -> DatasetJson | None:
        """The dataset.json in, or up to three levels above, one of the folders; None where there is none."""
        return dataset_beside(*self.folders)

    @property
    def ending(self) -> str:
        """The ending of images and label maps."""
        return (self.dataset.file_ending if self.dataset else "") or ENDING

    @cached_property
    def regions(self) -> Regions:
        """Full name -> labels, as the dataset.json beside the files names them; else those of BraTS 2023."""
        return self.dataset.regions if self.dataset else BRATS_123.regions

    @cached_property
    def channels(self) -> Mapping[str, str]:
        """Number in file names ("0000") -> channel's name."""
        named = dict(enumerate(self.dataset.channels if self.dataset else ()))
        found = sorted({match[2] for match in self._image_names()})
        return {number: named.get(int(number), f"channel {int(number)}") for number in found}

    @cached_property
    def cases(self) -> list[str]:
        """Names of all cases that have a prediction or a truth; of all that have an image where none has either."""
        folders = [*self.predictions, *([self.reference] if self.reference else [])]
        names = {path.name.removesuffix(self.ending) for folder in folders for path in self._label_maps(folder)}
        return sorted(names or {match[1] for match in self._image_names()})

    def files(self, case: str, channels: Sequence[str]) -> CaseFiles:
        """Finds the case's files, images of the channels named."""
        home = next((folder for folder in self.predictions if (folder / f"{case}{self.ending}").is_file()), None)
        numbers = {name: number for number, name in self.channels.items()}
        images = {
            name: path
            for name in channels
            if self.images and (path := self.images / f"{case}_{numbers[name]}{self.ending}").is_file()
        }
        truth = self.reference / f"{case}{self.ending}" if self.reference else None
        return CaseFiles(
            case,
            images,
            truth if truth and truth.is_file() else None,
            home / f"{case}{self.ending}" if home else None,
            {kind: files for kind in MAPS if home and (files := self._map_files(home / kind, case))},
        )

    def choose_channels(self, wanted: Sequence[str], cases: int) -> list[str]:
        """Finds the channels `wanted`; none wanted: those that show most, and of few cases the others after them.

        Raises `ConfigurationError` for an unknown channel.
        """
        names = list(self.channels.values())
        if not wanted:
            telling = [name for name in names if re.sub(r"[^A-Z0-9]", "", name.upper()) in _MOST_TELLING]
            rest = [name for name in names if name not in telling]
            return [*telling, *rest] if cases <= MANY_CASES else telling or names[:2]
        by_lower_case = {name.lower(): name for name in names}
        for name in wanted:
            if name.lower() not in by_lower_case:
                raise ConfigurationError(f"there is no channel '{name}'; there are: {', '.join(names) or 'no images'}")
        return [by_lower_case[name.lower()] for name in wanted]

    def _label_maps(self, folder: Path) -> Iterable[Path]:
        return (path for path in folder.glob(f"*{self.ending}") if path.is_file() and not path.name.startswith("."))

    def _image_names(self) -> list[re.Match[str]]:
        pattern = re.compile(r"(.+)_(\d{4})" + re.escape(self.ending))
        names = [path.name for path in self.images.iterdir()] if self.images else []
        return [match for name in names if (match := pattern.fullmatch(name))]

    def _map_files(self, folder: Path, case: str) -> tuple[Path, ...]:
        paths = [folder / f"{case}_{short_name(region)}{ENDING}" for region in self.regions]
        return tuple(path for path in paths if path.is_file())
