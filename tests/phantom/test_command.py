"""`comnet phantom` as a user calls it: files, bytes, labels, metadata; mistakes are in tests/bad_inputs."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from nnunetv2_comnet.label_schemes import BRATS_124, MSD_TASK01
from nnunetv2_comnet.phantom.write import source_labels

Run = Callable[..., "subprocess.CompletedProcess[str]"]

IMAGES = {"brain_t1.nii.gz", "brain_t1ce.nii.gz", "brain_t2.nii.gz", "brain_flair.nii.gz"}
AUTOMATIC, MANUAL = "tumorseg_FeTS.nii.gz", "rtumorseg_manual_correction.nii.gz"
BRATS_AFFINE = [[-1, 0, 0, 0], [0, -1, 0, 239], [0, 0, 1, 0], [0, 0, 0, 1]]


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def utsw(tmp_path_factory: pytest.TempPathFactory, run: Run) -> Path:
    out = tmp_path_factory.mktemp("phantom") / "utsw"
    done = run("comnet", "phantom", str(out), "--cases", "4", "--spacing", "6")
    assert done.returncode == 0, done.stderr
    assert "BT0001 to BT0004" in done.stdout
    return out


def test_files_are_named_as_utsw_names_them(utsw: Path) -> None:
    cases = sorted((utsw / "UTSW-Glioma").iterdir())
    assert [case.name for case in cases] == ["BT0001", "BT0002", "BT0003", "BT0004"]
    corrected = 0
    for case in cases:
        names = {path.name for path in case.iterdir()}
        assert names - {MANUAL} == IMAGES | {AUTOMATIC}
        corrected += MANUAL in names
    assert 0 < corrected < 4, "some masks are corrected by hand, some are not"


def test_headers_follow_brats(utsw: Path) -> None:
    for path in sorted((utsw / "UTSW-Glioma" / "BT0003").iterdir()):
        image = nibabel.load(path)
        assert nibabel.aff2axcodes(image.affine) == ("L", "P", "S")
        assert image.header.get_zooms() == (6.0, 6.0, 6.0)
        assert (int(image.header["qform_code"]), int(image.header["sform_code"])) == (1, 1)
        assert np.allclose(image.get_qform(), image.affine)
        # The outer edge of the first voxel is where it is at 1 mm.
        edge = image.affine @ [-0.5, -0.5, -0.5, 1]
        assert np.allclose(edge, np.array(BRATS_AFFINE) @ [-0.5, -0.5, -0.5, 1])


def test_masks_are_numbered_as_the_source_does(utsw: Path) -> None:
    found: set[int] = set()
    for path in utsw.rglob("*tumorseg*"):
        data = np.asarray(nibabel.load(path).dataobj)
        assert data.dtype == np.uint8
        found |= set(np.unique(data).tolist())
    assert found == {0, 1, 2, 4}


@pytest.mark.parametrize("scheme", [BRATS_124, MSD_TASK01])
def test_source_labels_invert_the_scheme(scheme) -> None:  # type: ignore[no-untyped-def]
    mask = np.array([0, 1, 2, 3], np.uint8)
    assert np.array_equal(scheme.canonical(source_labels(mask, scheme)), mask)


def test_metadata_is_the_published_table(utsw: Path) -> None:
    raw = (utsw / "UTSW_Glioma_Metadata-2-1.tsv").read_bytes()
    assert raw.startswith(b"\xef\xbb\xbf")
    lines = raw.decode("utf-8-sig").split("\r\n")
    assert lines[0].startswith("Subject ID\tSex at birth\tAge at Imaging")
    assert [line.split("\t")[0] for line in lines[1:-1]] == ["BT0001", "BT0002", "BT0003", "BT0004"]
    for line in lines[1:-1]:
        case, *_, manual = line.split("\t")
        assert (manual == "Yes") == (utsw / "UTSW-Glioma" / case / MANUAL).exists()


def test_same_seed_same_bytes_whatever_the_jobs(utsw: Path, tmp_path: Path, run: Run) -> None:
    done = run("comnet", "phantom", str(tmp_path / "again"), "--cases", "4", "--spacing", "6", "--jobs", "2")
    assert done.returncode == 0, done.stderr
    assert _contents(tmp_path / "again") == _contents(utsw)


def test_a_patient_depends_on_its_number_only(utsw: Path, tmp_path: Path, run: Run) -> None:
    done = run("comnet", "phantom", str(tmp_path / "one"), "--cases", "1", "--spacing", "6", "--start", "3")
    assert done.returncode == 0, done.stderr
    one = tmp_path / "one" / "UTSW-Glioma" / "BT0003"
    assert _contents(one) == _contents(utsw / "UTSW-Glioma" / "BT0003")


def test_other_seeds_are_other_patients(utsw: Path, tmp_path: Path, run: Run) -> None:
    done = run("comnet", "phantom", str(tmp_path / "o"), "--cases", "1", "--spacing", "6", "--seed", "1")
    assert done.returncode == 0, done.stderr
    other = (tmp_path / "o" / "UTSW-Glioma" / "BT0001" / "brain_t1.nii.gz").read_bytes()
    assert other != (utsw / "UTSW-Glioma" / "BT0001" / "brain_t1.nii.gz").read_bytes()


@pytest.mark.parametrize(
    ("layout", "case_folder", "files", "labels"),
    [
        ("brats2021", "BraTS2021_Training_Data/BraTS2021_00002", "{}_{}.nii.gz", {0, 1, 2, 4}),
        (
            "brats2023",
            "ASNR-MICCAI-BraTS2023-GLI-Challenge-TrainingData/BraTS-GLI-00002-000",
            "{}-{}.nii.gz",
            {0, 1, 2, 3},
        ),
    ],
)
def test_brats_layouts(layout: str, case_folder: str, files: str, labels: set[int], tmp_path: Path, run: Run) -> None:
    words = ("--cases", "1", "--start", "2", "--spacing", "6", "--layout", layout, "--seed", "0")
    done = run("comnet", "phantom", str(tmp_path / "out"), *words)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "out" / case_folder
    endings = ("t1", "t1ce", "t2", "flair", "seg") if layout == "brats2021" else ("t1n", "t1c", "t2w", "t2f", "seg")
    assert {path.name for path in folder.iterdir()} == {files.format(folder.name, ending) for ending in endings}
    mask = np.asarray(nibabel.load(folder / files.format(folder.name, "seg")).dataobj)
    assert set(np.unique(mask).tolist()) <= labels
