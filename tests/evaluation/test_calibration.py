"""Calibration of probabilities, on forecasts whose reliability is known."""

import math

import numpy as np
import pytest

from nnunetv2_comnet.evaluation.calibration import Bins, calibration, near_tumour, pooled


def test_ece_and_brier_by_hand() -> None:
    # Ten voxels said 0.95, nine are true; ten said 0.25, four are true; five said 0, none is. Bins 9, 2 and 0.
    probability = np.repeat([0.95, 0.25, 0.0], [10, 10, 5]).reshape(1, 5, 5)
    truth = np.repeat([1, 0, 1, 0, 0], [9, 1, 4, 6, 5]).astype(bool).reshape(1, 5, 5)
    everywhere = np.ones_like(truth)
    scores, bins = calibration(probability, truth, everywhere, everywhere)
    ece = (10 * abs(0.95 - 0.9) + 10 * abs(0.25 - 0.4) + 0) / 25
    brier = (9 * 0.05**2 + 0.95**2 + 4 * 0.75**2 + 6 * 0.25**2) / 25
    assert scores == pytest.approx({"ece_tumour": ece, "ece_brain": ece, "brier": brier})
    table = bins["brain"].as_json()
    assert table["voxels"] == [5, 0, 10, 0, 0, 0, 0, 0, 0, 10]
    assert table["observed"][2] == pytest.approx(0.4)
    assert table["probability"][9] == pytest.approx(0.95)
    assert table["probability"][1] is None


def test_a_calibrated_forecast_has_no_error_and_certainty_has_the_rate_of_mistakes() -> None:
    rng = np.random.default_rng(0)
    probability = rng.uniform(size=(50, 60, 70))
    truth = rng.uniform(size=probability.shape) < probability
    assert Bins.of(probability, truth).ece < 0.01
    certain = Bins.of((probability > 0.5).astype(float), truth)
    wrong = ((probability > 0.5) != truth).mean()  # of a certain forecast
    assert certain.ece == pytest.approx(wrong)


def test_a_probability_of_one_is_in_the_last_bin_and_nothing_is_nan() -> None:
    assert Bins.of(np.ones(3), np.ones(3, bool)).voxels[9] == 3
    assert math.isnan(Bins.of(np.zeros(0), np.zeros(0, bool)).ece)


def test_near_the_tumour_is_within_a_centimetre() -> None:
    # One voxel in thick slices of 4 mm: 10 mm hold 2 slices and 10 voxels of 1 mm; two slices up, 6 (8^2 + 6^2 = 10^2).
    tumour = np.zeros((9, 40, 40), bool)
    tumour[4, 20, 20] = True
    near = near_tumour(tumour, (4.0, 1.0, 1.0))
    assert np.flatnonzero(near[:, 20, 20]).tolist() == [2, 3, 4, 5, 6]
    assert np.flatnonzero(near[4, 20]).tolist() == list(range(10, 31))
    assert np.flatnonzero(near[6, 20]).tolist() == list(range(14, 27))
    assert not near_tumour(np.zeros_like(tumour), (4.0, 1.0, 1.0)).any()


def test_without_a_brain_only_near_the_tumour() -> None:
    truth = np.ones((1, 1, 2), bool)
    scores, bins = calibration(np.array([[[1.0, 0.0]]]), truth, None, np.array([[[True, False]]]))
    assert scores == {"ece_tumour": 0.0}
    assert list(bins) == ["tumour"]


def test_cases_are_pooled_voxel_by_voxel() -> None:
    first, second = (Bins.of(np.full(n, 0.5), np.arange(n) < n // 2) for n in (4, 9))
    table = pooled([{"ET": {"tumour": first}}, {}, {"ET": {"tumour": second}}])
    assert table is not None
    entry = table["regions"]["ET"]["tumour"]
    assert entry["voxels"][5] == 13
    assert entry["observed"][5] == pytest.approx(6 / 13)
    assert table["edges"][0] == 0
    assert table["edges"][-1] == 1
    assert pooled([{}, {}]) is None
