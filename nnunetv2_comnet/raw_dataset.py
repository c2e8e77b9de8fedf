"""A dataset in nnU-Net's raw format, looked over before nnU-Net plans it: dataset.json, and a header per file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnunetv2_comnet.errors import ConfigurationError, DataError
from nnunetv2_comnet.files import read_json
from nnunetv2_comnet.nifti import require_sound

MEND = "comnet convert writes one that fits"


def require_plannable(folder: Path) -> None:
    """Raises `DataError` where dataset.json cannot be used, a case lacks a file, or a header is nonsense."""
    description = read_description(folder / "dataset.json")
    for case in _cases(folder, description):
        for path in _files_of(folder, case, description):
            require_sound(path, whole=False)


def first_unsound(folder: Path) -> str:
    """Which file of a dataset is damaged, in a line; "" where none is. Reads every file to its end."""
    description = read_description(folder / "dataset.json")
    for case in _cases(folder, description):
        for path in _files_of(folder, case, description):
            try:
                require_sound(path)
            except DataError as error:
                return str(error)
    return ""


def read_description(path: Path) -> dict[str, Any]:
    """dataset.json, with channels, regions, their order and a file ending. Raises `DataError` that names what lacks."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise DataError(f"{path} is not a description of a dataset; {MEND}")
    channels = content.get("channel_names")
    if not isinstance(channels, dict) or sorted(channels) != sorted(str(number) for number in range(len(channels))):
        raise DataError(f'{path} must name the channels, {{"0": "T1n", "1": ...}}; {MEND}')
    labels, order = content.get("labels"), content.get("regions_class_order")
    if not isinstance(labels, dict) or labels.get("background") != 0:
        raise DataError(f'{path} must name the labels, with "background": 0; {MEND}')
    regions = [name for name in labels if name not in ("background", "ignore")]
    if not any(isinstance(labels[name], list) and len(labels[name]) > 1 for name in regions):
        raise DataError(f"{path} has labels, not regions of several labels, which our trainers segment; {MEND}")
    if not isinstance(order, list) or len(order) != len(regions):
        raise DataError(f"{path} must have regions_class_order, a label for each of {len(regions)} regions; {MEND}")
    if not isinstance(content.get("file_ending"), str):
        raise DataError(f'{path} must name the file_ending, e.g. ".nii.gz"; {MEND}')
    return content


def require_order(description: Any) -> None:
    """Raises `ConfigurationError` where a dataset.json names regions without the order in which they are painted."""
    labels = description.get("labels") if isinstance(description, dict) else None
    if not isinstance(labels, dict):
        raise ConfigurationError(f"dataset.json of the preprocessed data has no labels; {MEND}")
    regions = [name for name in labels if name not in ("background", "ignore")]
    order = description.get("regions_class_order")
    if any(isinstance(labels[name], list) for name in regions) and not (
        isinstance(order, list) and len(order) == len(regions)
    ):
        raise ConfigurationError(
            f"dataset.json must have regions_class_order, a label for each of {len(regions)} regions; {MEND}"
        )


def _cases(folder: Path, description: Mapping[str, Any]) -> list[str]:
    ending = description["file_ending"]
    cases = sorted(path.name.removesuffix(ending) for path in (folder / "labelsTr").glob(f"*{ending}"))
    if "dataset" in description:  # nnU-Net's own list of files elsewhere
        return []
    if not cases:
        raise DataError(f"{folder / 'labelsTr'} holds no masks (*{ending}); convert the dataset again")
    if description.get("numTraining") != len(cases):
        raise DataError(
            f"{folder / 'dataset.json'} says numTraining {description.get('numTraining')}, where labelsTr holds "
            f"{len(cases)} masks; convert the dataset again"
        )
    return cases


def _files_of(folder: Path, case: str, description: Mapping[str, Any]) -> list[Path]:
    ending = description["file_ending"]
    images = [folder / "imagesTr" / f"{case}_{int(number):04d}{ending}" for number in description["channel_names"]]
    more = folder / "imagesTr" / f"{case}_{len(images):04d}{ending}"
    if more.exists():
        raise DataError(f"{more} is no channel of {folder / 'dataset.json'}, which names {len(images)}; {MEND}")
    for path in images:
        if not path.is_file():
            raise DataError(f"{path} does not exist; convert the dataset again")
    return [*images, folder / "labelsTr" / f"{case}{ending}"]
