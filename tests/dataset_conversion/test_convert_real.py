"""One real BraTS 2021 case, and nnU-Net's own integrity check on what was written."""

import os
from pathlib import Path

import matplotlib.image
import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 (the field's own spelling)
from tiny_patients import write_utsw

NAMED = os.environ.get("COMNET_REAL_CASE")
REAL = Path(NAMED) if NAMED else Path(__file__).parents[3] / "shared/data/BraTS2021_00006"


def verify(folder: Path) -> None:
    from nnunetv2.experiment_planning.verify_dataset_integrity import verify_dataset_integrity

    verify_dataset_integrity(str(folder), 1)


def test_stock_integrity_check_passes(tmp_path, comnet):
    for index in range(2):
        write_utsw(tmp_path / "in", f"BT000{index}", index)
    assert comnet("utsw", tmp_path / "in", "--out", tmp_path, "--link").code == 0
    verify(tmp_path / "Dataset501_UTSWGlioma")


def test_preview_shows_four_channels_and_outlines(tmp_path, comnet):
    write_utsw(tmp_path / "in", "BT0001")
    assert comnet("utsw", tmp_path / "in", "--out", tmp_path, "--preview").code == 0
    picture = matplotlib.image.imread(tmp_path / "Dataset501_UTSWGlioma/previews/BT0001.png")[..., :3]
    coloured = np.ptp(picture, axis=-1) > 0.3
    quarters = np.array_split(coloured[: int(0.9 * len(coloured))], 4, axis=1)  # without the legend
    assert all(quarter.sum() > 100 for quarter in quarters)


@pytest.mark.real
@pytest.mark.skipif(not REAL.is_dir(), reason=f"the real case is not at {REAL}; name it by COMNET_REAL_CASE")
def test_a_real_case(tmp_path, comnet):
    done = comnet("brats2021", REAL, "--out", tmp_path, "--preview", "--strict")
    assert done.code == 0, done
    assert "warnings:" not in done.out
    folder, case = tmp_path / "Dataset501_BraTS2021", "BraTS2021_00006"
    for index, name in enumerate(("t1", "t1ce", "t2", "flair")):
        source, written = REAL / f"{case}_{name}.nii.gz", folder / f"imagesTr/{case}_{index:04d}.nii.gz"
        one, two = nibabel.load(source), nibabel.load(written)
        assert nibabel.aff2axcodes(two.affine) == ("L", "P", "S")
        np.testing.assert_array_equal(one.affine, two.affine)
        assert one.get_data_dtype() == two.get_data_dtype() == np.int16
        np.testing.assert_array_equal(np.asarray(one.dataobj), np.asarray(two.dataobj))
        a, b = sitk.ReadImage(str(source)), sitk.ReadImage(str(written))
        assert (a.GetOrigin(), a.GetSpacing(), a.GetDirection()) == (b.GetOrigin(), b.GetSpacing(), b.GetDirection())
    labels = np.asarray(nibabel.load(folder / f"labelsTr/{case}.nii.gz").dataobj)
    assert np.bincount(labels.ravel()).tolist() == [240 * 240 * 155 - 137911, 25506, 85957, 26448]
    assert f"{case},{case},converted" in (folder / "conversion_report.csv").read_text()
