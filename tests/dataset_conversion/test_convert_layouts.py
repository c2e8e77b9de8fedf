"""Each dataset's own file names, in a folder made here, end to end: every voxel of every channel and label arrives."""

import json

import numpy as np
import pytest
from tiny_patients import CHANNELS, TO_124, load, make_patient, renumber, save, write_utsw

SAME = {1: 1, 2: 2, 3: 3}
MSD = {1: 2, 2: 1, 3: 3}  # NCR is 2, ED is 1
PED = {1: 2, 2: 4, 3: 1}  # NCR (non-enhancing) is 2, ED is 4, ET is 1
OLD = ("{0}/{0}_t1", "{0}/{0}_t1ce", "{0}/{0}_t2", "{0}/{0}_flair", "{0}/{0}_seg")
NEW = ("{0}/{0}-t1n", "{0}/{0}-t1c", "{0}/{0}-t2w", "{0}/{0}-t2f", "{0}/{0}-seg")
UTSW = ("{0}/brain_t1", "{0}/brain_t1ce", "{0}/brain_t2", "{0}/brain_flair", "{0}/tumorseg_FeTS")
UCSF = tuple("{0}_nifti/{0}_" + name for name in ("T1", "T1c", "T2", "FLAIR", "tumor_segmentation"))
UPENN = (
    *("images_structural/{0}/{0}_" + name for name in ("T1", "T1GD", "T2", "FLAIR")),
    "images_segm/{0}_segm",
)
# layout, folders above, a case, its patient, files of T1n, T1c, T2w, FLAIR and mask, the source's numbers, ending
DATASETS = [
    ("utsw", "PKG - UTSW-Glioma/UTSW-Glioma", "BT0001", "BT0001", UTSW, TO_124, ".nii.gz"),
    ("brats2018", "MICCAI_BraTS_2018/HGG", "Brats18_TCIA01_131_1", "Brats18_TCIA01_131_1", OLD, TO_124, ".nii.gz"),
    ("brats2019", "LGG", "BraTS19_2013_0_1", "BraTS19_2013_0_1", OLD, TO_124, ".nii"),
    ("brats2020", "MICCAI", "BraTS20_Training_001", "BraTS20_Training_001", OLD, TO_124, ".nii"),
    ("brats2021", ".", "BraTS2021_00006", "BraTS2021_00006", OLD, TO_124, ".nii.gz"),
    ("brats2023", "GLI", "BraTS-GLI-00003-001", "BraTS-GLI-00003", NEW, SAME, ".nii.gz"),
    ("brats2023", "MEN", "BraTS-MEN-00004-000", "BraTS-MEN-00004", NEW, SAME, ".nii.gz"),
    ("brats2023", "MET", "BraTS-MET-00005-000", "BraTS-MET-00005", NEW, SAME, ".nii.gz"),
    ("brats2023", "SSA", "BraTS-SSA-00005-000", "BraTS-SSA-00005", NEW, SAME, ".nii.gz"),
    ("brats2024-gli", "training_data1_v2", "BraTS-GLI-00005-100", "BraTS-GLI-00005", NEW, {**SAME, 4: 4}, ".nii.gz"),
    ("brats2024-met", ".", "BraTS-MET-00007-000", "BraTS-MET-00007", NEW, {**SAME, 4: 4}, ".nii.gz"),
    ("brats2024-ped", ".", "BraTS-PED-00255-000", "BraTS-PED-00255", NEW, {**PED, 4: 3}, ".nii.gz"),
    ("brats-goat", "GoAT", "BraTS-GoAT-00000", "BraTS-GoAT-00000", NEW, SAME, ".nii.gz"),
    ("brats-africa", "BraTS-Africa/95_Glioma", "BraTS-SSA-00008-000", "BraTS-SSA-00008", NEW, SAME, ".nii.gz"),
    ("ucsf-pdgm", "UCSF-PDGM-v5", "UCSF-PDGM-0429_FU003d", "UCSF-PDGM-0429", UCSF, TO_124, ".nii.gz"),
    ("upenn-gbm", "NIfTI-files", "UPENN-GBM-00001_11", "UPENN-GBM-00001", UPENN, TO_124, ".nii.gz"),
]


def write(root, case, files, numbers, ending=".nii.gz", patient=None):
    patient = patient or make_patient()
    if 4 in numbers:
        patient.mask[8:10, 14:16, 10] = 4
    for channel, name in zip(CHANNELS, files, strict=False):
        save(root / (name.format(case) + ending), patient.channels[channel])
    if len(files) > len(CHANNELS):
        save(root / (files[4].format(case) + ending), renumber(patient.mask, numbers))
    return patient


