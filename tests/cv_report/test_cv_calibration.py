"""Reliability of the probabilities that a validation kept: by hand, in the reader's orientation, or not at all."""

import json

import numpy as np
import pytest
from cv_setup import MEDNEXT, PLANS, Setup, mask

from nnunetv2_comnet.cv_report.calibration import Calibration, ece_of, held_out_calibration
from nnunetv2_comnet.cv_report.dataset import open_dataset
from nnunetv2_comnet.cv_report.held_out import find_held_out, read_cross_validation
from nnunetv2_comnet.cv_report.models import TrainedModel, parse_model

SURE, UNSURE = 0.75, 0.25  # what the made-up model says inside and outside of its masks


def probabilities(labels: np.ndarray) -> np.ndarray:
    return np.stack([np.where(np.isin(labels, part), SURE, UNSURE) for part in ((1, 2, 3), (1, 3), (3,))])


def calibrate(setup: Setup) -> Calibration:
    trained = TrainedModel(parse_model(MEDNEXT, PLANS, "3d_fullres"), setup.folder(MEDNEXT))
    held_out = find_held_out(trained, read_cross_validation(setup.preprocessed))
    return held_out_calibration(held_out, open_dataset(setup.preprocessed, None))


def keep_probabilities(setup: Setup, *, flipped: bool = True) -> None:
    """As nnU-Net's SimpleITKIOWithReorient has them: on axes to the right, front and top (an LPS image flipped)."""
    for fold, cases in enumerate(("AB", "CD")):
        for case in cases:
            maps = probabilities(mask())
            maps = maps[:, :, ::-1, ::-1] if flipped else maps
            path = setup.folder(MEDNEXT) / f"fold_{fold}" / "validation" / f"{case}.npz"
            np.savez_compressed(path, probabilities=maps.astype(np.float32))


def test_without_probabilities_there_is_no_table(setup: Setup) -> None:
    setup.add(MEDNEXT)
    assert calibrate(setup) == Calibration(None, 0)


def test_the_table_by_hand_on_the_readers_axes(setup: Setup) -> None:
    setup.add(MEDNEXT)
    keep_probabilities(setup)
    found = calibrate(setup)
    assert (found.cases, found.notes) == (4, ())
    assert found.table is not None
    bins = found.table["regions"]["ET"]["tumour"]
    # The masks are right: of 4 cases' 10 voxels each at 0.75 all are in the region, of those at 0.25 none is.
    assert bins["voxels"][7] == 40
    assert (bins["probability"][7], bins["observed"][7]) == (pytest.approx(0.75), 1)
    assert (bins["probability"][2], bins["observed"][2]) == (pytest.approx(0.25), 0)
    assert sum(bins["voxels"]) == bins["voxels"][2] + 40
    # Every voxel is off by a quarter.
    assert ece_of(bins) == pytest.approx(0.25)


def test_an_image_on_other_axes_is_turned(tmp_path) -> None:
    setup = Setup(tmp_path, direction="RAS")  # already as the reader wants it: nothing to flip
    setup.add(MEDNEXT)
    keep_probabilities(setup, flipped=False)
    found = calibrate(setup)
    assert found.cases == 4
    assert found.table is not None
    assert ece_of(found.table["regions"]["WT"]["tumour"]) == pytest.approx(0.25)


def test_probabilities_of_another_mask_are_not_used(setup: Setup) -> None:
    setup.add(MEDNEXT)
    keep_probabilities(setup)
    keep_wrong = setup.folder(MEDNEXT) / "fold_1" / "validation"
    np.savez_compressed(keep_wrong / "C.npz", probabilities=probabilities(mask()))  # not turned
    np.savez_compressed(keep_wrong / "D.npz", probabilities=probabilities(mask())[:, :2])
    (keep_wrong.parents[1] / "fold_0" / "validation" / "A.npz").write_bytes(b"PK")
    found = calibrate(setup)
    assert found.cases == 1
    said = " ".join(found.notes)
    for words in (
        "C.npz is not of the mask beside it",
        "D.npz holds probabilities of shape",
        "A.npz holds no probabilities",
        "over 1 of 4",
    ):
        assert words in said, words


def test_an_unknown_reader_is_said(setup: Setup) -> None:
    folder = setup.add(MEDNEXT)
    keep_probabilities(setup)
    (folder / "plans.json").write_text(json.dumps({"image_reader_writer": "Tiff3DIO"}))
    found = calibrate(setup)
    assert found.table is None
    assert "axes of reader Tiff3DIO are not known" in found.notes[0]


def test_ece_skips_empty_bins() -> None:
    # 30 voxels off by 0.1, 10 off by 0.3: (3 + 3) / 40.
    bins = {"voxels": [30.0, 0.0, 10.0], "probability": [0.1, None, 0.9], "observed": [0.0, None, 0.6]}
    assert ece_of(bins) == pytest.approx(0.15)
    assert np.isnan(ece_of({"voxels": [0.0], "probability": [None], "observed": [None]}))
