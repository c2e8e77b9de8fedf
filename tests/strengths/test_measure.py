"""comnet calibrate on held-out cases of the small dataset: its numbers are those of prediction, its file is guarded."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK

from nnunetv2_comnet.errors import DataError
from nnunetv2_comnet.evaluation.dice import dice
from nnunetv2_comnet.inference.options import Options
from nnunetv2_comnet.inference.predictor import CoMNeTPredictor
from nnunetv2_comnet.plans import PLANS_NAME
from nnunetv2_comnet.strengths import measure

pytestmark = pytest.mark.chain  # trains or predicts with every fold


@pytest.fixture
def results(refined_model: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of the model under nnU-Net's results, whose strengths are to be chosen."""
    folder = tmp_path / refined_model.parent.name / refined_model.name
    shutil.copytree(refined_model, folder)
    before = os.environ["nnUNet_results"]
    os.environ["nnUNet_results"] = str(tmp_path)
    yield folder
    os.environ["nnUNet_results"] = before


def cases_of(blobs: Path) -> list[tuple[int, str]]:
    splits = json.loads((blobs / "splits_final.json").read_text())
    return [(fold, case) for fold in (0, 1) for case in sorted(splits[fold]["val"])]


def write_splits(blobs: Path) -> None:
    """As nnU-Net would at the first training."""
    cases = [f"BLOB{n:03d}" for n in range(6)]
    held_out = [cases[0:2], cases[2:3], cases[3:4], cases[4:5], cases[5:6]]
    if not (blobs / "splits_final.json").exists():
        splits = [{"train": [c for c in cases if c not in val], "val": val} for val in held_out]
        (blobs / "splits_final.json").write_text(json.dumps(splits))


def test_the_command_stores_strengths_that_prediction_uses(blobs: Path, results: Path, comnet: Any) -> None:
    write_splits(blobs)
    code, said, errors = comnet("calibrate", "-d", "501", "--steps", "2", "--disable_tta", "-device", "cpu")
    assert code == 0, errors
    for region in ("WT", "TC", "ET"):
        assert f"\n{region} " in said
    stored = json.loads((results / "calibration.json").read_text())
    assert stored["evidence"]["cases"] == [case for _, case in cases_of(blobs)]
    plans = json.loads((results / "plans.json").read_text())
    assert plans["comnet"]["refiner"]["strength"] == list(stored["strength"].values())
    assert not (results / "calibration_cases.json").exists()
    predictor = CoMNeTPredictor(results, [0], device="cpu")
    assert list(predictor.strengths) == list(stored["strength"].values())


def test_its_dice_is_that_of_predicting_the_held_out_case(blobs: Path, results: Path, tmp_path: Path) -> None:
    write_splits(blobs)
    raw = blobs.parents[1] / "raw" / blobs.name
    for fold, case in cases_of(blobs)[-2:]:
        for strength in (0.0, 0.5, 1.0):
            names = ("whole tumor", "tumor core", "enhancing tumor")
            options = Options(steps=2, use_mirroring=False, strengths=dict.fromkeys(names, strength))
            predictor = CoMNeTPredictor(results, [fold], options=options, device="cpu")
            measured = measure._dice_by_strength(predictor, blobs, case)[:, measure.STRENGTHS.index(strength)]
            predicted = predictor.predict([raw / "imagesTr" / f"{case}_{c:04d}.nii.gz" for c in range(4)])
            image = SimpleITK.DICOMOrient(SimpleITK.ReadImage(str(raw / "labelsTr" / f"{case}.nii.gz")), "RAS")
            truth = SimpleITK.GetArrayFromImage(image)
            expected = [
                dice(np.isin(truth, members), probabilities > 0.5)
                for members, probabilities in zip(predictor.regions.values(), predicted.probabilities, strict=True)
            ]
            # Prediction hands refined logits on in half precision: a voxel or two may fall on the other side.
            assert np.allclose(measured, expected, atol=2e-3), (case, strength)


def test_an_interrupted_run_goes_on_where_it_was(blobs: Path, results: Path, monkeypatch: Any) -> None:
    write_splits(blobs)
    dice_by_strength, seen = measure._dice_by_strength, []

    def dies_after_one(predictor: Any, preprocessed: Path, case: str) -> Any:
        if seen:
            raise KeyboardInterrupt
        seen.append(case)
        return dice_by_strength(predictor, preprocessed, case)

    options = Options(steps=2, use_mirroring=False)
    arguments: dict[str, Any] = {"options": options, "device": "cpu"}
    monkeypatch.setattr(measure, "_dice_by_strength", dies_after_one)
    with pytest.raises(KeyboardInterrupt):
        measure.measure_strengths(results, blobs, **arguments)
    assert not (results / "calibration.json").exists()

    def not_again(predictor: Any, preprocessed: Path, case: str) -> Any:
        assert case not in seen
        return dice_by_strength(predictor, preprocessed, case)

    monkeypatch.setattr(measure, "_dice_by_strength", not_again)
    choices = measure.measure_strengths(results, blobs, **arguments)
    monkeypatch.setattr(measure, "_dice_by_strength", dice_by_strength)
    assert measure.measure_strengths(results, blobs, **arguments) == choices


def test_every_held_out_case_is_looked_for_before_the_first_is_predicted(
    blobs: Path, results: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    write_splits(blobs)
    preprocessed = tmp_path / "preprocessed"
    shutil.copytree(blobs, preprocessed)
    monkeypatch.setattr(measure, "_dice_by_strength", lambda *_: pytest.fail("a case was predicted"))
    before = sorted(results.rglob("*"))
    last = cases_of(blobs)[-1][1]
    data = preprocessed / f"{PLANS_NAME}_3d_fullres"
    for files in (sorted(data.glob(f"{last}*")), [preprocessed / "gt_segmentations" / f"{last}.nii.gz"]):
        kept = {file: file.read_bytes() for file in files}
        for file in files:
            file.unlink()
        with pytest.raises(DataError, match=last):
            measure.measure_strengths(results, preprocessed, options=Options(steps=1), device="cpu")
        assert sorted(results.rglob("*")) == before
        for file, content in kept.items():
            file.write_bytes(content)


def test_mistakes_get_one_line(blobs: Path, results: Path, model: Path, patients: Path, comnet: Any) -> None:
    write_splits(blobs)

    def refused(*words: object) -> str:
        code, _, errors = comnet("calibrate", "-d", "501", "-device", "cpu", *words)
        assert code == 1
        assert errors.startswith("comnet: error: ")
        assert errors.count("\n") == 1
        return str(errors)

    assert "holds no model" in refused("-tr", "nnUNetTrainerElse")
    shutil.copytree(model, results.parent / model.name)
    assert "has no refiner" in refused("-tr", "nnUNetTrainerCoMNeT", "--disable_tta")
    checkpoint = results / "fold_1" / "checkpoint_final.pth"
    kept = checkpoint.read_bytes()
    checkpoint.unlink()
    assert "two folds or more" in refused("--disable_tta", "--steps", "1")
    checkpoint.write_bytes(kept)
    (results / "calibration.json").write_text('{"format": 1, "strength": {"liver": 1}, "checkpoints": {}}')
    code, _, errors = comnet("predict", "-i", patients, "-o", results / "out", "-m", results, "-device", "cpu")
    assert code == 1
    assert "liver" in errors
    assert errors.count("\n") == 1
    assert not (results / "out").exists()
