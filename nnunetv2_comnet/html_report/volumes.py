"""One case's volumes on one grid, turned as figures.py hangs them, cut to the head.

Arrays are (z, y, x) = (to superior, to posterior, to the patient's left). A sentence says what cannot be shown;
one bad file does not keep the others out.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nnunetv2_comnet.errors import DataError
from nnunetv2_comnet.grid import Grid, box_around
from nnunetv2_comnet.html_report.sources import MAPS, CaseFiles
from nnunetv2_comnet.nifti import read_sitk

Volume = npt.NDArray[Any]
_MARGIN_VOXELS = 2


@dataclass
class CaseVolumes:
    """What was read of a case.

    Attributes:
        spacing_mm_zyx: edge lengths of a voxel in mm.
        full_zyx: the oriented volume's shape in voxels.
        offset_zyx: where the arrays, which are cut, begin in it.
        maps: by kind, the maximum over the regions of its absolute value.
        notes: what is missing, and why.
    """

    case: str
    spacing_mm_zyx: tuple[float, float, float] = (1.0, 1.0, 1.0)
    full_zyx: tuple[int, ...] = (0, 0, 0)
    offset_zyx: tuple[int, int, int] = (0, 0, 0)
    images: dict[str, Volume] = field(default_factory=dict)
    truth: Volume | None = None
    prediction: Volume | None = None
    maps: dict[str, Volume] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def arrays(self) -> list[Volume]:
        """All arrays that were read."""
        labels = [volume for volume in (self.truth, self.prediction) if volume is not None]
        return [*self.images.values(), *labels, *self.maps.values()]


def read_case(files: CaseFiles) -> CaseVolumes:
    """Reads all files of a case and cuts them to the head.

    The prediction's grid is the case's (else the truth's, else the first image's); files on another are left out.
    """
    result = CaseVolumes(files.case)
    grid: Grid | None = None
    for what, path in _in_order(files):
        try:
            volume, own = _read(path)
        except DataError as error:
            result.notes.append(f"{what}: {error}".replace(str(path), path.name))
            continue
        grid = grid or own
        if difference := own.difference(grid):
            result.notes.append(f"{what} is on another grid ({difference}) and is not shown")
            continue
        _keep(result, what, volume)
    if grid is None:
        result.notes.append("no file of this case can be read")
        return result
    result.spacing_mm_zyx = (grid.spacing_mm[2], grid.spacing_mm[1], grid.spacing_mm[0])
    result.full_zyx = tuple(reversed(grid.shape))
    _cut(result)
    return result


def read_labels(*paths: Path) -> list[Volume]:
    """Reads label maps, oriented, uint8. Raises `DataError` where one is unreadable or on another grid."""
    found = [_read(path) for path in paths]
    for path, (_, grid) in zip(paths, found, strict=True):
        if difference := grid.difference(found[0][1]):
            raise DataError(f"{path} is on another grid than {paths[0]}: {difference}")
    return [_as_labels(volume) for volume, _ in found]


def read_map(paths: tuple[Path, ...]) -> Volume:
    """Reads maps of several regions as one: the largest absolute value, float32."""
    volumes = [np.abs(_read(path)[0].astype(np.float32)) for path in paths]
    if len({volume.shape for volume in volumes}) > 1:
        raise DataError(f"{paths[0]} and the other regions' maps have different shapes; predict the case again")
    return np.nan_to_num(np.maximum.reduce(volumes))


def _in_order(files: CaseFiles) -> Iterator[tuple[str, Path]]:
    if files.prediction:
        yield "prediction", files.prediction
    if files.truth:
        yield "truth", files.truth
    yield from files.images.items()
    yield from ((kind, path) for kind, paths in files.maps.items() for path in paths)


def _keep(result: CaseVolumes, what: str, volume: Volume) -> None:
    if what in ("truth", "prediction"):
        setattr(result, what, _as_labels(volume))
    elif what in MAPS:
        values = np.nan_to_num(np.abs(volume.astype(np.float32)))
        earlier = result.maps.get(what)
        result.maps[what] = values if earlier is None else np.maximum(earlier, values)
    else:
        result.images[what] = volume


def _as_labels(volume: Volume) -> npt.NDArray[np.uint8]:
    if volume.dtype == np.uint8:
        return volume
    return np.clip(np.rint(volume), 0, 255).astype(np.uint8)


def _cut(result: CaseVolumes) -> None:
    """Cuts all to the box around everything that is not 0 in an image or a label map."""
    shown = [*result.images.values(), *(v for v in (result.truth, result.prediction) if v is not None)]
    shown = shown or list(result.maps.values())
    filled = np.any([volume != 0 for volume in shown], axis=0)
    box = box_around(filled, _MARGIN_VOXELS) or (slice(0, None),) * 3
    result.offset_zyx = (box[0].start, box[1].start, box[2].start)
    result.images = {name: volume[box] for name, volume in result.images.items()}
    result.maps = {name: volume[box] for name, volume in result.maps.items()}
    result.truth = None if result.truth is None else result.truth[box]
    result.prediction = None if result.prediction is None else result.prediction[box]


def _read(path: Path) -> tuple[Volume, Grid]:
    import SimpleITK

    image = read_sitk(path)
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise DataError(f"{path.name} is not one volume of three axes")
    image = SimpleITK.DICOMOrient(image, "LPS")
    return SimpleITK.GetArrayFromImage(image), Grid.from_sitk(image)
