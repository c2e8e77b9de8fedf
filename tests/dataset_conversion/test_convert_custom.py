"""Layouts from YAML: the printed example works, and every mistake in a file is one line that names the key."""

import numpy as np
import pytest
import yaml
from tiny_patients import TO_124, load, make_patient, renumber, save

FLAT = {
    "name": "flat",
    "case": "[^/]+?",
    "channels": {name: f"images/{{case}}_{name}.nii[.gz]" for name in ("T1n", "T1c", "T2w", "FLAIR")},
    "masks": [{"kind": "seg", "files": "masks/{case}.nii.gz"}],
    "labels": "brats-1-2-3",
}


def write_hospital(root, case, t1c="t1ce", mask="seg"):
    patient = make_patient()
    for channel, name in zip(patient.channels, ("t1", t1c, "t2", "flair"), strict=True):
        save(root / f"{case}/{case}_{name}.nii.gz", patient.channels[channel])
    save(root / f"{case}/{case}_{mask}.nii.gz", renumber(patient.mask, TO_124))
    return patient


def write_flat(root, case):
    patient = make_patient()
    for channel, data in patient.channels.items():
        save(root / f"images/{case}_{channel}.nii.gz", data)
    save(root / f"masks/{case}.nii.gz", patient.mask)


@pytest.mark.parametrize("by_name", [True, False])
def test_the_printed_example(tmp_path, comnet, by_name):
    (tmp_path / "mine.yaml").write_text(comnet("--example").out)
    patient = write_hospital(tmp_path / "in", "P001_20240131")
    write_hospital(tmp_path / "in", "P001_20240630", t1c="t1gd", mask="seg_manual")
    words = ["custom", tmp_path / "in", "--layout-file", tmp_path / "mine.yaml"]
    done = comnet(*(words if by_name else [tmp_path / "mine.yaml", tmp_path / "in"]), "--out", tmp_path)
    assert done.code == 0, done
    assert "masks: 1 automatic, 1 manual" in done.out
    labels = load(tmp_path / "Dataset501_MyHospital/labelsTr/P001_20240131.nii.gz")
    np.testing.assert_array_equal(labels, patient.mask)
    assert "P001_20240131,P001,converted" in (tmp_path / "Dataset501_MyHospital/conversion_report.csv").read_text()


def test_flat_folders_and_names_unfit_for_nnunet(tmp_path, comnet):
    for case in ("A1", "Ünal-2", "with space", "-dash"):
        write_flat(tmp_path / "in", case)
    (tmp_path / "flat.yaml").write_text(yaml.safe_dump(FLAT))
    done = comnet("custom", tmp_path / "in", "--layout-file", tmp_path / "flat.yaml", "--out", tmp_path)
    assert done.code == 0
    assert "2 bad-case-name: -dash, with space" in done.out
    names = {path.name for path in (tmp_path / "Dataset501_Custom/labelsTr").iterdir()}
    assert names == {"A1.nii.gz", "Ünal-2.nii.gz"}


def test_cavity_as_own_numbers(tmp_path, comnet):
    content = {**FLAT, "labels": {10: "NCR", 20: "ED", 30: "ET", 40: "RC", 50: "background"}}
    (tmp_path / "flat.yaml").write_text(yaml.safe_dump(content))
    write_flat(tmp_path / "in", "A1")
    mask = make_patient().mask * np.uint8(10)
    mask[8, 15, 10], mask[9, 15, 10] = 40, 50
    save(tmp_path / "in/masks/A1.nii.gz", mask)
    assert comnet("custom", tmp_path / "in", "--layout-file", tmp_path / "flat.yaml", "--out", tmp_path).code == 0
    labels = load(tmp_path / "Dataset501_Custom/labelsTr/A1.nii.gz")
    assert (labels[8, 15, 10], labels[9, 15, 10], labels.max()) == (4, 0, 4)
    assert '"resection cavity"' in (tmp_path / "Dataset501_Custom/dataset.json").read_text()


@pytest.mark.parametrize(
    ("change", "needle"),
    [
        ({"channels": {"T1n": "{case}/a"}}, "T1c, T2w, FLAIR"),
        ({"channels": {"T1": "{case}/a"}}, "channels.T1"),
        ({"labels": "brats"}, "brats-1-2-4"),
        ({"labels": {1: "NECROSIS"}}, "labels"),
        ({"labels": {0: "NCR"}}, "labels"),
        ({"labels": {1: "RC", 2: "CC"}}, "RC"),
        ({"masks": [{"kind": "seg", "files": "seg.nii.gz"}]}, "seg.nii.gz"),
        ({"stacked": ["T1n"]}, "stacked"),
        ({"label_policies": {"best": ["gold"]}}, "best"),
    ],
)
def test_mistakes_in_the_file_name_the_key(tmp_path, comnet, change, needle):
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump({**FLAT, **change}))
    done = comnet("custom", tmp_path, "--layout-file", tmp_path / "bad.yaml", "--out", tmp_path / "out")
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert needle in done.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["", None, "\x00"])
def test_a_file_that_is_no_layout(tmp_path, comnet, text):
    if text is not None:
        (tmp_path / "bad.yaml").write_text(text)
    done = comnet("custom", tmp_path, "--layout-file", tmp_path / "bad.yaml", "--out", tmp_path / "out")
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "bad.yaml" in done.err
