"""Paired statistics of two models over cases: interval, test, correction, effect size, cases needed.

A difference is first minus second on one case; every sign below follows it. No value may be NaN.
"""

import math
from collections.abc import Iterator, Sequence
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from nnunetv2_comnet.errors import DataError

Table = npt.NDArray[np.float64]
RESAMPLES = 10_000
CONFIDENCE = 0.95
POWER = 0.8
EXACT_UP_TO = 50  # differences; more go to the normal approximation
WILCOXON_EFFICIENCY = 3 / math.pi  # of the signed-rank test against the t-test, where differences are normal
_CHUNK = 2_000_000  # drawn indices held at once
_DIGITS = 9  # differences equal to so many decimals are ties: scores carry rounding errors of 1e-16 to 1e-13


def mean_of_known(values: Table, axis: int) -> Table:
    """Computes the mean of the values that are not NaN along an axis; NaN where all are."""
    known = ~np.isnan(values)
    count = known.sum(axis=axis)
    means: Table = np.where(known, values, 0.0).sum(axis=axis) / np.where(count, count, np.nan)
    return means


def describe(values: Table) -> tuple[int, float, float, float]:
    """Counts the values (N,) that are not NaN, and computes their mean, standard deviation (n - 1) and median.

    NaN stands for what is not defined: all three without values, the deviation of one value or of infinite ones.
    """
    known = values[~np.isnan(values)]
    if not len(known):
        return 0, math.nan, math.nan, math.nan
    spread = float(known.std(ddof=1)) if len(known) > 1 and np.isfinite(known).all() else math.nan
    return len(known), float(known.mean()), spread, float(np.median(known))


def paired_interval(differences: npt.ArrayLike, seed: int = 0, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Computes the percentile bootstrap interval of the mean of paired differences (N,), over 10,000 seeded resamples.

    With few cases it is too narrow: where differences are normal, 95 % intervals hold the truth for 5 cases in 85 %,
    for 10 in 90 %, for 20 in 93 %, for 50 in 94 %. Raises `DataError` where there is no difference.
    """
    values = _values(differences)
    means = np.concatenate([values[draws].mean(axis=1) for draws in _draws(len(values), seed)])
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def cohens_dz(differences: npt.ArrayLike) -> float:
    """Divides the mean of the differences by their standard deviation (n - 1); NaN where they have no spread."""
    values = _values(differences)
    return float(values.mean() / values.std(ddof=1)) if np.ptp(values) > 0 else math.nan


def standardised_interval(dz: float, cases: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Computes the interval of Cohen's dz by the noncentral t distribution, exact for normal differences; NaN for NaN.

    Resampling was tried and covers less: with 10 normal differences 85 % where this has 93 %.
    """
    if math.isnan(dz):
        return math.nan, math.nan
    from scipy import optimize, stats

    t, tail = dz * math.sqrt(cases), (1 - confidence) / 2

    def excess(noncentrality: float, probability: float) -> float:
        cumulative = float(stats.nct.cdf(t, cases - 1, noncentrality))
        if math.isnan(cumulative):  # scipy's answer far out, where it is 0 or 1
            cumulative = float(noncentrality < t)
        return cumulative - probability

    end = 3 * abs(t) + 8  # beyond both ends, with two cases as well
    low, high = (optimize.brentq(excess, -end, end, args=(p,)) for p in (1 - tail, tail))
    return low / math.sqrt(cases), high / math.sqrt(cases)


def wilcoxon(differences: npt.ArrayLike) -> float:
    """Computes the two-sided p of Wilcoxon's signed-rank test: zeros are left out, as by Wilcoxon, and ties average.

    Up to 50 differences the distribution is exact, ties included (every sign equally likely); beyond, scipy's normal
    approximation with its correction for ties. 1.0 where all differences are zero, NaN where there is none.
    """
    values = np.round(np.asarray(differences, np.float64), _DIGITS)
    if len(values) == 0:
        return math.nan
    values = values[values != 0]
    if len(values) == 0:
        return 1.0
    if len(values) <= EXACT_UP_TO:
        return _exact_p(values)
    from scipy import stats

    return float(stats.wilcoxon(values, zero_method="wilcox", correction=False, method="approx").pvalue)


def rank_biserial(differences: npt.ArrayLike) -> float:
    """Computes the matched-pairs rank-biserial correlation (W+ - W-) / (W+ + W-), from -1 to 1; 0 where all are zero.

    The effect size of Wilcoxon's test (Kerby 2014): 1 where the first is higher on every case that differs.
    """
    values = np.round(_values(differences), _DIGITS)
    values = values[values != 0]
    ranks = _doubled_ranks(values)
    return float((ranks * np.sign(values)).sum() / ranks.sum()) if len(values) else 0.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusts p values by Holm's step-down method, in the order given; NaN stays NaN and does not count as a test."""
    adjusted = [math.nan] * len(p_values)
    order = sorted((p, index) for index, p in enumerate(p_values) if not math.isnan(p))
    largest = 0.0
    for rank, (p, index) in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p))
        adjusted[index] = largest
    return adjusted


