"""What is written has one geometry for every reader and the values of the source; links where nothing changes."""

import gzip
import json
import struct

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 (the field's own spelling)
from tiny_patients import BRATS_AFFINE, TO_124, UTSW_FILES, load, make_patient, renumber, save, write_utsw

from nnunetv2_comnet.dataset_conversion.volumes import write_volume

FOLDER = "Dataset501_UTSWGlioma"
TURN = np.array([[np.cos(0.3), -np.sin(0.3), 0], [np.sin(0.3), np.cos(0.3), 0], [0, 0, 1]])
OBLIQUE = np.eye(4)
OBLIQUE[:3, :3] = TURN @ np.diag([0.9, 1.1, 2.5])
OBLIQUE[:3, 3] = [-40, 12.5, 7]


def write_all(root, affine=BRATS_AFFINE, **header):
    patient = make_patient()
    for channel, name in UTSW_FILES.items():
        save(root / f"BT0001/{name}.nii.gz", patient.channels[channel], affine, **header)
    save(root / "BT0001/tumorseg_FeTS.nii.gz", renumber(patient.mask, TO_124), affine, **header)
    return patient


def itk_to_ras(path):
    image = sitk.ReadImage(str(path))
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    matrix[:3, 3] = image.GetOrigin()
    return np.diag([-1, -1, 1, 1]) @ matrix, sitk.GetArrayFromImage(image).transpose(2, 1, 0)


@pytest.mark.parametrize("affine", [BRATS_AFFINE, np.diag([1.0, 1, 1, 1]), OBLIQUE], ids=["LPS", "RAS", "oblique"])
@pytest.mark.parametrize("codes", [(1, 1), (1, 0), (0, 1), (2, 4), (1, 2)])
def test_both_readers_agree_on_what_was_written(tmp_path, comnet, affine, codes):
    patient = write_all(tmp_path / "in", affine, q_code=codes[0], s_code=codes[1])
    assert comnet("utsw", tmp_path / "in", "--out", tmp_path).code == 0
    files = sorted((tmp_path / FOLDER).glob("*Tr/*.nii.gz"))
    for path in files:
        image = nibabel.load(path)
        assert (int(image.header["qform_code"]), int(image.header["sform_code"])) == (1, 1)
        np.testing.assert_allclose(image.get_qform(), image.get_sform(), atol=1e-6)  # the header's float32
        np.testing.assert_allclose(image.affine, affine, atol=1e-5)
        seen, values = itk_to_ras(path)
        np.testing.assert_allclose(seen, image.affine, atol=1e-5)
        np.testing.assert_array_equal(values, np.asarray(image.dataobj))
    np.testing.assert_array_equal(load(files[1]), patient.channels["T1c"])


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [(kind, kind) for kind in (np.uint8, np.uint16, np.float32, np.float64, np.int64)] + [(">i2", np.int16)],
)
def test_values_and_their_type_are_kept(tmp_path, comnet, dtype, expected):
    patient = write_utsw(tmp_path / "in", "BT0001")
    data = patient.channels["T1n"].astype(dtype)
    image = nibabel.Nifti1Image(data, None, dtype=data.dtype)
    image.header.set_data_dtype(data.dtype)
    if isinstance(dtype, str):
        image = nibabel.Nifti1Image(data, None, nibabel.Nifti1Header(endianness=">"))
        image.header.set_data_dtype(np.int16)
    image.set_qform(BRATS_AFFINE, 1)
    image.set_sform(BRATS_AFFINE, 1)
    nibabel.save(image, tmp_path / "in/BT0001/brain_t1.nii.gz")
    assert comnet("utsw", tmp_path / "in", "--out", tmp_path).code == 0
    written = load(tmp_path / FOLDER / "imagesTr/BT0001_0000.nii.gz")
    assert written.dtype == expected
    np.testing.assert_array_equal(written, patient.channels["T1n"])


@pytest.mark.parametrize("order", ["F", "C"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, np.float32, np.float64])
def test_a_written_file_holds_the_bytes_that_nibabel_writes(tmp_path, dtype, order):
    data = np.asarray(make_patient().channels["T1n"].astype(dtype), order=order)
    image = nibabel.Nifti1Image(data, OBLIQUE, dtype=dtype)
    image.header.set_xyzt_units("mm")
    image.set_qform(OBLIQUE, code=1)
    image.set_sform(image.get_qform(), code=1)
    nibabel.save(image, tmp_path / "nibabel.nii.gz")
    for name in ("first", "second"):
        write_volume(tmp_path / f"{name}.nii.gz", data, OBLIQUE)
    ours = (tmp_path / "first.nii.gz").read_bytes()
    assert gzip.decompress(ours) == gzip.decompress((tmp_path / "nibabel.nii.gz").read_bytes())
    assert ours == (tmp_path / "second.nii.gz").read_bytes()


