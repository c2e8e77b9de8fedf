"""Grids and fields: voxels of every size sample the same functions of mm."""

import numpy as np

from nnunetv2_comnet.phantom.fields import Field, image_grid, noise


def test_one_mm_gives_the_brats_grid() -> None:
    assert image_grid(1.0).full_shape_zyx == (155, 240, 240)
    assert image_grid(4.0).full_shape_zyx == (39, 60, 60)


def test_two_voxels_share_the_volume_of_the_larger_one_around_them() -> None:
    coarse, fine = (image_grid(spacing).axes_mm[1] for spacing in (4.0, 2.0))
    middle = (fine[:-1] + fine[1:]) / 2
    assert np.isin(coarse.round(3), middle.round(3)).all()


def test_a_constant_lattice_is_a_constant_field() -> None:
    """Cubic B-splines sum to one everywhere."""
    field = Field(np.full((30, 30, 30), 2.5, np.float32), 8.0)
    assert np.allclose(field.on(image_grid(8.0)), 2.5, atol=1e-5)


def test_on_a_grid_equals_at_its_points() -> None:
    grid = image_grid(6.0)
    field = noise(np.random.default_rng(5), 9.0)
    assert np.allclose(field.on(grid), field.at(*grid.coordinates()), atol=1e-4)


def test_noise_has_unit_spread() -> None:
    values = noise(np.random.default_rng(1), 5.0).on(image_grid(3.0))
    assert abs(values.mean()) < 0.05
    assert 0.85 < values.std() < 1.15