def smallest_p(pairs: int) -> float:
    """Returns the smallest two-sided p that `pairs` signs can give, 2 / 2^pairs: all differ in one direction."""
    return min(1.0, 2.0 ** (1 - pairs))


def pairs_for_significance(tests: int, alpha: float = 0.05) -> int:
    """Finds the fewest differing pairs with which the clearest of `tests` Holm-corrected tests can reach `alpha`."""
    return next(pairs for pairs in range(1, 1000) if tests * smallest_p(pairs) <= alpha)


def cases_needed(dz: float, alpha: float = 0.05, power: float = POWER) -> float:
    """Computes how many cases Wilcoxon's test, two-sided at `alpha`, needs to find a true effect `dz` with this power.

    Guenther's normal approximation of the paired t-test's number, divided by Wilcoxon's efficiency; never fewer than
    can reach `alpha` at all. Infinite for an effect of 0.
    """
    if math.isnan(dz):
        return math.nan
    if dz == 0:
        return math.inf
    significant, sum_of_both = _normal_quantiles(alpha, power)
    cases = math.ceil((sum_of_both / dz) ** 2 / WILCOXON_EFFICIENCY + significant**2 / 2)
    return max(cases, pairs_for_significance(1, alpha))


def detectable_difference(sd: float, cases: int, alpha: float = 0.05, power: float = POWER) -> float:
    """Computes the true mean difference that so many cases find with this power: the inverse of `cases_needed`."""
    significant, sum_of_both = _normal_quantiles(alpha, power)
    left = cases - significant**2 / 2
    return sd * sum_of_both / math.sqrt(left * WILCOXON_EFFICIENCY) if left > 0 else math.inf


def _normal_quantiles(alpha: float, power: float) -> tuple[float, float]:
    significant = NormalDist().inv_cdf(1 - alpha / 2)
    return significant, significant + NormalDist().inv_cdf(power)


def _values(differences: npt.ArrayLike) -> Table:
    values = np.asarray(differences, np.float64)
    if values.ndim != 1 or len(values) == 0:
        raise DataError(f"paired differences of shape {values.shape} have no mean; give one per case, (N,)")
    return values


def _draws(cases: int, seed: int) -> Iterator[npt.NDArray[np.int64]]:
    """Draws RESAMPLES rows of `cases` indices, in chunks: the same numbers as one draw of all rows."""
    generator = np.random.default_rng(seed)
    rows = max(1, _CHUNK // cases)
    for start in range(0, RESAMPLES, rows):
        yield generator.integers(0, cases, (min(rows, RESAMPLES - start), cases))


def _doubled_ranks(values: Table) -> npt.NDArray[np.int64]:
    """Doubles the ranks of the absolute values: whole numbers, also where ties average."""
    from scipy import stats

    return np.rint(2 * stats.rankdata(np.abs(values))).astype(np.int64)


def _exact_p(values: Table) -> float:
    """Counts, rank by rank, how many of the 2^N sign patterns reach each sum of positive ranks."""
    ranks = _doubled_ranks(values)
    total = int(ranks.sum())
    counts = np.zeros(total + 1)
    counts[0] = 1
    for rank in ranks.tolist():
        counts[rank:] += counts[:-rank].copy()  # whole numbers below 2^53: exact
    # The distribution is symmetric about total / 2: both tails are the sums at least as far from it.
    distances = np.abs(2 * np.arange(total + 1) - total)
    observed = abs(2 * int(ranks[values > 0].sum()) - total)
    return float(counts[distances >= observed].sum() / 2.0 ** len(values))
