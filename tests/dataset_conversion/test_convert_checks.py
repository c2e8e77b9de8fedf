"""One folder of UTSW patients, each with one planted defect: every defect is found under its own code, through the
installed command, and the good patients are converted."""

import gzip
import json

import numpy as np
import pytest
from tiny_patients import BRATS_AFFINE, SHAPE, TO_124, load, make_patient, renumber, save, write_utsw

from nnunetv2_comnet.dataset_conversion.findings import error

ROTATED = BRATS_AFFINE.copy()
ROTATED[:2, :2] = [[-np.cos(0.01), -np.sin(0.01)], [np.sin(0.01), -np.cos(0.01)]]
SHEARED = BRATS_AFFINE.copy()
SHEARED[0, 1] = 0.2


def moved(**changes):
    affine = BRATS_AFFINE.copy()
    affine[:3, 3] += changes.get("by", 0)
    affine[:3, :3] *= changes.get("scale", 1)
    return affine


def truncate(path):
    path.write_bytes(path.read_bytes()[:-12])  # the voxels are whole, the checksum is not


def damage(path):
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 255
    path.write_bytes(raw)


def outside_mask(patient, wanted):
    mask = renumber(patient.mask, TO_124)
    free = np.argwhere(np.logical_and.reduce([data == 0 for data in patient.channels.values()]))
    for x, y, z in free[:wanted]:
        mask[x, y, z] = 2
    return mask


def with_nan(data, value=np.nan):
    data = data.astype(np.float32)
    data[3, 4, 5] = value
    return data


# the code each defect must be reported under -> what is done to the patient's folder
ERRORS = {
    "missing-modality": lambda d, p: (d / "brain_t2.nii.gz").unlink(),
    "missing-modality missing-mask": lambda d, p: [path.unlink() for path in d.iterdir()],
    "missing-mask": lambda d, p: (d / "tumorseg_FeTS.nii.gz").unlink(),
    "unreadable": lambda d, p: truncate(d / "brain_t1.nii.gz"),
    "unreadable ": lambda d, p: damage(d / "brain_flair.nii.gz"),
    "unreadable  ": lambda d, p: (d / "tumorseg_FeTS.nii.gz").write_bytes(b""),
    "unreadable   ": lambda d, p: (d / "brain_t1.nii.gz").write_bytes(gzip.compress(b"no image" * 99)),
    "not-3d": lambda d, p: save(d / "brain_t1.nii.gz", np.stack([p.channels["T1n"]] * 2, -1)),
    "shape-mismatch": lambda d, p: save(d / "brain_t1ce.nii.gz", p.channels["T1c"][:-1]),
    "spacing-mismatch": lambda d, p: save(d / "brain_t2.nii.gz", p.channels["T2w"], moved(scale=1.002)),
    "origin-mismatch": lambda d, p: save(d / "brain_flair.nii.gz", p.channels["FLAIR"], moved(by=0.01)),
    "direction-mismatch": lambda d, p: save(d / "brain_t2.nii.gz", p.channels["T2w"], ROTATED),
    "origin-mismatch ": lambda d, p: save(d / "tumorseg_FeTS.nii.gz", renumber(p.mask, TO_124), moved(by=3)),
    "qform-sform": lambda d, p: save(d / "brain_t1.nii.gz", p.channels["T1n"], sform=moved(by=5), s_code=2),
    "no-affine": lambda d, p: save(d / "brain_t1.nii.gz", p.channels["T1n"], q_code=0, s_code=0),
    "bad-affine": lambda d, p: save(d / "brain_t1.nii.gz", p.channels["T1n"], sform=SHEARED, q_code=0),
    "non-finite": lambda d, p: save(d / "brain_t1.nii.gz", with_nan(p.channels["T1n"])),
    "non-finite ": lambda d, p: save(d / "brain_t1.nii.gz", with_nan(p.channels["T1n"], np.inf)),
    "non-finite  ": lambda d, p: save(d / "tumorseg_FeTS.nii.gz", with_nan(p.mask)),
    "constant-channel": lambda d, p: save(d / "brain_t1.nii.gz", np.full(SHAPE, 7, np.int16)),
    "duplicate-channels": lambda d, p: save(d / "brain_t1.nii.gz", p.channels["T2w"].astype(np.float32)),
    "unknown-labels": lambda d, p: save(d / "tumorseg_FeTS.nii.gz", p.mask),  # holds a 3
    "fractional-labels": lambda d, p: save(d / "tumorseg_FeTS.nii.gz", (p.mask > 0) * np.float32(1.002)),
    "empty-mask": lambda d, p: save(d / "tumorseg_FeTS.nii.gz", np.zeros(SHAPE, np.uint8)),
    "tumour-outside-brain": lambda d, p: save(d / "tumorseg_FeTS.nii.gz", outside_mask(p, 60)),
}


def swap(folder, patient):
    save(folder / "brain_t1.nii.gz", patient.channels["T1c"])
    save(folder / "brain_t1ce.nii.gz", patient.channels["T1n"])


def few(folder, patient):
    mask = np.zeros(SHAPE, np.uint8)
    mask[9, 15, 9:11] = 4
    save(folder / "tumorseg_FeTS.nii.gz", mask)


