"""The choice of a strength from a table of Dice, by hand and against scipy's bootstrap."""

import numpy as np
import pytest
import scipy.stats

from nnunetv2_comnet.errors import ConfigurationError
from nnunetv2_comnet.statistics import paired_interval
from nnunetv2_comnet.strengths.choose_strength import choose
from nnunetv2_comnet.strengths.strengths_file import STRENGTHS

FOLDS = [0, 0, 0, 1, 1, 1, 2, 2, 2]


def table(gains: np.ndarray) -> np.ndarray:
    """Dice (9, 1, 5): 0.7 at strength 0, and `gains` (9, 4) more at the others."""
    dice = np.full((9, 1, len(STRENGTHS)), 0.7)
    dice[:, 0, 1:] += gains
    return dice


def test_a_strength_that_helps_every_case_is_taken() -> None:
    gains = np.tile([0.01, 0.02, 0.03, 0.01], (9, 1)) + 0.001 * np.arange(9)[:, None]
    (choice,) = choose(table(gains), FOLDS)
    assert choice.strength == choice.best == 0.75
    assert choice.before == pytest.approx(0.7)
    assert choice.after == pytest.approx(0.7 + 0.03 + 0.004)
    assert choice.gain == pytest.approx(0.034)  # all other folds choose 0.75 too
    assert 0 < choice.low < choice.gain < choice.high
    assert choice.cases == 9


def test_a_gain_on_some_cases_only_is_not_enough() -> None:
    gains = np.zeros((9, 4))
    gains[:, 3] = [0.1, -0.06, 0.02, -0.05, 0.08, -0.03, 0.01, -0.04, 0.03]
    (choice,) = choose(table(gains), FOLDS)
    assert choice.best == 1.0
    assert choice.strength == 0
    assert choice.low < 0
    assert choice.after == choice.before


def test_a_correction_that_hurts_gets_strength_zero() -> None:
    (choice,) = choose(table(np.full((9, 4), -0.02)), FOLDS)
    assert (choice.strength, choice.best, choice.gain) == (0, 0, 0)


def test_no_case_is_judged_by_a_strength_that_it_chose() -> None:
    # Fold 0 gains 0.3 at strength 1, the others lose a little: without fold 0 the choice is 0, so fold 0 gains nothing.
    gains = np.zeros((9, 4))
    gains[:3, 3], gains[3:, 3] = 0.3, -0.01
    (choice,) = choose(table(gains), FOLDS)
    # Folds 1 and 2 are judged at strength 1, which fold 0's large gain chooses for them.
    assert choice.gain == pytest.approx(6 * -0.01 / 9)
    assert choice.best == 1.0
    assert choice.strength == 0


def test_regions_choose_by_themselves() -> None:
    helps = table(np.tile([0.0, 0.0, 0.0, 0.05], (9, 1)))
    hurts = table(np.tile([0.0, 0.0, 0.0, -0.05], (9, 1)))
    one, other = choose(np.concatenate([helps, hurts], axis=1), FOLDS)
    assert (one.strength, other.strength) == (1.0, 0.0)


def test_one_fold_cannot_test_what_it_chose() -> None:
    with pytest.raises(ConfigurationError):
        choose(table(np.zeros((9, 4))), [0] * 9)


def test_the_interval_is_the_percentile_bootstraps() -> None:
    differences = np.random.default_rng(1).normal(0.01, 0.02, 40)
    oracle = scipy.stats.bootstrap((differences,), np.mean, n_resamples=10_000, method="percentile", random_state=0)
    low, high = paired_interval(differences)
    assert low == pytest.approx(oracle.confidence_interval.low, abs=3e-4)
    assert high == pytest.approx(oracle.confidence_interval.high, abs=3e-4)
    assert paired_interval(differences) == (low, high)
