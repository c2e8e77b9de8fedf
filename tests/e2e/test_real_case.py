"""One real BraTS 2021 case: converted, preprocessed at full size, learned, and predicted on its own grid."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK

ROOT = Path(__file__).parents[2]
CASE = "BraTS2021_00006"
REAL = Path(os.environ.get("COMNET_REAL_CASE", ROOT.parent / "shared" / "data" / CASE))

pytestmark = [
    pytest.mark.chain,
    pytest.mark.real,
    pytest.mark.skipif(not REAL.is_dir(), reason=f"the real case is not at {REAL} (set COMNET_REAL_CASE)"),
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, nnunet_folders: Path) -> Iterator[Path]:
    """nnU-Net's three folders for this file alone."""
    root = tmp_path_factory.mktemp("real")
    before = {name: os.environ[f"nnUNet_{name}"] for name in ("raw", "preprocessed", "results")}
    for name in before:
        (root / name).mkdir()
        os.environ[f"nnUNet_{name}"] = str(root / name)
    yield root
    for name, value in before.items():
        os.environ[f"nnUNet_{name}"] = value


def succeed(run: Any, *words: str) -> str:
    answer = run(*words)
    assert answer.returncode == 0, answer.stdout[-2000:] + answer.stderr[-2000:]
    return str(answer.stdout)


