"""One case made small: scans and maps as pictures of all slices, label maps compressed without loss.

Grey values of a scan are mostly noise, which lossless compression keeps: 8 bits of a head at 1 mm take 1.2 MB, a WebP
of the same 0.2 MB. Label maps are exact. A case that is too large is coded more coarsely, then at larger voxels.
"""

import base64
import io
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from nnunetv2_comnet.html_report.sources import MAPS
from nnunetv2_comnet.html_report.volumes import CaseVolumes, Volume

Layer = dict[str, Any]
_Picture = tuple[str, str, npt.NDArray[np.float32]]  # kind, name, values from 0 to 255
MOST_VOXELS = 14_000_000  # what a browser can hold of a volume as one picture
_MAP_QUALITY = 80  # coarser ones leave faint blocks where a map is 0
_BRIGHTEST, _DARKEST = 99.7, 0.5  # percentiles of the values that are not 0


@dataclass(frozen=True)
class Level:
    """How coarsely a case is coded: voxels of `coarseness` times the smallest spacing, WebP quality of 100."""

    coarseness: int
    quality: int


LEVELS = tuple(
    Level(c, q) for c, q in ((1, 85), (1, 75), (1, 60), (1, 45), (2, 75), (2, 60), (3, 75), (3, 60), (4, 60))
)


def encode_case(volumes: CaseVolumes, budget_bytes: float) -> dict[str, Any]:
    """Writes the case as JSON for the page, at the first of `LEVELS` whose text fits the budget (else the last).

    shape_zyx and spacing_mm_zyx are of the coded voxels; `layers` has kind ("image", "truth", "prediction", "map"),
    name, coding ("picture" of slices side by side, or "deflate") and base64 data.
    """
    arrays = volumes.arrays
    if not arrays:
        return {"case": volumes.case, "notes": volumes.notes, "layers": []}
    possible = [level for level in LEVELS if _voxels(arrays[0], _steps(volumes, level)) <= MOST_VOXELS] or LEVELS[-1:]
    pictures = _pictures(volumes)
    made: dict[Any, Layer] = {}
    layers: list[Layer] = []
    for level in possible:
        layers = _layers(volumes, pictures, level, made)
        if sum(len(layer["data"]) for layer in layers) <= budget_bytes:
            break
    steps = _steps(volumes, level)
    shape = _sampled(arrays[0], steps).shape
    return {
        "case": volumes.case,
        "notes": volumes.notes,
        "shape": list(shape),
        "spacing": [spacing * step for spacing, step in zip(volumes.spacing_mm_zyx, steps, strict=True)],
        "scan": {"shape": list(volumes.full_zyx), "spacing": list(volumes.spacing_mm_zyx)},
        "steps": list(steps),
        "offset": list(volumes.offset_zyx),
        "quality": level.quality,
        "start": _start(volumes, steps, shape),
        "layers": layers,
    }


def _pictures(volumes: CaseVolumes) -> list[_Picture]:
    """Scales every scan and map to 0..255."""
    tops = {name: values / MAPS[name] for name, values in volumes.maps.items()}
    scans = [("image", name, _grey(volume)) for name, volume in volumes.images.items()]
    return [*scans, *(("map", name, (np.clip(v, 0, 1) * 255).astype(np.float32)) for name, v in tops.items())]


def _layers(volumes: CaseVolumes, pictures: Sequence[_Picture], level: Level, made: dict[Any, Layer]) -> list[Layer]:
    """Makes all layers at a level; those that an earlier level made alike are taken from `made`."""
    steps, layers = _steps(volumes, level), []

    def add(kind: str, name: str, quality: int, make: Callable[[], Layer]) -> None:
        key = (kind, name, steps, quality)
        if key not in made:
            made[key] = {"kind": kind, "name": name, **make()}
        layers.append(made[key])

    for kind, name, values in pictures:
        quality = _MAP_QUALITY if kind == "map" else level.quality
        add(kind, name, quality, partial(_picture, values, steps, quality))
    for kind, labels in (("truth", volumes.truth), ("prediction", volumes.prediction)):
        if labels is not None:
            add(kind, kind, 0, partial(_mask, labels, steps))
    return layers


