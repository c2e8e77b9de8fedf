"""Where an image's voxels lie, whether two images lie on the same grid, and the sentence that says what differs.

There is one convention: NIfTI's, as nibabel has it. Axes are in the order of the voxel indices, x first; positions are
millimetres to the patient's right, front and top (RAS). SimpleITK's left and back (LPS) are turned on the way in.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

TOLERANCE = 1e-3  # mm for spacing and origin, no unit for the direction's cosines
Box = tuple[slice, ...]
_LPS_TO_RAS = (-1.0, -1.0)  # of the first two coordinates; the others are the same


@dataclass(frozen=True)
class Grid:
    """Voxels per axis, their edge lengths in mm, the first one's centre in mm, and the axes' unit vectors.

    direction: (axes, axes), row after row; column n says where axis n points to.
    """

    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    origin_mm: tuple[float, ...]
    direction: tuple[float, ...]

    @classmethod
    def from_affine(cls, shape: Sequence[int], affine: npt.NDArray[np.floating]) -> "Grid":
        """Makes the grid of three axes from an affine (4, 4) that leads from voxel indices to RAS millimetres."""
        matrix = np.asarray(affine, np.float64)[:3, :3]
        spacing = np.linalg.norm(matrix, axis=0)
        return cls(_whole(shape), _real(spacing), _real(affine[:3, 3]), _real(matrix / spacing))

    @classmethod
    def from_sitk(cls, image: Any, axes: int | None = None) -> "Grid":
        """Makes the grid of a SimpleITK image, or of a reader that has read the header: its first `axes`, or all."""
        count = image.GetDimension()
        turn = np.array([*_LPS_TO_RAS, *[1.0] * count])[:count]
        direction = turn[:, None] * np.array(image.GetDirection()).reshape(count, count)
        return cls(
            _whole(image.GetSize()[:axes]),
            _real(image.GetSpacing()[:axes]),
            _real((turn * image.GetOrigin())[:axes]),
            _real(direction[:axes, :axes]),
        )

    @property
    def spacing_mm_zyx(self) -> tuple[float, ...]:
        """Edge lengths in the order of the arrays that SimpleITK makes."""
        return self.spacing_mm[::-1]

    def differences(self, expected: "Grid", tolerance: float = TOLERANCE) -> list["Difference"]:
        """Lists what differs from another grid by more than `tolerance`; where shapes differ, nothing else."""
        if self.shape != expected.shape:
            return [Difference("shape", "", self.shape, expected.shape)]
        pairs = (
            ("spacing", " in mm", self.spacing_mm, expected.spacing_mm),
            ("origin", " in mm", self.origin_mm, expected.origin_mm),
            ("direction", "", self.direction, expected.direction),
        )
        return [
            Difference(what, unit, found, wanted)
            for what, unit, found, wanted in pairs
            if not np.allclose(found, wanted, rtol=0, atol=tolerance)
        ]

    def difference(self, expected: "Grid", tolerance: float = TOLERANCE) -> str:
        """Returns the first difference, e.g. "origin in mm (0, 0, 5) where (0, 0, 0) is expected"; else ""."""
        found = self.differences(expected, tolerance)
        return str(found[0]) if found else ""


@dataclass(frozen=True)
class Difference:
    """One property (shape, spacing, origin or direction), its unit, and its values on two grids."""

    what: str
    unit: str
    found: tuple[float, ...]
    expected: tuple[float, ...]

    def __str__(self) -> str:
        return f"{self.what}{self.unit} {_plain(self.found)} where {_plain(self.expected)} is expected"

    @property
    def of_equals(self) -> str:
        """The same where neither is what the other should be; what was compared with comes first."""
        return f"{self.what}{self.unit} {_plain(self.expected)} against {_plain(self.found)}"


def box_around(mask: npt.NDArray[Any], margin: int = 0) -> Box | None:
    """Finds the smallest box that holds every nonzero voxel, or returns None where there is none.

    The box is `margin` voxels wider on every side, as far as the image reaches.
    """
    box: list[slice] = []
    for axis in range(mask.ndim):
        # Cut to what the axes before have left, so that most of the image is looked at once.
        others = tuple(other for other in range(mask.ndim) if other != axis)
        found = np.flatnonzero(mask[tuple(box)].any(axis=others))
        if not len(found):
            return None
        box.append(slice(int(found[0]), int(found[-1]) + 1))
    return tuple(
        slice(max(0, side.start - margin), min(side.stop + margin, size))
        for side, size in zip(box, mask.shape, strict=True)
    )


def _whole(values: Sequence[int]) -> tuple[int, ...]:
    return tuple(int(value) for value in values)


def _real(values: npt.ArrayLike) -> tuple[float, ...]:
    return tuple((np.ravel(values) + 0.0).tolist())  # -0.0 + 0.0 is 0.0, which reads better


def _plain(values: tuple[float, ...]) -> str:
    return "(" + ", ".join(f"{value:g}" for value in values) + ")"