def reduced(image: nibabel.Nifti1Image, factor: int, is_mask: bool) -> nibabel.Nifti1Image:
    """Every factor-th voxel of a mask, means of factor^3 voxels of an image; the affine follows."""
    voxels = np.asarray(image.dataobj)
    size = [side // factor * factor for side in voxels.shape]
    voxels = voxels[: size[0], : size[1], : size[2]]
    if is_mask:
        small = voxels[factor // 2 :: factor, factor // 2 :: factor, factor // 2 :: factor]
    else:
        blocks = voxels.reshape(size[0] // factor, factor, size[1] // factor, factor, size[2] // factor, factor)
        small = blocks.mean(axis=(1, 3, 5)).astype(np.float32)
    affine = image.affine @ np.diag([factor, factor, factor, 1.0])
    affine[:3, 3] += image.affine[:3, :3] @ np.full(3, (factor - 1) / 2)
    return nibabel.Nifti1Image(small, affine)


def save(image: nibabel.Nifti1Image, path: Path) -> None:
    image.set_qform(image.affine, 1)
    image.set_sform(image.affine, 1)
    nibabel.save(image, path)


@pytest.fixture(scope="module")
def full_size(folders: Path, run: Any) -> Path:
    """The case converted as it is."""
    source = folders / "source"
    shutil.copytree(REAL, source / CASE)
    succeed(run, "comnet", "convert", "brats2021", str(source), "-d", "601", "--preview")
    return folders / "raw" / "Dataset601_BraTS2021"


@pytest.fixture(scope="module")
def model(folders: Path, run: Any) -> Path:
    """A small network that learned the case at 3 mm, in fold `all` (it trains and validates on it)."""
    source = folders / "source at 3 mm" / CASE
    source.mkdir(parents=True)
    for path in sorted(REAL.glob("*.nii.gz")):
        is_mask = path.name.endswith("_seg.nii.gz")
        save(reduced(nibabel.load(path), 3, is_mask), source / path.name)
    succeed(run, "comnet", "convert", "brats2021", str(source.parent), "-d", "602")
    succeed(
        run, "comnet", "plan", "-d", "602", "--preset", "demo", "--preprocess", "--max-epochs", "4",
        "--affine-probability", "0", "--flip-probability", "0",
    )  # fmt: skip
    train = ("nnUNetv2_train", "602", "3d_fullres", "all", "-tr", "nnUNetTrainerCoMNeT", "-p", "nnUNetCoMNeTPlans")
    succeed(run, *train, "-device", "cpu")
    return folders / "results" / "Dataset602_BraTS2021" / "nnUNetTrainerCoMNeT__nnUNetCoMNeTPlans__3d_fullres"


def test_the_converted_case_is_the_case(full_size: Path) -> None:
    for channel, name in enumerate(("t1", "t1ce", "t2", "flair")):
        original = nibabel.load(REAL / f"{CASE}_{name}.nii.gz")
        converted = nibabel.load(full_size / "imagesTr" / f"{CASE}_{channel:04d}.nii.gz")
        assert np.array_equal(np.asarray(original.dataobj), np.asarray(converted.dataobj))
        assert np.allclose(original.affine, converted.affine, atol=1e-6)
        assert np.array_equal(converted.get_qform(), converted.get_sform())
        assert int(converted.header["qform_code"]) == int(converted.header["sform_code"]) == 1
    mask = nibabel.load(full_size / "labelsTr" / f"{CASE}.nii.gz")
    assert mask.get_data_dtype() == np.uint8
    # The data's own description: NCR, ED, ET.
    assert np.bincount(np.asarray(mask.dataobj).ravel())[1:].tolist() == [25506, 85957, 26448]


def test_it_is_preprocessed_at_full_size(full_size: Path, folders: Path, run: Any) -> None:
    succeed(run, "comnet", "plan", "-d", "601", "--preprocess")
    folder = folders / "preprocessed" / "Dataset601_BraTS2021"
    plans = json.loads((folder / "nnUNetCoMNeTPlans.json").read_text())
    assert plans["configurations"]["3d_fullres"]["patch_size"] == [112, 160, 128]
    from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class

    data = str(folder / "nnUNetCoMNeTPlans_3d_fullres")
    image, _, _, _ = infer_dataset_class(data)(data, [CASE]).load_case(CASE)
    image = np.asarray(image[:])
    brain = np.any([np.asarray(nibabel.load(p).dataobj) > 0 for p in REAL.glob("*.nii.gz") if "seg" not in p.name], 0)
    box = [np.ptp(np.flatnonzero(brain.any(axis=tuple(set(range(3)) - {axis})))) + 1 for axis in (2, 1, 0)]
    assert list(image.shape) == [4, *box]
    inside = image[:, np.any(image != 0, axis=0)]
    assert np.allclose(inside.mean(axis=1), 0, atol=0.05)
    assert np.allclose(inside.std(axis=1), 1, atol=0.05)


def test_real_intensities_train(model: Path) -> None:
    summary = json.loads((model / "fold_all" / "validation" / "summary.json").read_text())
    assert summary["mean"]["(1, 2, 3)"]["Dice"] >= 0.85


@pytest.fixture(scope="module")
def predictions(model: Path, folders: Path, run: Any) -> dict[str, tuple[Path, Path]]:
    """The full-size case predicted as it is (LPS), re-saved as RAS, and on an oblique affine: (image, mask) each."""
    angle = np.deg2rad(12.0)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    inputs = folders / "in"
    inputs.mkdir()
    for channel, name in enumerate(("t1", "t1ce", "t2", "flair")):
        image = nibabel.load(REAL / f"{CASE}_{name}.nii.gz")
        canonical = nibabel.as_closest_canonical(image)
        assert nibabel.aff2axcodes(canonical.affine) == ("R", "A", "S")
        variants = {
            "lps": image,
            "ras": canonical,
            "oblique": nibabel.Nifti1Image(np.asarray(image.dataobj), turn @ image.affine),
        }
        for variant, changed in variants.items():
            save(changed, inputs / f"{variant}_{channel:04d}.nii.gz")
    succeed(
        run, "nnUNetv2_predict", "-i", str(inputs), "-o", str(folders / "out"), "-d", "602", "-c", "3d_fullres",
        "-tr", "nnUNetTrainerCoMNeT", "-p", "nnUNetCoMNeTPlans", "-f", "all", "-device", "cpu", "--disable_tta",
        "-npp", "1", "-nps", "1",
    )  # fmt: skip
    names = ("lps", "ras", "oblique")
    return {name: (inputs / f"{name}_0000.nii.gz", folders / "out" / f"{name}.nii.gz") for name in names}


@pytest.mark.parametrize("variant", ["lps", "ras", "oblique"])
def test_the_prediction_lies_on_the_inputs_grid(predictions: dict, variant: str) -> None:
    image, mask = (SimpleITK.ReadImage(str(path)) for path in predictions[variant])
    assert image.GetSize() == mask.GetSize() == (240, 240, 155)
    for what in ("GetSpacing", "GetOrigin", "GetDirection"):
        assert np.allclose(getattr(image, what)(), getattr(mask, what)(), rtol=0, atol=1e-6), what


def test_orientation_does_not_change_what_is_predicted(predictions: dict) -> None:
    lps, ras = (nibabel.load(predictions[name][1]) for name in ("lps", "ras"))
    voxels = np.asarray(lps.dataobj)
    assert np.array_equal(np.asarray(ras.dataobj)[::-1, ::-1], voxels)
    truth = np.asarray(nibabel.load(REAL / f"{CASE}_seg.nii.gz").dataobj) > 0
    overlap = 2 * np.sum(truth & (voxels > 0)) / (truth.sum() + (voxels > 0).sum())
    assert overlap > 0.7  # learned at 3 mm, compared at 1 mm: the right place and size