def _grey(volume: Volume) -> npt.NDArray[np.float32]:
    """Scales to 0..255; 0 stays black unless values below it occur (images that were normalised)."""
    values = np.nan_to_num(volume.astype(np.float32))
    inside = values[values != 0]
    if not inside.size:
        return values
    high = float(np.percentile(inside, _BRIGHTEST))
    low = 0.0 if inside.min() > 0 else float(np.percentile(inside, _DARKEST))
    grey = np.clip((values - low) / max(high - low, 1e-12), 0, 1) * 255
    grey[values == 0] = 0
    return grey


def _steps(volumes: CaseVolumes, level: Level) -> tuple[int, int, int]:
    """Computes how many voxels become one along each axis, so that coded voxels are nearly cubes."""
    wanted = level.coarseness * min(volumes.spacing_mm_zyx)
    z, y, x = (max(1, int(wanted / spacing + 1e-6)) for spacing in volumes.spacing_mm_zyx)
    return z, y, x


def _voxels(volume: Volume, steps: tuple[int, int, int]) -> int:
    return int(np.prod([-(-size // step) for size, step in zip(volume.shape, steps, strict=True)]))


def _sampled(volume: Volume, steps: tuple[int, int, int]) -> Volume:
    """Takes the voxel in the middle of each block: labels cannot be averaged."""
    middles = [
        np.minimum(np.arange(0, size, step) + (step - 1) // 2, size - 1)
        for size, step in zip(volume.shape, steps, strict=True)
    ]
    sampled: Volume = volume[np.ix_(*middles)]
    return sampled


def _averaged(volume: npt.NDArray[np.float32], steps: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    """Averages each block; blocks that the border cuts hold fewer voxels."""
    for axis, step in enumerate(steps):
        if step > 1:
            begins = np.arange(0, volume.shape[axis], step)
            sizes = np.diff([*begins, volume.shape[axis]]).astype(np.float32)
            shape = [-1 if other == axis else 1 for other in range(3)]
            volume = (np.add.reduceat(volume, begins, axis=axis) / sizes.reshape(shape)).astype(np.float32)
    return np.rint(volume).astype(np.uint8)


def _start(volumes: CaseVolumes, steps: tuple[int, int, int], shape: tuple[int, ...]) -> list[int]:
    """Chooses per axis the slice with the most tumour, true before predicted; the middle one without any."""
    for labels in (volumes.truth, volumes.prediction):
        if labels is not None and labels.any():
            areas = [np.count_nonzero(labels, axis=tuple(other for other in range(3) if other != a)) for a in range(3)]
            return [int(area.argmax()) // step for area, step in zip(areas, steps, strict=True)]
    return [size // 2 for size in shape]


def _mask(labels: Volume, steps: tuple[int, int, int]) -> Layer:
    data = zlib.compress(np.ascontiguousarray(_sampled(labels, steps)).tobytes(), 9)
    return {"coding": "deflate", "data": _text(data)}


def _picture(values: npt.NDArray[np.float32], steps: tuple[int, int, int], quality: int) -> Layer:
    """Codes all slices as one picture, row after row: slice z is tile z, counted along rows of `columns` tiles."""
    from PIL import Image

    volume = _averaged(values, steps)
    depth, height, width = volume.shape
    columns = max(1, round((depth * height / width) ** 0.5))
    rows = -(-depth // columns)
    tiles = np.zeros((rows * columns, height, width), np.uint8)
    tiles[:depth] = volume
    mosaic = tiles.reshape(rows, columns, height, width).swapaxes(1, 2).reshape(rows * height, columns * width)
    stream = io.BytesIO()
    Image.fromarray(mosaic).save(stream, _format(), quality=quality)
    mime = f"image/{_format().lower()}"
    return {"coding": "picture", "mime": mime, "columns": columns, "data": _text(stream.getvalue())}


@cache
def _format() -> str:
    """Chooses WebP, which takes 0.6 of JPEG's bytes, where this build of Pillow has it."""
    from PIL import features

    return "WEBP" if features.check("webp") else "JPEG"


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