def rows(folder):
    return {row["case"]: row for row in json.loads((folder / "conversion_report.json").read_text())["cases"]}


@pytest.mark.parametrize(("layout", "above", "case", "patient_id", "files", "numbers", "ending"), DATASETS)
def test_every_layout_end_to_end(tmp_path, comnet, layout, above, case, patient_id, files, numbers, ending):
    patient = write(tmp_path / "in put" / above, case, files, numbers, ending)
    done = comnet(layout, tmp_path / "in put", "--out", tmp_path / "out", "--name", "Any")
    assert done.code == 0, done
    folder = tmp_path / "out/Dataset501_Any"
    for index, channel in enumerate(CHANNELS):
        written = load(folder / f"imagesTr/{case}_{index:04d}.nii.gz")
        assert written.dtype == np.int16
        np.testing.assert_array_equal(written, patient.channels[channel])
    labels = load(folder / f"labelsTr/{case}.nii.gz")
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, patient.mask)
    assert rows(folder)[case]["patient"] == patient_id
    described = json.loads((folder / "dataset.json").read_text())
    assert described["channel_names"] == {"0": "T1n", "1": "T1c", "2": "T2w", "3": "FLAIR"}
    assert list(described["labels"])[:3] == ["background", "whole tumor", "tumor core"]
    assert described["overwrite_image_reader_writer"] == "SimpleITKIOWithReorient"
    assert described["numTraining"] == 1


def test_decathlon_stacks_are_split_into_our_order(tmp_path, comnet):
    patient = make_patient()
    stack = np.stack([patient.channels[name] for name in ("FLAIR", "T1n", "T1c", "T2w")], -1)
    save(tmp_path / "Task01/imagesTr/BRATS_001.nii.gz", stack)
    save(tmp_path / "Task01/imagesTr/._BRATS_001.nii.gz", stack)  # what macOS leaves in archives
    save(tmp_path / "Task01/labelsTr/BRATS_001.nii.gz", renumber(patient.mask, MSD))
    assert comnet("msd-task01", tmp_path, "--out", tmp_path).code == 0  # the output below the source is not scanned
    assert comnet("msd-task01", tmp_path, "--out", tmp_path).code == 0
    folder = tmp_path / "Dataset501_MSDBrainTumour"
    for index, channel in enumerate(CHANNELS):
        np.testing.assert_array_equal(
            load(folder / f"imagesTr/BRATS_001_{index:04d}.nii.gz"), patient.channels[channel]
        )
    np.testing.assert_array_equal(load(folder / "labelsTr/BRATS_001.nii.gz"), patient.mask)


def test_brats2020_case_355_keeps_its_odd_mask(tmp_path, comnet):
    case = "BraTS20_Training_355"
    patient = write(tmp_path, case, OLD[:4], TO_124, ".nii")
    save(tmp_path / case / "W39_1998.09.19_Segm.nii", renumber(patient.mask, TO_124))
    assert comnet("brats2020", tmp_path, "--out", tmp_path / "out").code == 0
    row = rows(tmp_path / "out/Dataset501_BraTS2020")[case]
    assert (row["status"], row["mask_file"]) == ("converted", "W39_1998.09.19_Segm.nii")


def test_upenn_manual_before_automated_and_follow_ups_refused(tmp_path, comnet):
    first = write(tmp_path, "UPENN-GBM-00001_11", UPENN, TO_124)
    automated = "automated_segm/{}_automated_approx_segm.nii.gz"
    save(tmp_path / automated.format("UPENN-GBM-00001_11"), np.ones_like(first.mask))
    second = write(tmp_path, "UPENN-GBM-00002_11", UPENN[:4], TO_124)
    save(tmp_path / automated.format("UPENN-GBM-00002_11"), renumber(second.mask, TO_124))
    write(tmp_path, "UPENN-GBM-00001_21", UPENN[:4], TO_124)
    other_tree = "images_structural_unstripped/UPENN-GBM-00001_11/UPENN-GBM-00001_11_T1_unstripped.nii.gz"
    save(tmp_path / other_tree, first.mask)
    done = comnet("upenn-gbm", tmp_path, "--out", tmp_path / "out")
    assert "missing-mask: UPENN-GBM-00001_21" in done.out
    found = rows(tmp_path / "out/Dataset501_UPENNGBM")
    assert [found[case]["mask_source"] for case in sorted(found)] == ["manual", "", "automated"]


