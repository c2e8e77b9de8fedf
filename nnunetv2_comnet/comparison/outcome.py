"""The outcome of a comparison: scores of each model, differences of each pair, the ranking, as frozen data."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nnunetv2_comnet.comparison.ranking import Ranking

ALPHA = 0.05


@dataclass(frozen=True)
class Scores:
    """One model's scores of a metric in a region (or their average), over the `cases` that have a value; sd: n-1."""

    model: str
    metric: str
    region: str
    cases: int
    mean: float
    sd: float
    median: float


@dataclass(frozen=True)
class Difference:
    """First minus second over paired cases, also where lower is better; NaN or infinite where not defined.

    Attributes:
        pairs: cases with a value of both models.
        dropped: the other cases.
        first_better: cases; `equal` and `second_better` likewise.
        low: with `high` the 95 % bootstrap interval of the mean.
        p: of Wilcoxon's test.
        rank_biserial: effect size of that test.
        dz: mean / sd, with the interval `dz_low` to `dz_high`.
        smallest_p_holm: the least that `p_holm` could be with so many differing pairs, whatever the scores.
        p_holm: `p` after Holm's correction over all tests of the comparison.
        cases_needed: for 80 % power at dz, were this the only test.
        cases_needed_in_table: the same at alpha over the number of tests.
        detectable: the true difference that so many pairs find with 80 % power, were this the only test.
    """

    first: str
    second: str
    metric: str
    region: str
    pairs: int
    dropped: int
    only_first_undefined: int
    only_second_undefined: int
    first_better: int
    equal: int
    second_better: int
    mean: float
    sd: float
    median: float
    low: float
    high: float
    p: float
    rank_biserial: float
    dz: float
    dz_low: float
    dz_high: float
    smallest_p_holm: float = np.nan
    p_holm: float = np.nan
    cases_needed: float = np.nan
    cases_needed_in_table: float = np.nan
    detectable: float = np.nan


@dataclass(frozen=True)
class Comparison:
    """All that a comparison found.

    Attributes:
        models: name -> folder of its predictions.
        regions: columns, the average last where there are several regions.
        tests: how many tests Holm's correction is over.
        caveats: what the numbers cannot support, a sentence each.
    """

    protocol: str
    reference: str
    models: Mapping[str, str]
    metrics: tuple[str, ...]
    regions: tuple[str, ...]
    cases: tuple[str, ...]
    against: str | None
    seed: int
    tests: int
    scores: tuple[Scores, ...]
    differences: tuple[Difference, ...]
    ranking: Ranking
    caveats: tuple[str, ...] = ()
