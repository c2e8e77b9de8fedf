"""The dataset of a cross-validation: its regions, true masks and images, in nnU-Net's folders."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunetv2_comnet.errors import DataError
from nnunetv2_comnet.evaluation.images import ENDING
from nnunetv2_comnet.files import read_json
from nnunetv2_comnet.regions import Regions

SHOWN_CHANNEL = "flair"  # of the slices, where a dataset has it; else its last channel


@dataclass(frozen=True)
class CvDataset:
    """description: dataset.json. reference: the folder of true masks. raw: nnUNet_raw's folder, where there is one."""

    name: str
    description: Mapping[str, Any]
    reference: Path
    raw: Path | None

    @property
    def regions(self) -> Regions:
        """Full name -> labels, in the order of the networks' outputs."""
        labels = self.description["labels"].items()
        named = {name: tuple(value) for name, value in labels if name not in ("background", "ignore")}
        return Regions(named, self.description["regions_class_order"])

    @property
    def shown_channel(self) -> tuple[int, str]:
        """Number and name of the channel that slices show."""
        names = self.description["channel_names"]
        by_number = {int(number): str(name) for number, name in names.items()}
        found = [number for number, name in by_number.items() if SHOWN_CHANNEL in name.lower()]
        number = found[0] if found else max(by_number)
        return number, by_number[number]

    def image(self, case: str, channel: int) -> Path | None:
        """The file of a case's channel, None where it is not to be found."""
        if self.raw is None:
            return None
        listed = self.description.get("dataset", {}).get(case)
        path = Path(listed["images"][channel]) if listed else self.raw / "imagesTr" / f"{case}_{channel:04d}{ENDING}"
        path = path if path.is_absolute() else self.raw / path
        return path if path.is_file() else None


def open_dataset(preprocessed: Path, raw: Path | None) -> CvDataset:
    """Reads dataset.json of nnUNet_preprocessed's dataset folder (or of nnUNet_raw's) and finds the true masks.

    Raises `DataError` for a dataset without regions, of another file ending, or without true masks.
    """
    places = [preprocessed, *([raw] if raw is not None else [])]
    found = [place / "dataset.json" for place in places if (place / "dataset.json").is_file()]
    if not found:
        raise DataError(f"{preprocessed / 'dataset.json'} does not exist; plan the dataset first (comnet plan)")
    description = read_json(found[0])
    labels = description.get("labels") if isinstance(description, dict) else None
    if not isinstance(labels, dict):
        raise DataError(f"{found[0]} is not a description of a dataset; restore it, or plan the dataset again")
    if not any(isinstance(value, list) for value in labels.values()) or "regions_class_order" not in description:
        raise DataError(f"{found[0]} has labels, not regions: the table is one of regions (ET, TC, WT)")
    if description.get("file_ending") != ENDING:
        raise DataError(f"{found[0]} has files of {description.get('file_ending')}; only {ENDING} is scored")
    masks = [preprocessed / "gt_segmentations", *([raw / "labelsTr"] if raw is not None else [])]
    reference = next((folder for folder in masks if any(folder.glob(f"*{ENDING}"))), None)
    if reference is None:
        raise DataError(f"no true masks in {' or '.join(str(folder) for folder in masks)}; preprocess the dataset")
    known = raw if raw is not None and raw.is_dir() else None
    return CvDataset(preprocessed.name, description, reference, known)
