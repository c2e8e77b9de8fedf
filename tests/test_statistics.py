"""Paired statistics by hand, by enumeration in plain Python, against scipy, and by simulation."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats

from nnunetv2_comnet import statistics
from nnunetv2_comnet.errors import DataError


@pytest.mark.parametrize("cases", [1, 2, 7, 40, 300, 3001])
def test_the_interval_in_chunks_is_that_of_one_draw_bit_for_bit(cases: int) -> None:
    differences = np.random.default_rng(cases).normal(0.01, 0.1, cases)
    # The percentile bootstrap written out: all draws at once. 200 cases or more are drawn in chunks.
    draws = np.random.default_rng(3).integers(0, cases, (10_000, cases))
    low, high = np.quantile(differences[draws].mean(axis=1), [(1 - 0.9) / 2, 1 - (1 - 0.9) / 2])
    assert statistics.paired_interval(differences, seed=3, confidence=0.9) == (low, high)


def test_the_interval_moves_with_the_differences_and_narrows_with_cases() -> None:
    differences = np.random.default_rng(0).normal(0, 1, 50)
    low, high = statistics.paired_interval(differences)
    # (2 x + 1) has the mean of x, times 2, plus 1, in every resample.
    assert statistics.paired_interval(2 * differences + 1) == pytest.approx((2 * low + 1, 2 * high + 1))
    four_fold = np.tile(differences, 4)
    narrow = statistics.paired_interval(four_fold)
    assert narrow[1] - narrow[0] == pytest.approx((high - low) / 2, rel=0.05)


def test_no_difference_is_refused() -> None:
    with pytest.raises(DataError):
        statistics.paired_interval([])


def wilcoxon_by_enumeration(differences: list[float]) -> float:
    """Every sign pattern in plain Python: how often is the sum of positive ranks as far from its centre as seen?"""
    kept = [d for d in differences if d]
    sizes = sorted(abs(d) for d in kept)
    # A value's rank: the mean of the places (from 1) that its size takes in the sorted list.
    ranks = [np.mean([place for place, size in enumerate(sizes, 1) if size == abs(d)]) for d in kept]
    centre = sum(ranks) / 2
    seen = abs(sum(rank for rank, d in zip(ranks, kept, strict=True) if d > 0) - centre)
    patterns = list(itertools.product((0, 1), repeat=len(kept)))
    sums = [sum(rank for rank, taken in zip(ranks, pattern, strict=True) if taken) for pattern in patterns]
    return sum(abs(total - centre) >= seen - 1e-9 for total in sums) / len(patterns)


@pytest.mark.parametrize(
    "differences",
    [
        [1.0, 2.0, 3.0],
        [1.0, -2.0, 3.0, 4.0],
        [0.0, 0.0, 1.0, 2.0, -3.0, 4.0],  # zeros leave
        [1.0, 1.0, 1.0, -1.0, 2.0, 2.0, -2.0],  # ties
        [-0.5, -0.25, -0.75, 0.125, -1.0, -1.5, 0.25, -2.0, -2.0],
        [1.0, -1.0],
    ],
)
def test_wilcoxon_is_the_share_of_sign_patterns(differences: list[float]) -> None:
    assert statistics.wilcoxon(differences) == pytest.approx(wilcoxon_by_enumeration(differences), abs=1e-12)
    assert statistics.wilcoxon([-d for d in differences]) == statistics.wilcoxon(differences)


def test_wilcoxon_by_hand() -> None:
    # Three differences of one sign: 1 of 8 patterns in each tail. 1, 2, -3, 4: ranks 1 + 2 + 4 = 7 of 10, as far from 5
    # as 3; sums of subsets of {1, 2, 3, 4} that are 7 or more: 7 (twice), 8, 9, 10; so 5 + 5 of 16.
    assert statistics.wilcoxon([1, 2, 3]) == pytest.approx(2 / 8)
    assert statistics.wilcoxon([1, 2, -3, 4]) == pytest.approx(10 / 16)
    assert statistics.wilcoxon([0, 0]) == 1.0
    assert math.isnan(statistics.wilcoxon([]))


def test_rounding_errors_do_not_break_ties() -> None:
    # In floating point 0.3 - 0.2 is less than 0.2 - 0.1, by 3e-17.
    assert statistics.wilcoxon([0.3 - 0.2, -(0.2 - 0.1), 0.5]) == statistics.wilcoxon([1, -1, 5])


@pytest.mark.parametrize("cases", [12, 50])
def test_wilcoxon_agrees_with_scipys_exact_test_where_nothing_ties(cases: int) -> None:
    differences = np.random.default_rng(cases).normal(0.3, 1, cases)
    expected = scipy.stats.wilcoxon(differences, method="exact").pvalue
    assert statistics.wilcoxon(differences) == pytest.approx(expected, rel=1e-9)


def test_wilcoxon_of_many_cases_is_scipys_approximation_and_near_the_exact_one() -> None:
    differences = np.random.default_rng(0).integers(-3, 5, 80).astype(float)
    kept = differences[differences != 0]
    assert len(kept) > 50
    assert statistics.wilcoxon(differences) == pytest.approx(scipy.stats.wilcoxon(kept, method="approx").pvalue)
    fifty = np.random.default_rng(1).normal(0.3, 1, 50)
    assert statistics.wilcoxon(fifty) == pytest.approx(scipy.stats.wilcoxon(fifty, method="approx").pvalue, abs=0.01)


def test_holm_on_a_worked_example() -> None:
    # Sorted 0.005, 0.01, 0.03, 0.04; times 4, 3, 2, 1: 0.02, 0.03, 0.06, 0.04; never falling: 0.02, 0.03, 0.06, 0.06.
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([0.6, 0.9]) == [1.0, 1.0]
    adjusted = statistics.holm([0.01, math.nan, 0.04])  # what was not tested is not counted
    assert adjusted[::2] == pytest.approx([0.02, 0.04])
    assert math.isnan(adjusted[1])


def test_holm_keeps_the_order_and_lies_between_p_and_bonferroni() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        p = rng.random(rng.integers(1, 12)) ** 3
        adjusted = np.array(statistics.holm(p.tolist()))
        assert (np.diff(adjusted[np.argsort(p)]) >= 0).all()
        assert ((adjusted >= p) & (adjusted <= np.minimum(1, len(p) * p) + 1e-15)).all()
        assert adjusted.min() == pytest.approx(min(1, len(p) * p.min()))


def test_effect_sizes_by_hand() -> None:
    # 1, -2, 3, 4: positive ranks 1 + 3 + 4, negative 2: (8 - 2) / 10. 1, 2, 3: mean 2, deviation 1.
    assert statistics.rank_biserial([1, -2, 3, 4]) == pytest.approx(0.6)
    assert statistics.rank_biserial([0.5, 2, 0]) == 1
    assert statistics.rank_biserial([0, 0]) == 0
    assert statistics.cohens_dz([1, 2, 3]) == pytest.approx(2)
    assert math.isnan(statistics.cohens_dz([0.1, 0.1, 0.1]))
    assert math.isnan(statistics.cohens_dz([0.1]))


@pytest.mark.parametrize(("dz", "cases"), [(0.8, 12), (-0.3, 40), (2.0, 4)])
def test_an_effect_as_seen_is_rare_under_either_end_of_its_interval(dz: float, cases: int) -> None:
    low, high = statistics.standardised_interval(dz, cases)
    rng = np.random.default_rng(0)
    for truth, as_far in ((low, np.greater_equal), (high, np.less_equal)):
        samples = rng.normal(truth, 1, (100_000, cases))
        effects = samples.mean(axis=1) / samples.std(axis=1, ddof=1)
        # 2.5 % by definition of the interval; 100,000 samples count it to 0.05 points.
        assert as_far(effects, dz).mean() == pytest.approx(0.025, abs=0.002)


def test_the_interval_of_an_extreme_effect_is_found() -> None:
    # Large samples: the standard error is sqrt(1/N + dz^2 / 2N).
    for dz, cases in ((5.0, 1000), (0.0, 3000), (-2.0, 3000)):
        error = 1.96 * math.sqrt(1 / cases + dz**2 / (2 * cases))
        assert statistics.standardised_interval(dz, cases) == pytest.approx((dz - error, dz + error), abs=0.02)
    low, high = statistics.standardised_interval(20.0, 2)
    assert low < 20 < high
    assert all(map(math.isnan, statistics.standardised_interval(math.nan, 5)))


def test_how_many_pairs_can_reach_significance() -> None:
    # 2 / 2^5 = 0.0625, 2 / 2^6 = 0.031. Of 24 tests: 24 x 2 / 2^9 = 0.094, 24 x 2 / 2^10 = 0.047.
    assert statistics.smallest_p(5) == 0.0625
    assert statistics.smallest_p(0) == 1.0
    assert statistics.pairs_for_significance(1) == 6
    assert statistics.pairs_for_significance(24) == 10


@pytest.mark.parametrize(("dz", "alpha"), [(0.3, 0.05), (0.5, 0.05), (0.8, 0.05), (0.5, 0.05 / 24)])
def test_the_cases_needed_give_the_power_promised(dz: float, alpha: float) -> None:
    cases = int(statistics.cases_needed(dz, alpha))
    samples = np.random.default_rng(0).normal(dz, 1, (2000, cases))
    method = "exact" if cases <= 50 else "approx"
    found = (scipy.stats.wilcoxon(samples, axis=1, method=method).pvalue <= alpha).mean()
    assert found == pytest.approx(0.8, abs=0.03)
    # The same formula, asked the other way round: just that many cases find just that effect.
    assert statistics.detectable_difference(2.0, cases, alpha) == pytest.approx(2.0 * dz, rel=0.03)


def test_cases_needed_at_the_edges() -> None:
    # A huge effect still needs 6 pairs: fewer cannot give p 0.05.
    assert statistics.cases_needed(10) == 6
    assert statistics.cases_needed(-0.5) == statistics.cases_needed(0.5) == 35  # a t-test: 34
    assert statistics.cases_needed(0) == math.inf
    assert math.isnan(statistics.cases_needed(math.nan))
    assert statistics.detectable_difference(1.0, 1) == math.inf
