"""Ranks models by the BraTS scheme: per case, region and metric, ranks averaged, pairs tested by permutation.

After Bakas et al. 2018 (arXiv 1811.02629), section 3.3: a cumulative rank per case, its mean over cases as the final
score, and per pair of teams a test that swaps their ranks case by case. The p here is two-sided; theirs is one-sided.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nnunetv2_comnet.errors import DataError
from nnunetv2_comnet.statistics import Table, holm, paired_interval

PERMUTATIONS = 100_000
EXACT_UP_TO = 16  # cases: all 65,536 swaps are tried; more cases are tested by PERMUTATIONS seeded random swaps
_CHUNK = 4_000_000  # signs held at once
_DIGITS = 9  # scores equal to so many decimals tie
_TOLERANCE = 1e-9  # sums of ranks that are equal but for rounding


@dataclass(frozen=True)
class RankTest:
    """The test of one pair of models.

    Attributes:
        difference: mean rank of the first minus the second's, negative where the first is better.
        low: with `high` its bootstrap interval over cases.
        p: of the two-sided permutation test.
        p_holm: `p` after Holm's correction over the ranking's pairs.
    """

    first: str
    second: str
    difference: float
    low: float
    high: float
    p: float
    p_holm: float


@dataclass(frozen=True)
class Ranking:
    """The mean ranks of models and their tests.

    Attributes:
        mean_ranks: per model, 1 is best.
        cases: how many were ranked.
        cells: how many (case, region, metric) were ranked.
        left_out: how many were not, since a model has no value there.
        exact: whether the tests tried every swap.
    """

    mean_ranks: Mapping[str, float]
    cases: int
    cells: int
    left_out: int
    exact: bool
    tests: tuple[RankTest, ...]

    @property
    def order(self) -> list[str]:
        """The models, the best first."""
        return sorted(self.mean_ranks, key=lambda model: self.mean_ranks[model])


def rank_models(
    scores: Mapping[str, Table], higher_is_better: Sequence[bool], pairs: Sequence[tuple[str, str]], seed: int = 0
) -> Ranking:
    """Ranks models by their scores (N cases, C), one column per region and metric; NaN where there is no value.

    Raises `DataError` where no case has a column with a value of every model.
    """
    models = list(scores)
    ranks = case_ranks(np.stack([scores[model] for model in models]), higher_is_better)
    ranked = ~np.isnan(ranks)
    if not ranked.any():
        raise DataError("no case has a score of every model; nothing can be ranked")
    per_case = np.array([[row[~np.isnan(row)].mean() for row in model if not np.isnan(row).all()] for model in ranks])
    by_model = dict(zip(models, per_case, strict=True))
    differences = np.stack([by_model[first] - by_model[second] for first, second in pairs], axis=1)
    p_values = permutation_p(differences, seed)
    adjusted = holm(p_values)
    tests = tuple(
        RankTest(*pair, float(column.mean()), *paired_interval(column, seed), p, p_holm)
        for pair, column, p, p_holm in zip(pairs, differences.T, p_values, adjusted, strict=True)
    )
    return Ranking(
        mean_ranks={model: float(row.mean()) for model, row in by_model.items()},
        cases=per_case.shape[1],
        cells=int(ranked[0].sum()),
        left_out=int((~ranked[0]).sum()),
        exact=per_case.shape[1] <= EXACT_UP_TO,
        tests=tests,
    )


def case_ranks(scores: Table, higher_is_better: Sequence[bool]) -> Table:
    """Ranks (K models, N, C) of scores of that shape: 1 is best, ties average, NaN for all where one has no value."""
    from scipy import stats

    oriented = np.where(np.asarray(higher_is_better), -scores, scores).round(_DIGITS)
    ranks: Table = stats.rankdata(oriented, axis=0).astype(np.float64)
    ranks[:, np.isnan(scores).any(axis=0)] = np.nan
    return ranks


def permutation_p(differences: Table, seed: int = 0) -> list[float]:
    """Tests whether each column's mean (N, P) is further from 0 than with ranks swapped at random; two-sided p.

    A swap turns a case's sign. All 2^N are tried for N up to 16; else so many random ones that the observed one, which
    is counted too, keeps p above 1 in 100,001.
    """
    cases = len(differences)
    observed = np.abs(differences.sum(axis=0)) - _TOLERANCE
    if cases <= EXACT_UP_TO:
        signs = np.array(list(itertools.product((1.0, -1.0), repeat=cases)))
        reached = (np.abs(signs @ differences) >= observed).mean(axis=0)
        return [float(p) for p in reached]
    generator = np.random.default_rng(seed)
    rows = max(1, _CHUNK // cases)
    counts = np.zeros(differences.shape[1])
    for start in range(0, PERMUTATIONS, rows):
        size = (min(rows, PERMUTATIONS - start), cases)
        signs = 2.0 * generator.integers(0, 2, size, dtype=np.int8) - 1
        counts += (np.abs(signs @ differences) >= observed).sum(axis=0)
    return [float(p) for p in (counts + 1) / (PERMUTATIONS + 1)]
