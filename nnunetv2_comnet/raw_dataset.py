"""Checks a dataset in nnU-Net's raw format before nnU-Net plans it: dataset.json, and a header per file."""

from collections.abc import Iterator
from pathlib import Path

from nnunetv2_comnet.dataset_json import CONVERT, FILE, TO_TRAIN, DatasetJson, read_dataset_json
from nnunetv2_comnet.errors import DataError
from nnunetv2_comnet.nifti import require_sound


def require_plannable(folder: Path) -> None:
    """Raises `DataError` where dataset.json cannot be used, a file is missing, or a header is wrong."""
    for path in _files(folder):
        require_sound(path, whole=False)


def first_unsound(folder: Path) -> str:
    """Reads every file to its end; returns what is wrong with the first damaged one, "" where none is damaged."""
    try:
        for path in _files(folder):
            require_sound(path)
    except DataError as error:
        return str(error)
    return ""


def _files(folder: Path) -> Iterator[Path]:
    """Yields all images and masks. Raises `DataError` where dataset.json names others than there are."""
    description = read_dataset_json(folder / FILE, TO_TRAIN)
    for case in _cases(folder, description):
        yield from _files_of(folder, case, description)


def _cases(folder: Path, description: DatasetJson) -> list[str]:
    ending = description.file_ending
    cases = sorted(path.name.removesuffix(ending) for path in (folder / "labelsTr").glob(f"*{ending}"))
    if description.dataset is not None:  # nnU-Net's own list of files elsewhere
        return []
    if not cases:
        raise DataError(f"{folder / 'labelsTr'} holds no masks (*{ending}); convert the dataset again")
    if description.numTraining != len(cases):
        raise DataError(
            f"{folder / FILE} says numTraining {description.numTraining}, where labelsTr holds "
            f"{len(cases)} masks; convert the dataset again"
        )
    return cases


def _files_of(folder: Path, case: str, description: DatasetJson) -> list[Path]:
    ending = description.file_ending
    images = [folder / "imagesTr" / f"{case}_{number:04d}{ending}" for number in range(len(description.channels))]
    more = folder / "imagesTr" / f"{case}_{len(images):04d}{ending}"
    if more.exists():
        raise DataError(f"{more} is no channel of {folder / FILE}, which names {len(images)}; {CONVERT}")
    for path in images:
        if not path.is_file():
            raise DataError(f"{path} does not exist; convert the dataset again")
    return [*images, folder / "labelsTr" / f"{case}{ending}"]
