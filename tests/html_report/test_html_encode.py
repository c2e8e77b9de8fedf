"""What the page holds of a volume is the volume: exact masks, near scans, true positions, a size that fits."""

import base64
import io
import zlib
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import PIL.Image
import pytest

from nnunetv2_comnet.errors import DataError
from nnunetv2_comnet.html_report.encode import LEVELS, encode_case
from nnunetv2_comnet.html_report.sources import CaseFiles
from nnunetv2_comnet.html_report.volumes import CaseVolumes, read_case, read_labels
from nnunetv2_comnet.phantom.patient import generate

GENEROUS = 1e9


def layer(content: dict[str, Any], kind: str, name: str | None = None) -> np.ndarray:
    """Decodes a layer as the page's script does: [z][y][x]."""
    found = next(one for one in content["layers"] if one["kind"] == kind and name in (None, one["name"]))
    data = base64.b64decode(found["data"])
    depth, height, width = content["shape"]
    if found["coding"] == "deflate":
        return np.frombuffer(zlib.decompress(data), np.uint8).reshape(depth, height, width)
    mosaic = np.asarray(PIL.Image.open(io.BytesIO(data)).convert("L"))
    tiles = [divmod(z, found["columns"]) for z in range(depth)]
    return np.stack([mosaic[r * height : (r + 1) * height, c * width : (c + 1) * width] for r, c in tiles])


def text_size(content: dict[str, Any]) -> int:
    return sum(len(one["data"]) for one in content["layers"])


@pytest.fixture(scope="module")
def volumes() -> CaseVolumes:
    patient = generate((0, 2), 3.0)
    uncertain = np.where(patient.mask > 0, np.float32(0.5), np.float32(0))
    return CaseVolumes(
        "A",
        (3.0, 3.0, 3.0),
        patient.mask.shape,
        images=dict(patient.images),
        truth=patient.mask,
        prediction=patient.automatic_mask,
        maps={"entropy": uncertain},
    )


def test_masks_are_exact_and_scans_are_near(volumes: CaseVolumes) -> None:
    content = encode_case(volumes, GENEROUS)
    assert np.array_equal(layer(content, "truth"), volumes.truth)
    assert np.array_equal(layer(content, "prediction"), volumes.prediction)
    for name, image in volumes.images.items():
        # Grey is value / 99.7th percentile of what is not 0, times 255, cut at 255.
        expected = np.clip(image / np.percentile(image[image != 0], 99.7), 0, 1) * 255
        assert np.abs(layer(content, "image", name) - expected).mean() < 3
    # Half a bit of entropy, of 1 bit at most, is 127.5 of 255 where it is flat; nothing is 0.
    entropy, inside = layer(content, "map", "entropy"), volumes.maps["entropy"] > 0
    assert abs(float(np.median(entropy[inside])) - 127.5) < 6
    assert np.median(entropy[~inside]) == 0


def test_the_viewer_starts_where_the_tumour_is_largest(volumes: CaseVolumes) -> None:
    truth = volumes.truth
    assert truth is not None
    z, y, x = encode_case(volumes, GENEROUS)["start"]
    assert (truth[z] > 0).sum() == max((plane > 0).sum() for plane in truth)
    assert (truth[:, y] > 0).sum() == max((truth[:, i] > 0).sum() for i in range(truth.shape[1]))
    assert (truth[..., x] > 0).sum() == max((truth[..., i] > 0).sum() for i in range(truth.shape[2]))


def test_a_smaller_budget_is_kept_with_the_finest_level_that_fits(volumes: CaseVolumes) -> None:
    whole = text_size(encode_case(volumes, GENEROUS))
    sizes = []
    for budget in (whole, 0.8 * whole, 0.15 * whole, 0.06 * whole):
        content = encode_case(volumes, budget)
        assert text_size(content) <= budget
        sizes.append(text_size(content))
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == len(sizes)
    finest = encode_case(volumes, GENEROUS)
    assert (finest["steps"], finest["quality"]) == ([1, 1, 1], LEVELS[0].quality)
    # One character less than the finest needs: the next level, still voxel by voxel.
    next_level = encode_case(volumes, text_size(finest) - 1)
    assert (next_level["steps"], next_level["quality"]) == ([1, 1, 1], LEVELS[1].quality)