WARNINGS = {
    "weak-contrast": swap,
    "small-mask": few,
    "tumour-partly-outside-brain": lambda d, p: save(d / "tumorseg_FeTS.nii.gz", outside_mask(p, 8)),
}


@pytest.fixture(scope="module")
def planted(tmp_path_factory, run):
    """The folder with all defects, converted once by the installed command."""
    root = tmp_path_factory.mktemp("planted")
    expected = {}
    for index, (code, plant) in enumerate(
        {"": lambda d, p: None, " ": lambda d, p: None, **ERRORS, **WARNINGS}.items()
    ):
        case = f"BT{index:04d}"
        patient = write_utsw(root / "in", case, index)
        plant(root / "in" / case, patient)
        expected[case] = code.strip()
    done = run("comnet", "convert", "utsw", str(root / "in"), "-d", "501", "--out", str(root / "out"), "--jobs", "2")
    folder = root / "out/Dataset501_UTSWGlioma"
    return root, done, expected, json.loads((folder / "conversion_report.json").read_text())


def test_every_defect_has_its_own_code_and_good_cases_convert(planted):
    root, done, expected, report = planted
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # no progress bar where nobody watches, no traceback
    for row in report["cases"]:
        code = expected[row["case"]]
        if code in {name.strip() for name in ERRORS}:
            assert (row["status"], row["reasons"]) == ("excluded", code), row
        else:
            assert (row["status"], row["reasons"], row["warnings"]) == ("converted", "", code), row
    kept = {path.name for path in (root / "out/Dataset501_UTSWGlioma/labelsTr").iterdir()}
    assert kept == {f"{row['case']}.nii.gz" for row in report["cases"] if row["status"] == "converted"}
    assert len(list((root / "out/Dataset501_UTSWGlioma/imagesTr").iterdir())) == 4 * len(kept)


def test_summary_counts_reasons_and_names_cases(planted):
    root, done, _, report = planted
    assert f"converted 5 of {len(ERRORS) + 5} cases" in done.stdout
    assert f"excluded {len(ERRORS)}:" in done.stdout
    assert "4 unreadable: BT0005, BT0006, BT0007, BT0008" in done.stdout
    assert "1 weak-contrast: BT00" in done.stdout
    assert "nnUNetv2_extract_fingerprint -d 501" in done.stdout
    assert str(root / "out/Dataset501_UTSWGlioma/conversion_report.csv") in done.stdout
    assert (report["converted"], report["excluded"]) == (5, len(ERRORS))


def test_every_finding_names_its_file_or_channel(planted):
    for row in planted[3]["cases"]:
        for finding in row["findings"]:
            assert any(word in finding["text"] for word in ("brain_", "tumorseg", "T1c", "T2w")), finding


def test_keep_empty(tmp_path, comnet):
    write_utsw(tmp_path / "in", "BT0001", fets=np.zeros(SHAPE, np.uint8))
    assert comnet("utsw", tmp_path / "in", "--out", tmp_path).code == 1
    done = comnet("utsw", tmp_path / "in", "--out", tmp_path, "--keep-empty")
    assert done.code == 0
    assert "1 empty-mask: BT0001" in done.out


def test_tolerance_is_an_option(tmp_path, comnet):
    patient = write_utsw(tmp_path / "in", "BT0001")
    save(tmp_path / "in/BT0001/brain_t2.nii.gz", patient.channels["T2w"], moved(by=0.01))
    assert comnet("utsw", tmp_path / "in", "--out", tmp_path).code == 1
    assert comnet("utsw", tmp_path / "in", "--out", tmp_path, "--tolerance", "0.02").code == 0


@pytest.mark.parametrize("noise", [2e-7, 9e-4])
def test_labels_near_an_integer_are_rounded(tmp_path, comnet, noise):
    patient = make_patient()
    signs = np.where(np.indices(SHAPE).sum(0) % 2, noise, -noise)
    float_mask = (renumber(patient.mask, TO_124) + signs * (patient.mask > 0)).astype(np.float32)
    write_utsw(tmp_path / "in", "BT0001", fets=float_mask)
    assert comnet("utsw", tmp_path / "in", "--out", tmp_path).code == 0
    labels = load(tmp_path / "Dataset501_UTSWGlioma/labelsTr/BT0001.nii.gz")
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, patient.mask)


def test_a_finding_is_one_line_whatever_a_folder_is_called() -> None:
    assert error("missing-modality", "no file p\n1/t1.nii").text == "no file p\\n1/t1.nii"


def test_strict_fails_but_writes(planted, comnet):
    root = planted[0]
    done = comnet("utsw", root / "in", "--out", root / "out", "--strict")
    assert done.code == 1
    assert "converted 5 of" in done.out
    assert "5 unchanged" in done.out
    assert "--strict" in done.err


def test_nothing_converted_is_a_failure_with_a_report(tmp_path, comnet):
    write_utsw(tmp_path / "in", "BT0001", fets=None)
    done = comnet("utsw", tmp_path / "in", "--out", tmp_path)
    assert done.code == 1
    assert done.err.startswith("comnet: error: ")
    folder = tmp_path / "Dataset501_UTSWGlioma"
    assert "missing-mask" in (folder / "conversion_report.csv").read_text()
    assert not (folder / "dataset.json").exists()
