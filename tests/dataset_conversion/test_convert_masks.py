"""Which mask wins: the three traps of the UTSW masks, the policies, and the user's own label map."""

import json

import numpy as np
import pytest
from tiny_patients import BRATS_AFFINE, TO_124, load, make_patient, renumber, save, write_utsw

FOLDER = "Dataset501_UTSWGlioma"


def manual_mask(extra=()):
    """The manual mask differs from the automatic one: its necrosis is called oedema. `extra` are odd labels."""
    mask = renumber(make_patient().mask, {1: 2, 2: 2, 3: 4})
    for index, label in enumerate(extra):
        mask[7 + index, 15, 10] = label
    return mask


@pytest.fixture
def source(tmp_path):
    """BT0001 registered; BT0002 registered with 3 and 5; BT0003 manual on the grid; BT0004 manual on another grid;
    BT0005 FeTS alone."""
    root = tmp_path / "in"
    write_utsw(root, "BT0001", registered=manual_mask(), manual=manual_mask())
    write_utsw(root, "BT0002", registered=manual_mask((3, 5)))
    write_utsw(root, "BT0003", manual=manual_mask())
    write_utsw(root, "BT0004", manual=manual_mask()[2:-2])
    write_utsw(root, "BT0005")
    return root


def rows(tmp_path):
    content = json.loads((tmp_path / "out" / FOLDER / "conversion_report.json").read_text())
    return {row["case"]: row for row in content["cases"]}, content


def test_default_policy_and_its_record(tmp_path, source, comnet):
    done = comnet("utsw", source, "--out", tmp_path / "out")
    assert done.code == 0
    found, report = rows(tmp_path)
    sources = [found[f"BT000{index}"]["mask_source"] for index in range(1, 6)]
    assert sources == ["manual-registered", "fets", "manual", "fets", "fets"]
    assert found["BT0002"]["warnings"] == "undocumented-labels"
    assert "3 (1 voxels), 5 (1 voxels)" in found["BT0002"]["details"]
    assert found["BT0004"]["warnings"] == "mask-other-grid"
    assert report["options"]["label_policy"] == "manual-else-fets"
    assert "masks: 3 fets, 1 manual, 1 manual-registered" in done.out
    labels = tmp_path / "out" / FOLDER / "labelsTr"
    np.testing.assert_array_equal(load(labels / "BT0002.nii.gz"), make_patient().mask)
    np.testing.assert_array_equal(load(labels / "BT0003.nii.gz"), renumber(manual_mask(), {2: 2, 4: 3}))


def test_manual_only_and_fets_only(tmp_path, source, comnet):
    assert comnet("utsw", source, "--out", tmp_path / "out", "--label-policy", "manual-only").code == 0
    found, _ = rows(tmp_path)
    reasons = [found[f"BT000{index}"]["reasons"] for index in range(1, 6)]
    assert reasons == ["", "unknown-labels", "", "shape-mismatch", "missing-mask"]
    assert sorted(path.name for path in (tmp_path / "out" / FOLDER / "labelsTr").iterdir()) == [
        "BT0001.nii.gz",
        "BT0003.nii.gz",
    ]
    assert comnet("utsw", source, "--out", tmp_path / "out", "--label-policy", "fets-only").code == 0
    found, _ = rows(tmp_path)
    assert {row["mask_source"] for row in found.values()} == {"fets"}
    np.testing.assert_array_equal(load(tmp_path / "out" / FOLDER / "labelsTr/BT0001.nii.gz"), make_patient().mask)


def test_label_map_is_the_users_decision_and_recorded(tmp_path, source, comnet):
    assert comnet("utsw", source, "--out", tmp_path / "out", "--label-map", "3:1,5:0").code == 0
    found, report = rows(tmp_path)
    assert (found["BT0002"]["mask_source"], found["BT0002"]["label_map"]) == ("manual-registered", "3:1,5:0")
    assert found["BT0001"]["label_map"] == ""
    assert report["options"]["label_map"] == {"3": 1, "5": 0}
    written = load(tmp_path / "out" / FOLDER / "labelsTr/BT0002.nii.gz")
    assert (written[7, 15, 10], written[8, 15, 10]) == (1, 0)
    # half a map leaves label 5 unexplained: still the FeTS mask
    assert comnet("utsw", source, "--out", tmp_path / "out", "--label-map", "3:1").code == 0
    assert rows(tmp_path)[0]["BT0002"]["mask_source"] == "fets"


def test_mask_on_another_grid_of_the_same_shape_is_not_used(tmp_path, comnet):
    patient = write_utsw(tmp_path / "in", "BT0001")
    affine = BRATS_AFFINE.copy()
    affine[0, 3] = 20
    mask = renumber(patient.mask, TO_124)
    save(tmp_path / "in/BT0001/tumorseg_manual_correction.nii.gz", mask, affine)
    assert comnet("utsw", tmp_path / "in", "--out", tmp_path / "out").code == 0
    assert rows(tmp_path)[0]["BT0001"]["mask_source"] == "fets"
