"""What is averaged: against nnU-Net's own predictor and its own ensembling of single folds."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nnunetv2.ensembling.ensemble import average_probabilities
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

from nnunetv2_comnet.inference.averaging import RunningMean
from nnunetv2_comnet.inference.options import Options
from nnunetv2_comnet.inference.predictor import CoMNeTPredictor
from tests.inference.conftest import FOLDS

CASES = ("LPS", "OBLIQUE")


def images_of(patients: Path, case: str) -> list[Path]:
    return sorted(patients.glob(f"{case}_*.nii.gz"))


def stock(model: Path, folds: tuple[int, ...], patients: Path, case: str, target: Path | None = None) -> Any:
    """nnU-Net's answer, returned or, with probabilities, written."""
    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(model), folds)
    reader = predictor.plans_manager.image_reader_writer_class()
    image, properties = reader.read_images([str(path) for path in images_of(patients, case)])
    out = None if target is None else str(target)
    return predictor.predict_single_npy_array(image, properties, None, out, target is not None)


@pytest.mark.parametrize("case", CASES)
def test_averaged_logits_are_stock_nnunets_masks(model: Path, patients: Path, case: str) -> None:
    ours = CoMNeTPredictor(model, options=Options(average="logits"), device="cpu").predict(images_of(patients, case))
    theirs = stock(model, FOLDS, patients, case)
    assert len(np.unique(theirs)) >= 3
    assert ours.label_map.dtype == np.uint8
    assert np.array_equal(ours.label_map, theirs)


@pytest.mark.parametrize("case", CASES)
def test_averaged_probabilities_are_the_mean_of_single_folds_maps(
    model: Path, patients: Path, tmp_path: Path, case: str
) -> None:
    for fold in FOLDS:
        stock(model, (fold,), patients, case, tmp_path / f"fold_{fold}")
    files = [str(tmp_path / f"fold_{fold}.npz") for fold in FOLDS]
    ours = CoMNeTPredictor(model, device="cpu").predict(images_of(patients, case))
    # Ours sums tiles in float32, theirs in half: a logit of 8 may be off by 0.004, which moves no probability by more.
    assert np.allclose(ours.probabilities, average_probabilities(files), atol=1e-3)
    own = [tmp_path / f"own_{fold}.npz" for fold in FOLDS]
    for fold, file in zip(FOLDS, own, strict=True):
        alone = CoMNeTPredictor(model, (fold,), device="cpu").predict(images_of(patients, case))
        np.savez(file, probabilities=alone.probabilities)
    # The rule of nnUNetv2_ensemble, to the bit.
    assert np.array_equal(ours.probabilities, average_probabilities([str(file) for file in own]))
    single = np.stack([np.load(file)["probabilities"] for file in own])
    assert np.allclose(ours.disagreement, single.std(axis=0), atol=1e-6)
    assert ours.disagreement.max() > 0.01
    averaged_logits = CoMNeTPredictor(model, options=Options(average="logits"), device="cpu")
    assert not np.array_equal(ours.probabilities, averaged_logits.predict(images_of(patients, case)).probabilities)
    assert (ours.spread, ours.correction) == (None, None)


def test_prediction_is_the_same_twice_and_the_entropy_is_of_the_average(model: Path, patients: Path) -> None:
    predictor = CoMNeTPredictor(model, device="cpu")
    first, second = (predictor.predict(images_of(patients, "RAS")) for _ in range(2))
    assert np.array_equal(first.probabilities, second.probabilities)
    p = first.probabilities.astype(np.float64)
    inside = (p > 0) & (p < 1)
    expected = np.zeros_like(p)
    expected[inside] = -(p[inside] * np.log2(p[inside]) + (1 - p[inside]) * np.log2(1 - p[inside]))
    assert np.allclose(first.entropy, expected, atol=1e-5)
    # Regions by their labels: WT holds 1, 2 and 3; voxels are 1.9 x 2.3 x 2.6 mm.
    assert first.volumes_mm3["whole tumor"] == pytest.approx((first.label_map > 0).sum() * 1.9 * 2.3 * 2.6, rel=1e-5)
    assert first.volumes_mm3["enhancing tumor"] == pytest.approx((first.label_map == 3).sum() * 11.362, rel=1e-5)


def test_nesting_and_thresholds_reach_the_mask(model: Path, patients: Path) -> None:
    images = images_of(patients, "LPS")
    plain = CoMNeTPredictor(model, device="cpu").predict(images)
    nested = CoMNeTPredictor(model, options=Options(nested=True), device="cpu").predict(images)
    wt, tc, et = nested.probabilities
    assert (plain.probabilities[2] > plain.probabilities[0]).any()
    assert np.array_equal(tc, np.minimum(plain.probabilities[1], wt))
    assert np.array_equal(et, np.minimum(plain.probabilities[2], tc))
    assert np.array_equal(nested.label_map == 3, et > 0.5)
    strict = CoMNeTPredictor(model, options=Options(thresholds={"et": 0.9}), device="cpu").predict(images)
    assert np.array_equal(strict.probabilities, plain.probabilities)
    assert np.array_equal(strict.label_map == 3, plain.probabilities[2] > np.float32(0.9))
    assert (strict.label_map == 3).sum() < (plain.label_map == 3).sum()


def test_a_running_mean_holds_no_more_for_more_folds() -> None:
    rng = np.random.default_rng(0)
    maps = rng.random((7, 3, 4, 5, 6)).astype(np.float32)
    running = RunningMean(with_deviation=True)
    for values in maps:
        running.add(values)
        held = [value for value in vars(running).values() if isinstance(value, np.ndarray)]
        assert sum(value.nbytes for value in held) == 2 * maps[0].nbytes
    total = maps[0].copy()
    for values in maps[1:]:
        total += values
    assert np.array_equal(running.mean, total / np.float32(7))
    assert np.allclose(running.deviation, maps.std(axis=0), atol=1e-6)
    # Confident voxels that differ in the fifth digit: squares of numbers near 1 would drown that in rounding.
    close = RunningMean(with_deviation=True)
    for value in (0.99990, 0.99994):
        close.add(np.full(3, value, np.float32))
    assert np.allclose(close.deviation, 2e-5, rtol=0.01)
