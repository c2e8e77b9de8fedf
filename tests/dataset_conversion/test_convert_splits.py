"""Folds by patient, seeded and balanced, by a column of the metadata where asked; the table joined into the report."""

import csv
import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_patients import make_patient, save, write_utsw

from nnunetv2_comnet.dataset_conversion.splits import make_splits

FOLDER = "Dataset501_UTSWGlioma"
TABLE = "\ufeffSubject ID\tIDH\tAge at Imaging\tNote\r\n"


@settings(max_examples=60, deadline=None)
@given(
    visits=st.lists(st.integers(1, 4), min_size=1, max_size=40),
    folds=st.integers(2, 6),
    seed=st.integers(0, 2**31),
    kinds=st.integers(1, 3),
)
def test_folds_are_a_partition_by_patient(visits, folds, seed, kinds):
    patients = {f"P{index:02d}_{visit}": f"P{index:02d}" for index, many in enumerate(visits) for visit in range(many)}
    categories = {patient: f"kind {int(patient[1:]) % kinds}" for patient in patients.values()}
    splits = make_splits(patients, folds, seed, categories)
    assert splits == make_splits(dict(reversed(patients.items())), folds, seed, categories)
    if len(visits) < folds:
        assert splits == []
        return
    assert sorted(case for split in splits for case in split["val"]) == sorted(patients)
    for split in splits:
        assert sorted(split["train"] + split["val"]) == sorted(patients)
        assert split["train"] == sorted(split["train"])
        assert not {patients[case] for case in split["train"]} & {patients[case] for case in split["val"]}
    for kind in set(categories.values()):
        sizes = [len({patients[c] for c in split["val"] if categories[patients[c]] == kind}) for split in splits]
        assert max(sizes) - min(sizes) <= 1
    sizes = [len({patients[case] for case in split["val"]}) for split in splits]
    assert max(sizes) - min(sizes) <= 1


def test_time_points_share_a_fold(tmp_path, comnet):
    for index in range(12):
        case, patient = f"BraTS-GLI-{index // 2:05d}-{index % 2:03d}", make_patient(index)
        for channel, name in zip(patient.channels, ("t1n", "t1c", "t2w", "t2f"), strict=True):
            save(tmp_path / f"in/{case}/{case}-{name}.nii.gz", patient.channels[channel])
        save(tmp_path / f"in/{case}/{case}-seg.nii.gz", patient.mask)
    assert comnet("brats2023", tmp_path / "in", "--out", tmp_path).code == 0
    folder = tmp_path / "Dataset501_BraTS2023"
    splits = json.loads((folder / "splits_final.json").read_text())
    assert len(splits) == 5
    for split in splits:
        assert all(count == 2 for count in Counter(case[:15] for case in split["val"]).values())
    first = (folder / "splits_final.json").read_text()
    assert comnet("brats2023", tmp_path / "in", "--out", tmp_path, "--split-seed", "1", "--folds", "3").code == 0
    assert len(json.loads((folder / "splits_final.json").read_text())) == 3
    assert comnet("brats2023", tmp_path / "in", "--out", tmp_path).code == 0
    assert (folder / "splits_final.json").read_text() == first


@pytest.fixture
def source(tmp_path):
    """Six patients, one of them not in the table, beside the table as it is downloaded."""
    for index in range(6):
        write_utsw(tmp_path / "in", f"BT000{index}", index)
    lines = [f'BT000{index}\t{"mutated" if index < 2 else "wild type"}\t6{index}\t"a, b"\r\n' for index in range(5)]
    (tmp_path / "UTSW_Glioma_Metadata-2-1.tsv").write_bytes((TABLE + "".join(lines)).encode())
    return tmp_path / "in"


def test_metadata_is_found_and_joined(tmp_path, source, comnet):
    done = comnet("utsw", source, "--out", tmp_path)
    assert "1 no-metadata: BT0005" in done.out
    with open(tmp_path / FOLDER / "conversion_report.csv", newline="", encoding="utf-8") as stream:
        rows = {row["case"]: row for row in csv.DictReader(stream)}
    assert rows["BT0001"]["metadata: IDH"] == "mutated"
    assert rows["BT0003"]["metadata: Note"] == "a, b"
    assert rows["BT0005"]["metadata: IDH"] == ""
    assert {row["fold"] for row in rows.values()} == set("01234")


def test_stratified_folds_share_out_a_category(tmp_path, source, comnet):
    assert comnet("utsw", source, "--out", tmp_path, "--stratify", "IDH", "--folds", "2").code == 0
    for split in json.loads((tmp_path / FOLDER / "splits_final.json").read_text()):
        assert len({"BT0000", "BT0001"} & set(split["val"])) == 1
        assert len({"BT0002", "BT0003", "BT0004"} & set(split["val"])) in (1, 2)


@pytest.mark.parametrize(
    ("words", "needle"),
    [
        (["--metadata-key", "Patient"], "Subject ID, IDH"),
        (["--metadata", "empty.csv"], "empty.csv"),
    ],
)
def test_metadata_mistakes_are_one_line(tmp_path, source, comnet, monkeypatch, words, needle):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.csv").write_text("")
    done = comnet("utsw", source, "--out", tmp_path / "out", *words)
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert needle in done.err
    assert not (tmp_path / "out").exists()


def test_comma_separated_with_a_key_of_ones_own(tmp_path, source, comnet):
    (tmp_path / "own.csv").write_text("who,IDH\nBT0001,x\n")
    done = comnet("utsw", source, "--out", tmp_path, "--metadata", tmp_path / "own.csv", "--metadata-key", "who")
    assert "5 no-metadata" in done.out
    report = json.loads((tmp_path / FOLDER / "conversion_report.json").read_text())
    assert report["cases"][1]["metadata: IDH"] == "x"
