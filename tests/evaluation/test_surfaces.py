"""Surface distances against numpy alone, scipy's own Hausdorff, MONAI, and numbers worked by hand."""

import itertools

import numpy as np
import pytest
import surface_distance
from scipy.ndimage import binary_erosion, distance_transform_edt, gaussian_filter, generate_binary_structure
from scipy.spatial.distance import cdist

from nnunetv2_comnet.evaluation.protocols import AREA, VOXEL
from nnunetv2_comnet.evaluation.surfaces import Surfaces

SPACINGS = [(1.0, 1.0, 1.0), (3.0, 1.0, 0.5)]


def blobs(seed: int, shape: tuple[int, int, int] = (12, 14, 13)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    fields = [gaussian_filter(rng.standard_normal(shape), 1.5) for _ in range(2)]
    return fields[0] > 0.05, 0.8 * fields[0] + 0.6 * fields[1] > 0.06


def border_points(mask: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    """Centres in mm of the voxels with a face towards the outside, found voxel by voxel."""
    padded = np.pad(mask, 1)
    points = [
        position
        for position in np.argwhere(padded)
        if not all(padded[tuple(position + step * np.eye(3, dtype=int)[axis])] for axis in range(3) for step in (-1, 1))
    ]
    return (np.array(points) - 1) * np.array(spacing)


def corner_points(mask: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    """Corners of voxels around which both inside and outside is found: the surface elements of surface-distance."""
    padded = np.pad(mask, 1)
    points = []
    for corner in itertools.product(*(range(1, size) for size in padded.shape)):
        around = padded[tuple(slice(c - 1, c + 1) for c in corner)]
        if around.any() and not around.all():
            points.append(corner)
    return np.array(points) * np.array(spacing)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("seed", [0, 1])
def test_voxel_surfaces_agree_with_brute_force(seed: int, spacing: tuple[float, float, float]) -> None:
    truth, prediction = blobs(seed)
    distances = cdist(border_points(truth, spacing), border_points(prediction, spacing))
    one_way, other_way = distances.min(1), distances.min(0)
    surfaces = Surfaces(truth, prediction, spacing)
    assert surfaces.hd95_mm(VOXEL) == pytest.approx(np.percentile(np.r_[one_way, other_way], 95))
    assert surfaces.assd_mm(VOXEL) == pytest.approx((one_way.mean() + other_way.mean()) / 2)
    for tolerance in (0.5, 1.0, 2.0):
        expected = ((one_way <= tolerance).mean() + (other_way <= tolerance).mean()) / 2
        assert surfaces.nsd(VOXEL, tolerance) == pytest.approx(expected)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("seed", [0, 1])
def test_area_surfaces_lie_where_brute_force_puts_them(seed: int, spacing: tuple[float, float, float]) -> None:
    # Every distance of the area-weighted measure is one between corners; at a tolerance over the largest all agree.
    truth, prediction = blobs(seed)
    distances = cdist(corner_points(truth, spacing), corner_points(prediction, spacing))
    allowed = np.r_[distances.min(1), distances.min(0)]
    surfaces = Surfaces(truth, prediction, spacing)
    assert np.abs(allowed - surfaces.hd95_mm(AREA)).min() < 1e-9
    assert surfaces.nsd(AREA, allowed.max() + 1e-9) == pytest.approx(1)
    assert surfaces.nsd(AREA, 0.0) < 1
    assert 0 < surfaces.assd_mm(AREA) < allowed.max()


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("tolerance", [0.5, 1.0, 2.0])
def test_area_nsd_agrees_with_monai(spacing: tuple[float, float, float], tolerance: float) -> None:
    monai = pytest.importorskip("monai.metrics")
    torch = pytest.importorskip("torch")
    truth, prediction = blobs(2)
    truth, prediction = np.pad(truth, 2), np.pad(prediction, 2)
    first, second = (torch.from_numpy(mask[None, None].astype(np.float32)) for mask in (prediction, truth))
    theirs = monai.compute_surface_dice(
        first, second, [tolerance], include_background=True, spacing=spacing, use_subvoxels=True
    )
    assert Surfaces(truth, prediction, spacing).nsd(AREA, tolerance) == pytest.approx(float(theirs), abs=1e-5)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_the_largest_distance_agrees_with_monai(spacing: tuple[float, float, float]) -> None:
    # MONAI's border voxels have the same six neighbours; its 100th percentile is the plain Hausdorff distance.
    monai = pytest.importorskip("monai.metrics")
    torch = pytest.importorskip("torch")
    truth, prediction = (np.pad(mask, 2) for mask in blobs(3))
    first, second = (torch.from_numpy(mask[None, None].astype(np.float32)) for mask in (prediction, truth))
    theirs = float(monai.compute_hausdorff_distance(first, second, include_background=True, spacing=spacing))
    surfaces = Surfaces(truth, prediction, spacing)
    assert surfaces.nsd(VOXEL, theirs + 1e-4) == 1
    assert surfaces.nsd(VOXEL, theirs - 1e-4) < 1


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_hd95_agrees_with_monai_where_the_definitions_do(axis: int, spacing: tuple[float, float, float]) -> None:
    # MONAI takes the larger direction over voxels of weight one. A cube and the same cube moved by two voxels: a face,
    # a sixth of either surface, is so far from the other cube, whether voxels or areas count, pooled or by direction.
    monai = pytest.importorskip("monai.metrics")
    torch = pytest.importorskip("torch")

    def theirs(*masks: np.ndarray, directed: bool = False) -> float:
        both = [torch.from_numpy(mask[None, None].astype(np.float32)) for mask in masks]
        options = {"include_background": True, "percentile": 95, "spacing": spacing, "directed": directed}
        return float(monai.compute_hausdorff_distance(*both, **options))

    truth = np.zeros((14, 14, 14), bool)
    truth[2:10, 2:10, 2:10] = True
    prediction = np.roll(truth, 2, axis)
    surfaces = Surfaces(truth, prediction, spacing)
    assert surfaces.hd95_mm(AREA) == surfaces.hd95_mm(VOXEL) == theirs(truth, prediction) == 2 * spacing[axis]
    # Elsewhere the percentile of both directions pooled lies between MONAI's of each.
    truth, prediction = (np.pad(mask, 2) for mask in blobs(7))
    smaller, larger = sorted([theirs(truth, prediction, directed=True), theirs(prediction, truth, directed=True)])
    assert theirs(truth, prediction) == larger
    assert smaller - 1e-5 <= Surfaces(truth, prediction, spacing).hd95_mm(VOXEL) <= larger + 1e-5  # theirs is float32


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("spacing", [*SPACINGS, (0.7, 0.9, 2.3)])
@pytest.mark.parametrize("seed", [4, 5])
def test_areas_and_distances_are_those_of_surface_distance(seed: int, spacing: tuple[float, float, float]) -> None:
    # To the last bit: its own distance transform of the whole volume is the oracle. Specks make the volume large.
    truth, prediction = (np.pad(mask, ((3, 20), (0, 5), (11, 4))) for mask in blobs(seed))
    for position in ((0, 0, 0), (30, 2, 24), (34, 18, 1)):
        prediction[position] = True
    for first, second in ((truth, prediction), (prediction, truth), (truth, truth)):
        theirs = surface_distance.compute_surface_distances(first, second, spacing)
        ours = Surfaces(first, second, spacing)._areas
        assert ours.keys() == theirs.keys()
        for name, values in theirs.items():
            np.testing.assert_array_equal(ours[name], values, err_msg=name)


@pytest.mark.parametrize("spacing", [*SPACINGS, (0.7, 0.9, 2.3)])
def test_distances_between_voxels_are_those_of_scipys_transform(spacing: tuple[float, float, float]) -> None:
    truth, prediction = blobs(6)
    truth[0, 0, 0] = prediction[-1, -1, -1] = True  # the image's corners: beyond them is outside
    borders = [mask & ~binary_erosion(mask, generate_binary_structure(3, 1)) for mask in (truth, prediction)]
    maps = [distance_transform_edt(~border, sampling=spacing) for border in borders]
    there, back = Surfaces(truth, prediction, spacing)._voxels
    np.testing.assert_array_equal(there, maps[1][borders[0]])
    np.testing.assert_array_equal(back, maps[0][borders[1]])


def test_two_plates_by_hand() -> None:
    # Plates of 10 x 10 x 1 voxels of 3 mm across, 2 slices apart: every border voxel of one lies 6 mm from the other.
    truth, prediction = np.zeros((5, 12, 12), bool), np.zeros((5, 12, 12), bool)
    truth[1, 1:11, 1:11] = prediction[3, 1:11, 1:11] = True
    surfaces = Surfaces(truth, prediction, (3.0, 1.0, 1.0))
    assert surfaces.hd95_mm(VOXEL) == surfaces.assd_mm(VOXEL) == 6
    # Corners: the faces that look at one another are 3 mm apart, the outer ones 6 + 3 - 3 = 6 mm from the nearer face.
    assert surfaces.hd95_mm(AREA) == 6
    assert surfaces.nsd(VOXEL, 5.9) == surfaces.nsd(AREA, 2.9) == 0
    assert surfaces.nsd(VOXEL, 6.0) == surfaces.nsd(AREA, 6.0) == 1
