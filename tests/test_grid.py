"""A grid from an affine and from SimpleITK is the same one; what differs is said, from one tolerance on."""

import inspect
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK

from nnunetv2_comnet.cli import convert
from nnunetv2_comnet.grid import TOLERANCE, Grid, box_around

SHAPE = (4, 5, 6)
TURNED = np.array([[0.0, -1.2, 0.0, 10.0], [-0.9, 0.0, 0.0, 239.0], [0.0, 0.0, 2.0, -7.0], [0.0, 0.0, 0.0, 1.0]])
SIMPLE = Grid.from_affine(SHAPE, np.diag([-1.0, -1.0, 1.0, 1.0]))


def moved(**changes: Any) -> Grid:
    """SIMPLE with one voxel edge, origin or direction changed: by so much."""
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    affine[2, 2] += changes.get("spacing", 0.0)
    affine[2, 3] += changes.get("origin", 0.0)
    affine[0, 1] += changes.get("direction", 0.0)
    return Grid.from_affine(changes.get("shape", SHAPE), affine)


def test_the_fields_of_an_affine() -> None:
    grid = Grid.from_affine(SHAPE, TURNED)
    assert grid.shape == SHAPE
    assert grid.spacing_mm == pytest.approx((0.9, 1.2, 2.0))
    assert grid.spacing_mm_zyx == grid.spacing_mm[::-1]
    assert grid.origin_mm == (10.0, 239.0, -7.0)
    assert np.reshape(grid.direction, (3, 3)) == pytest.approx(np.array([[0, -1, 0], [-1, 0, 0], [0, 0, 1]]))


@pytest.mark.parametrize("affine", [np.diag([-1.0, -1.0, 1.0, 1.0]), TURNED])
def test_both_readers_see_one_grid(affine: np.ndarray, tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.zeros((*SHAPE, 2), np.uint8), affine)
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    nibabel.save(image, tmp_path / "a.nii.gz")
    ours = Grid.from_affine(SHAPE, image.affine)
    seen = SimpleITK.ReadImage(str(tmp_path / "a.nii.gz"))
    assert Grid.from_sitk(seen, 3).differences(ours, 1e-6) == []
    assert Grid.from_sitk(seen).shape == (*SHAPE, 2)
    assert Grid.from_sitk(seen[..., 0]).differences(ours, 1e-6) == []


@pytest.mark.parametrize(("what", "unit"), [("spacing", " in mm"), ("origin", " in mm"), ("direction", "")])
def test_the_tolerance_decides(what: str, unit: str) -> None:
    assert moved(**{what: 0.9 * TOLERANCE}).differences(SIMPLE) == []
    assert moved(**{what: 0.9 * TOLERANCE}).difference(SIMPLE, 0.5 * TOLERANCE).startswith(f"{what}{unit} (")
    assert [found.what for found in moved(**{what: 1.1 * TOLERANCE}).differences(SIMPLE)] == [what]


def test_what_differs_is_said() -> None:
    assert SIMPLE.difference(SIMPLE) == ""
    assert moved(origin=5.0).difference(SIMPLE) == "origin in mm (0, 0, 5) where (0, 0, 0) is expected"
    assert moved(origin=5.0).differences(SIMPLE)[0].of_equals == "origin in mm (0, 0, 0) against (0, 0, 5)"
    assert moved(shape=(4, 5, 7), origin=5.0).difference(SIMPLE) == "shape (4, 5, 7) where (4, 5, 6) is expected"
    both = moved(origin=5.0, spacing=1.0).differences(SIMPLE)
    assert [found.what for found in both] == ["spacing", "origin"]


def test_the_command_line_has_the_same_tolerance() -> None:
    """It names the number itself, so that `--help` loads no numpy."""
    assert inspect.signature(convert.command).parameters["tolerance"].default.default == TOLERANCE


def test_box_around() -> None:
    mask = np.zeros((6, 7, 8), bool)
    assert box_around(mask) is None
    mask[2, 3:5, 0] = True
    assert box_around(mask) == (slice(2, 3), slice(3, 5), slice(0, 1))
    assert mask[box_around(mask, 2)].shape == (5, 6, 3)  # the image ends before the margin does at x = 0