def test_coarser_voxels_stay_in_place_and_become_cubes() -> None:
    # 1 x 1 mm in the plane, 3 mm slices: only voxels within the plane are put together. 65 = 16 x 4 + 1: the last row
    # is a block of its own.
    image = np.full((2, 65, 64), 40, np.float32)
    image[:, :, 32:] = 100
    mask = np.zeros((2, 65, 64), np.uint8)
    mask[1, 9, 13] = 3  # the middle (the second) of the four voxels of block 2, and of block 3
    mask[1, 10, 20] = 1  # no block's middle
    mask[0, 64, 1] = 2  # in the row of its own
    volumes = CaseVolumes("A", (3.0, 1.0, 1.0), (2, 65, 64), images={"T1c": image}, truth=mask)
    content = encode_case(volumes, 0)  # nothing fits: the coarsest, four times 1 mm
    assert content["steps"] == [1, 4, 4]
    assert content["spacing"] == [3.0, 4.0, 4.0]
    assert content["shape"] == [2, 17, 16]
    assert np.argwhere(layer(content, "truth")).tolist() == [[0, 16, 0], [1, 2, 3]]
    grey = layer(content, "image", "T1c").astype(int)
    assert np.abs(grey[:, :, :7] - 0.4 * 255).max() < 8
    assert np.abs(grey[:, :, 9:] - 255).max() < 8


def save(array_zyx: np.ndarray, path: Path, affine: np.ndarray) -> Path:
    nibabel.save(nibabel.Nifti1Image(array_zyx.transpose(2, 1, 0), affine), path)
    return path


def test_every_orientation_is_hung_the_same_way(tmp_path: Path) -> None:
    # One voxel, 4 mm to the patient's left, 3 mm to posterior, 2 mm to superior of the first: in an RAS affine left and
    # posterior are negative. The same place in space, written along two different sets of axes.
    labels = np.zeros((6, 6, 6), np.uint8)
    labels[2, 3, 4] = 3
    lps = np.diag([-1.0, -1.0, 1.0, 1.0])
    ras = np.diag([1.0, 1.0, 1.0, 1.0])
    ras[:3, 3] = [-5, -5, 0]
    flipped = labels[:, ::-1, ::-1].copy()
    first, second = save(labels, tmp_path / "lps.nii.gz", lps), save(flipped, tmp_path / "ras.nii.gz", ras)
    for path in (first, second):
        assert np.argwhere(read_labels(path)[0]).tolist() == [[2, 3, 4]]
    case = read_case(CaseFiles("A", {}, first, second, {}))
    assert case.notes == []
    # Cut to the label with two voxels around it: 0 to 4, 1 to 5 and 2 to 5 (the border).
    assert case.offset_zyx == (0, 1, 2)
    assert case.truth is not None
    assert case.truth.shape == (5, 5, 4)
    assert np.array_equal(case.truth, case.prediction)


def test_one_bad_file_is_told_and_the_others_are_shown(tmp_path: Path) -> None:
    labels = np.zeros((4, 5, 6), np.uint8)
    labels[1:3, 1:3, 1:3] = 2
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    prediction = save(labels, tmp_path / "prediction.nii.gz", affine)
    truth = save(labels[:3], tmp_path / "truth.nii.gz", affine)
    broken = tmp_path / "A_0000.nii.gz"
    broken.write_bytes(b"no image")
    case = read_case(CaseFiles("A", {"T1c": broken}, truth, prediction, {}))
    assert case.truth is None
    assert not case.images
    assert case.prediction is not None
    assert case.notes == [
        "truth is on another grid (shape (6, 5, 3) where (6, 5, 4) is expected) and is not shown",
        "T1c: A_0000.nii.gz cannot be read: it is not gzipped; copy or make it again",
    ]
    nothing = read_case(CaseFiles("A", {"T1c": broken}, None, None, {}))
    assert encode_case(nothing, GENEROUS)["layers"] == []
    with pytest.raises(DataError):
        read_labels(prediction, truth)


def test_maps_of_several_regions_become_their_largest_absolute_value(tmp_path: Path) -> None:
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    first, second = np.zeros((3, 3, 3), np.float32), np.zeros((3, 3, 3), np.float32)
    first[1, 1, 1], second[1, 1, 1], second[0, 0, 0] = 1.5, -2.5, 0.5
    paths = (save(first, tmp_path / "A_WT.nii.gz", affine), save(second, tmp_path / "A_ET.nii.gz", affine))
    case = read_case(CaseFiles("A", {}, None, None, {"correction": paths}))
    assert case.maps["correction"][1, 1, 1] == 2.5
    assert case.maps["correction"][0, 0, 0] == 0.5
