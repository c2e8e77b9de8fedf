"""nnU-Net's dataset.json: a data set's channels, labels, regions and the ending of its files.

Whoever reads one says which fields are needed: an evaluation needs the labels, training the regions' order too.
"""

from pathlib import Path
from typing import Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from nnunetv2_comnet.errors import DataError
from nnunetv2_comnet.files import read_json
from nnunetv2_comnet.regions import Regions

FILE = "dataset.json"
CONVERT = "comnet convert writes one that fits"
RESTORE = "restore the one that was trained with"
LABELS = ("labels",)
COMPLETE = ("channel_names", "labels", "file_ending")
WITH_REGIONS = ("labels", "regions_class_order")
TO_TRAIN = (*WITH_REGIONS, "channel_names", "file_ending")
_NO_REGION = ("background", "ignore")
_MUST = {
    "channel_names": 'must name the channels, {"0": "T1n", "1": ...}',
    "labels": "must name the labels, each a number from 1 to 255 or a list of such numbers",
    "regions_class_order": "must have regions_class_order, a label for each of its regions",
    "file_ending": 'must name the file_ending, e.g. ".nii.gz"',
    "numTraining": "must have the number of cases as numTraining",
    "dataset": "must list the files of each case in dataset, if it has one",
}
_LEVELS_UP = 3
_MOST_LABEL = 255


class Files(BaseModel):
    """A case's files, where dataset.json lists them one by one."""

    model_config = ConfigDict(frozen=True, extra="allow")

    images: tuple[str, ...] = ()


class DatasetJson(BaseModel):
    """What dataset.json says; entries that nnU-Net does not know are kept.

    channel_names: number -> name (old files call it modality). labels: name -> label, or labels of a region.
    regions_class_order: for each region, the label that it paints. dataset: case -> its files, elsewhere.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    channel_names: dict[str, str] = Field({}, validation_alias=AliasChoices("channel_names", "modality"))
    labels: dict[str, int | tuple[int, ...]] = {}
    regions_class_order: tuple[int, ...] | None = None
    file_ending: str = ""
    numTraining: int | None = None  # noqa: N815 - nnU-Net's name
    dataset: dict[str, Files] | None = None

    @field_validator("channel_names")
    @classmethod
    def _numbered_from_0(cls, names: dict[str, str]) -> dict[str, str]:
        if sorted(names) != sorted(str(number) for number in range(len(names))):
            raise ValueError("channels are numbered from 0")
        return names

    @field_validator("labels")
    @classmethod
    def _from_1(cls, labels: dict[str, int | tuple[int, ...]]) -> dict[str, int | tuple[int, ...]]:
        regions = [value for name, value in labels.items() if name not in _NO_REGION]
        members = [value if isinstance(value, tuple) else (value,) for value in regions]
        if not all(0 < label <= _MOST_LABEL for own in members for label in own or (0,)):
            raise ValueError(f"labels are from 1 to {_MOST_LABEL}")
        return labels

    @model_validator(mode="after")
    def _one_label_for_each_region(self) -> "DatasetJson":
        order = self.regions_class_order
        if self.has_regions and order is not None and len(order) != len(self.regions):
            raise ValueError(_order_of(self))
        return self

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels' names in their order."""
        return tuple(self.channel_names[str(number)] for number in range(len(self.channel_names)))

    @property
    def has_regions(self) -> bool:
        """Whether nnU-Net trains overlapping regions on it, not plain labels."""
        return any(isinstance(labels, tuple) and len(labels) > 1 for labels in self.labels.values())

    @property
    def regions(self) -> Regions:
        """The regions in the order of the output channels; a label that is no region counts as one of its own."""
        named = {name: labels for name, labels in self.labels.items() if name not in _NO_REGION}
        members = {name: labels if isinstance(labels, tuple) else (labels,) for name, labels in named.items()}
        return Regions(members, self.regions_class_order if self.has_regions else None)


def read_dataset_json(path: Path, needs: tuple[str, ...] = COMPLETE, remedy: str = CONVERT) -> DatasetJson:
    """Reads dataset.json.

    Args:
        path: the file.
        needs: the fields that must be there, such as `COMPLETE`; with regions_class_order it must be of regions.
        remedy: what the user can do where the file cannot be used.

    Raises:
        DataError: it cannot be read, or what is needed is missing or wrong; says file, fault and remedy.
    """
    return parse_dataset_json(read_json(path), str(path), needs, remedy)


def parse_dataset_json(
    content: Any, what: str = FILE, needs: tuple[str, ...] = COMPLETE, remedy: str = CONVERT
) -> DatasetJson:
    """Checks the content of a dataset.json, such as nnU-Net hands over; `what` names it in the error.

    See `read_dataset_json`.
    """
    if not isinstance(content, dict):
        raise DataError(f"{what} is not a description of a dataset; {remedy}")
    try:
        found = DatasetJson.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        fault = str(first["ctx"]["error"]) if not first["loc"] else _MUST[_field(first["loc"][0])]
        raise DataError(f"{what} {fault}; {remedy}") from error
    if fault := _missing(found, needs):
        raise DataError(f"{what} {fault}; {remedy}")
    return found


def dataset_beside(*folders: Path) -> DatasetJson | None:
    """Reads the dataset.json in one of the folders, or up to three levels above it; None where there is none.

    It needs to have no more than the labels.
    """
    for folder in folders:
        for place in [folder, *folder.resolve().parents[:_LEVELS_UP]]:
            if (place / FILE).is_file():
                return read_dataset_json(place / FILE, LABELS, "name the regions in it as nnU-Net's dataset.json does")
    return None


def _missing(found: DatasetJson, needs: tuple[str, ...]) -> str:
    """Names what a dataset.json must have and has not; "" where all is there."""
    for name in needs:
        if name == "regions_class_order":
            if found.labels.get("background") != 0:
                return 'must name the labels, with "background": 0'
            if not found.has_regions:
                return "has labels, not regions of several labels, which our trainers segment"
            if found.regions_class_order is None:
                return _order_of(found)
        elif not getattr(found, name) or (name == "labels" and not found.regions):
            return _MUST[name]
    return ""


def _order_of(found: DatasetJson) -> str:
    return f"must have regions_class_order, a label for each of {len(found.regions)} regions"


def _field(name: int | str) -> str:
    return "channel_names" if name == "modality" else str(name)
