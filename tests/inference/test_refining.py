"""Refinement: of each fold, of the ensemble, of nothing; strengths and seeds."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nnunetv2_comnet.errors import ConfigurationError
from nnunetv2_comnet.files import sha256
from nnunetv2_comnet.inference.options import Options
from nnunetv2_comnet.inference.prediction import Prediction
from nnunetv2_comnet.inference.predictor import CoMNeTPredictor
from nnunetv2_comnet.refinement import Sampling, refine_volume
from tests.inference.conftest import FOLDS
from tests.inference.test_averaging import images_of, stock

pytestmark = pytest.mark.chain  # trains or predicts with every fold

REGIONS = ("whole tumor", "tumor core", "enhancing tumor")


def predict(model: Path, patients: Path, folds: Any = None, case: str = "LPS", **options: Any) -> Prediction:
    """Without mirroring, two steps: what is tested is what is joined to what."""
    chosen = Options(**{"use_mirroring": False, "steps": 2, **options})
    return CoMNeTPredictor(model, folds, options=chosen, device="cpu").predict(images_of(patients, case))


def test_none_is_stage_1_and_strength_0_too(model: Path, refined_model: Path, patients: Path) -> None:
    stage_1 = predict(model, patients)
    none = predict(refined_model, patients, refine="none")
    assert np.array_equal(none.probabilities, stage_1.probabilities)
    assert none.correction is None
    unmoved = predict(refined_model, patients, strengths={"WT": 0, "tc": 0, "enhancing tumor": 0})
    assert np.array_equal(unmoved.probabilities, stage_1.probabilities)
    assert not unmoved.correction.any()
    part = predict(refined_model, patients, strengths={"WT": 0, "TC": 0.5})
    assert np.array_equal(part.probabilities[0], stage_1.probabilities[0])
    assert not np.array_equal(part.probabilities[1:], stage_1.probabilities[1:])


def test_fold_refines_each_folds_map_with_noise_of_its_own(refined_model: Path, patients: Path) -> None:
    both = predict(refined_model, patients)
    single = [predict(refined_model, patients, (fold,)) for fold in FOLDS]
    total = (single[0].probabilities + single[1].probabilities) / np.float32(2)
    assert np.array_equal(both.probabilities, total)  # a fold draws the same alone and in company
    assert np.abs(both.correction).max() > 0.1
    assert np.allclose(both.correction, (single[0].correction + single[1].correction) / 2, atol=1e-6)
    other = predict(refined_model, patients, seed=7)
    assert not np.array_equal(both.probabilities, other.probabilities)
    assert np.array_equal(both.probabilities, predict(refined_model, patients).probabilities)


def test_spread_is_the_mean_of_the_folds_deviations_over_samples(refined_model: Path, patients: Path) -> None:
    one, both = predict(refined_model, patients), predict(refined_model, patients, samples=3)
    assert not one.spread.any()
    single = [predict(refined_model, patients, (fold,), samples=3).spread for fold in FOLDS]
    assert both.spread.max() > 1e-3
    assert np.allclose(both.spread, (single[0] + single[1]) / 2, atol=1e-6)


def test_ensemble_refines_the_folds_average(refined_model: Path, model: Path, patients: Path) -> None:
    """By hand, where nothing is resampled: on the preprocessed grid of the maps of stage 1."""
    options = Options(use_mirroring=False, steps=2, refine="ensemble")
    predictor = CoMNeTPredictor(refined_model, options=options, device="cpu")
    ours = predictor.predict(images_of(patients, "LPS"))
    data, properties = predictor.grids.preprocess(images_of(patients, "LPS"))

    coarse = []
    for fold in FOLDS:
        stage_1 = CoMNeTPredictor(model, (fold,), options=Options(use_mirroring=False), device="cpu")
        coarse.append(torch.sigmoid(stage_1.predict_sliding_window_return_logits(data).float()))
    average = (sum(coarse) / 2).clamp(1e-6, 1 - 1e-6)
    expected = 0
    for fold in FOLDS:
        weights = torch.load(refined_model / f"fold_{fold}" / "checkpoint_final.pth", weights_only=False)
        predictor.network.load_state_dict(weights["network_weights"])
        refined = refine_volume(
            predictor.network.ema, data, torch.log(average / (1 - average)),
            strengths=(1.0, 1.0, 1.0), sampling=Sampling(num_inference_steps=2, seed=fold),
        )  # fmt: skip
        expected += predictor.grids.probabilities(refined.logits, properties) / 2
    box = tuple(slice(low, high) for low, high in properties["bbox_used_for_cropping"])
    assert np.allclose(ours.probabilities[(slice(None), *box)], expected, atol=1e-5)
    fold_wise = predict(refined_model, patients)
    assert not np.allclose(ours.probabilities, fold_wise.probabilities, atol=1e-3)
    assert ours.probabilities[0].any()


def test_cross_refines_each_folds_map_by_the_next_folds_refiner(
    refined_model: Path, patients: Path, tmp_path: Path
) -> None:
    """The same by other means: models whose halves were swapped, refined fold by fold."""
    swapped = tmp_path / "swapped"
    shutil.copytree(refined_model, swapped)
    files = [f"fold_{fold}/checkpoint_final.pth" for fold in FOLDS]
    both = [torch.load(refined_model / file, weights_only=False) for file in files]
    coarse = [{n: v for n, v in one["network_weights"].items() if n.startswith("coarse.")} for one in both]
    for index, file in enumerate(files):
        other = coarse[1 - index]  # of two folds, the one before is the other one
        torch.save({**both[index], "network_weights": {**both[index]["network_weights"], **other}}, swapped / file)
    expected = predict(swapped, patients, refine="fold")
    cross = predict(refined_model, patients, refine="cross")
    assert np.allclose(cross.probabilities, expected.probabilities, atol=1e-6)
    assert not np.allclose(cross.probabilities, predict(refined_model, patients).probabilities, atol=1e-3)
    alone = predict(refined_model, patients, (1,), refine="cross")
    assert np.array_equal(alone.probabilities, predict(refined_model, patients, (1,)).probabilities)


def test_averaged_logits_of_a_refined_network_are_stock_nnunets(
    refined_model: Path, model: Path, patients: Path
) -> None:
    theirs = stock(refined_model, FOLDS, patients, "LPS")
    refined = CoMNeTPredictor(refined_model, options=Options(average="logits"), device="cpu")
    assert np.array_equal(refined.predict(images_of(patients, "LPS")).label_map, theirs)
    coarse = CoMNeTPredictor(refined_model, options=Options(average="logits", refine="none"), device="cpu")
    unrefined = coarse.predict(images_of(patients, "LPS")).label_map
    assert np.array_equal(unrefined, stock(model, FOLDS, patients, "LPS"))
    assert not np.array_equal(unrefined, theirs)


def test_strengths_come_from_the_flag_else_the_calibration_else_the_network(
    refined_model: Path, patients: Path, tmp_path: Path
) -> None:
    calibrated = tmp_path / "calibrated"
    shutil.copytree(refined_model, calibrated)
    names = [f"fold_{fold}/checkpoint_final.pth" for fold in FOLDS]
    content = {
        "format": 1,
        "strength": {"whole tumor": 0.25, "tumor core": 0.0, "enhancing tumor": 0.75},
        "checkpoints": {name: sha256(calibrated / name) for name in names},
        "evidence": {},
    }
    (calibrated / "calibration.json").write_text(json.dumps(content))

    def strengths(folder: Path, **options: Any) -> tuple[float, ...]:
        return CoMNeTPredictor(folder, options=Options(**options), device="cpu").strengths

    assert strengths(refined_model) == (1.0, 1.0, 1.0)
    assert strengths(calibrated) == (0.25, 0.0, 0.75)
    assert strengths(calibrated, strengths={"TC": 0.5}) == (0.25, 0.5, 0.75)
    assert strengths(calibrated, average="logits") == (1.0, 1.0, 1.0)  # as stock nnU-Net, which knows no calibration
    assert strengths(calibrated, refine="none") == ()
    # The calibration is measured on what the strengths multiply, whatever strengths are stored.
    _check_linear(calibrated, patients)
    content["checkpoints"][names[1]] = "0" * 64
    (calibrated / "calibration.json").write_text(json.dumps(content))
    with pytest.raises(ConfigurationError):
        strengths(calibrated)


def _check_linear(folder: Path, patients: Path) -> None:
    options = Options(use_mirroring=False, steps=2, strengths={"WT": 0.25, "TC": 0.5, "ET": 1})
    predictor = CoMNeTPredictor(folder, (0,), options=options, device="cpu")
    prediction = predictor.predict(images_of(patients, "LPS"))
    with torch.inference_mode():
        logits, correction = predictor.coarse_and_correction(*predictor.grids.preprocess(images_of(patients, "LPS")))
    alpha = np.array([0.25, 0.5, 1], np.float32)[:, None, None, None]
    box = tuple(slice(low, high) for low, high in prediction.properties["bbox_used_for_cropping"])
    expected = 1 / (1 + np.exp(-(logits + alpha * correction)))
    assert np.allclose(prediction.probabilities[(slice(None), *box)], expected, atol=2e-3)  # nnU-Net's half precision
