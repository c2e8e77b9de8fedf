"""The dataset of a cross-validation: its regions, true masks and images, in nnU-Net's folders."""

from dataclasses import dataclass
from pathlib import Path

from nnunetv2_comnet.crossval import truth_folder
from nnunetv2_comnet.dataset_json import FILE, TO_TRAIN, DatasetJson, read_dataset_json
from nnunetv2_comnet.errors import DataError
from nnunetv2_comnet.evaluation.images import ENDING
from nnunetv2_comnet.regions import Regions

SHOWN_CHANNEL = "flair"  # of the slices, where a dataset has it; else its last channel


@dataclass(frozen=True)
class CvDataset:
    """description: dataset.json; reference: the folder of true masks; raw: nnUNet_raw's folder, where there is one."""

    name: str
    description: DatasetJson
    reference: Path
    raw: Path | None

    @property
    def regions(self) -> Regions:
        """Full name -> labels, in the order of the networks' outputs."""
        return self.description.regions

    @property
    def shown_channel(self) -> tuple[int, str]:
        """Number and name of the channel that slices show."""
        names = self.description.channels
        found = [number for number, name in enumerate(names) if SHOWN_CHANNEL in name.lower()]
        number = found[0] if found else len(names) - 1
        return number, names[number]

    def image(self, case: str, channel: int) -> Path | None:
        """Finds the file of a case's channel; None where it does not exist."""
        if self.raw is None:
            return None
        listed = (self.description.dataset or {}).get(case)
        path = Path(listed.images[channel]) if listed else self.raw / "imagesTr" / f"{case}_{channel:04d}{ENDING}"
        path = path if path.is_absolute() else self.raw / path
        return path if path.is_file() else None


def open_dataset(preprocessed: Path, raw: Path | None) -> CvDataset:
    """Reads dataset.json of nnUNet_preprocessed's dataset folder (or of nnUNet_raw's) and finds the true masks.

    Raises `DataError` for a dataset without regions, of another file ending, or without true masks.
    """
    places = [preprocessed, *([raw] if raw is not None else [])]
    found = [place / FILE for place in places if (place / FILE).is_file()]
    if not found:
        raise DataError(f"{preprocessed / FILE} does not exist; plan the dataset first (comnet plan)")
    description = read_dataset_json(found[0], TO_TRAIN, "restore it, or plan the dataset again")
    if description.file_ending != ENDING:
        raise DataError(f"{found[0]} has files of {description.file_ending}; only {ENDING} is scored")
    masks = [truth_folder(preprocessed), *([raw / "labelsTr"] if raw is not None else [])]
    reference = next((folder for folder in masks if any(folder.glob(f"*{ENDING}"))), None)
    if reference is None:
        raise DataError(f"no true masks in {' or '.join(str(folder) for folder in masks)}; preprocess the dataset")
    known = raw if raw is not None and raw.is_dir() else None
    return CvDataset(preprocessed.name, description, reference, known)