def test_ucsf_prefers_the_uncorrected_image(tmp_path, comnet):
    patient = write(tmp_path, "UCSF-PDGM-0004", UCSF, TO_124)
    for name in ("T1", "T2"):
        save(tmp_path / f"UCSF-PDGM-0004_nifti/UCSF-PDGM-0004_{name}_bias.nii.gz", patient.channels["T1n"] + 7)
    (tmp_path / "UCSF-PDGM-0004_nifti/UCSF-PDGM-0004_T2.nii.gz").unlink()
    assert comnet("ucsf-pdgm", tmp_path, "--out", tmp_path / "out").code == 0
    images = tmp_path / "out/Dataset501_UCSFPDGM/imagesTr"
    np.testing.assert_array_equal(load(images / "UCSF-PDGM-0004_0000.nii.gz"), patient.channels["T1n"])
    np.testing.assert_array_equal(load(images / "UCSF-PDGM-0004_0002.nii.gz"), patient.channels["T1n"] + 7)


def test_utsw_variant(tmp_path, comnet):
    patient = write_utsw(tmp_path / "in", "BT0001")
    ants = {"T1n": "t1_ants", "T1c": "t1ce_ants", "T2w": "t2_ants", "FLAIR": "fl_ants"}
    for channel, name in ants.items():
        save(tmp_path / f"in/BT0001/brain_{name}.nii.gz", patient.channels[channel] + np.int16(5))
    assert comnet("utsw", tmp_path / "in", "--out", tmp_path, "--variant", "ants").code == 0
    image = load(tmp_path / "Dataset501_UTSWGlioma/imagesTr/BT0001_0003.nii.gz")
    np.testing.assert_array_equal(image, patient.channels["FLAIR"] + 5)


def test_source_may_be_linked_deep_or_circular(tmp_path, comnet):
    write_utsw(tmp_path / "elsewhere", "BT0001")
    deep = tmp_path / "in/a 'quoted' folder/ünïcode/-dash"
    deep.mkdir(parents=True)
    (deep / "BT0001").symlink_to(tmp_path / "elsewhere/BT0001")
    (deep / "round").symlink_to(tmp_path / "in")
    done = comnet("utsw", tmp_path / "in", "--out", tmp_path / "out", "--name", "X")
    assert done.code == 0, done


def test_one_case_in_two_places_names_both(tmp_path, comnet):
    for place in ("first", "second"):
        write_utsw(tmp_path / "in" / place, "BT0001")
    write_utsw(tmp_path / "in", "BT0002")
    assert comnet("utsw", tmp_path / "in", "--out", tmp_path).code == 0
    row = rows(tmp_path / "Dataset501_UTSWGlioma")["BT0001"]
    assert row["reasons"] == "duplicate-case"
    assert "in/first/BT0001" in row["details"]
    assert "in/second/BT0001" in row["details"]


def test_two_endings_of_one_file_are_ambiguous(tmp_path, comnet):
    write_utsw(tmp_path / "in", "BT0001")
    write_utsw(tmp_path / "in", "BT0001", ending=".nii")
    done = comnet("utsw", tmp_path / "in", "--out", tmp_path)
    assert done.code == 1
    assert "ambiguous-file: BT0001" in done.out


@pytest.mark.parametrize(
    ("words", "needles"),
    [
        (["brats2021", ".", "--label-policy", "manual-only"], ["--label-policy", "brats2021"]),
        (["utsw", ".", "--label-map", "3:9"], ["3:9", "[0, 1, 2, 3]"]),
        (["utsw", ".", "-d", "1000"], ["1000", "1 to 999"]),
        (["utsw", ".", "--stratify", "IDH"], ["--stratify 'IDH'", "--metadata"]),
        (["custom", "."], ["--layout-file", "--example"]),
        (["utsw", ".", "--layout-file", "x.yaml"], ["--layout-file", "custom"]),
    ],
)
def test_mistakes_get_one_line_and_leave_nothing(tmp_path, monkeypatch, comnet, words, needles):
    monkeypatch.chdir(tmp_path)
    done = comnet(*words, "--out", tmp_path / "out")
    assert done.code != 0
    assert done.err.startswith("comnet: error: ")
    assert done.err.count("\n") == 1
    assert all(needle in done.err for needle in needles), done.err
    assert list(tmp_path.iterdir()) == []


def test_list_and_example(comnet):
    assert "manual-else-fets" in comnet("--list").out
    assert comnet("--example").out.startswith("# A layout of your own")