def test_a_file_of_several_gzip_members_is_read_whole(tmp_path, comnet):
    patient = write_utsw(tmp_path / "in", "BT0001")
    scan = tmp_path / "in/BT0001/brain_t1.nii.gz"
    raw = gzip.decompress(scan.read_bytes())
    scan.write_bytes(gzip.compress(raw[:5000]) + gzip.compress(raw[5000:]))  # as parallel compressors write it
    assert comnet("utsw", tmp_path / "in", "--out", tmp_path).code == 0
    np.testing.assert_array_equal(load(tmp_path / FOLDER / "imagesTr/BT0001_0000.nii.gz"), patient.channels["T1n"])


@pytest.mark.parametrize(("slope", "inter", "expected"), [(2.0, -10.0, np.int16), (0.25, 0.0, np.float32)])
def test_scaled_files_are_written_with_their_true_values(tmp_path, comnet, slope, inter, expected):
    patient = write_utsw(tmp_path / "in", "BT0001")
    path = tmp_path / "in/BT0001/brain_t1.nii.gz"
    raw = bytearray(gzip.decompress(path.read_bytes()))
    raw[112:120] = struct.pack("<ff", slope, inter)  # scl_slope and scl_inter of the NIfTI-1 header
    path.write_bytes(gzip.compress(raw))
    true = patient.channels["T1n"] * slope + inter
    assert nibabel.load(path).dataobj.slope == slope
    assert comnet("utsw", tmp_path / "in", "--out", tmp_path, "--link").code == 0
    written = tmp_path / FOLDER / "imagesTr/BT0001_0000.nii.gz"
    assert not written.is_symlink()
    assert load(written).dtype == expected
    np.testing.assert_array_equal(load(written), true)


def test_links_only_where_nothing_needs_changing(tmp_path, comnet):
    patient = write_all(tmp_path / "in")
    source = tmp_path / "in/BT0001"
    (source / "brain_t2.nii.gz").unlink()
    save(source / "brain_t2.nii", patient.channels["T2w"])  # not compressed
    save(source / "brain_flair.nii.gz", patient.channels["FLAIR"], q_code=0)  # qform not set
    before = {path: path.read_bytes() for path in source.iterdir()}
    done = comnet("utsw", tmp_path / "in", "--out", tmp_path, "--link")
    assert done.code == 0
    assert "2 files linked" in done.out
    images = [tmp_path / FOLDER / f"imagesTr/BT0001_{index:04d}.nii.gz" for index in range(4)]
    assert [path.is_symlink() for path in images] == [True, True, False, False]
    assert images[0].resolve() == (source / "brain_t1.nii.gz").resolve()
    assert not (tmp_path / FOLDER / "labelsTr/BT0001.nii.gz").is_symlink()  # 4 becomes 3
    assert "2 files linked" in comnet("utsw", tmp_path / "in", "--out", tmp_path, "--link").out
    # without --link the links become files, and the source is not written through them
    assert comnet("utsw", tmp_path / "in", "--out", tmp_path).code == 0
    assert not any(path.is_symlink() for path in images)
    assert {path: path.read_bytes() for path in source.iterdir()} == before


def test_masks_in_our_numbering_are_linked_too(tmp_path, comnet):
    patient, case = make_patient(), "BraTS-GLI-00001-000"
    for channel, name in zip(patient.channels, ("t1n", "t1c", "t2w", "t2f"), strict=True):
        save(tmp_path / f"in/{case}/{case}-{name}.nii.gz", patient.channels[channel])
    save(tmp_path / f"in/{case}/{case}-seg.nii.gz", patient.mask)
    assert "5 files linked" in comnet("brats2023", tmp_path / "in", "--out", tmp_path, "--link").out
    assert (tmp_path / f"Dataset501_BraTS2023/labelsTr/{case}.nii.gz").is_symlink()
    report = json.loads((tmp_path / "Dataset501_BraTS2023/conversion_report.json").read_text())
    assert report["links"] == 5
