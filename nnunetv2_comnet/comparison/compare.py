"""Compares models on the same cases: paired differences with interval, test and effect size, and the BraTS ranking."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np

from nnunetv2_comnet import statistics
from nnunetv2_comnet.comparison.outcome import ALPHA, Comparison, Difference, Scores
from nnunetv2_comnet.comparison.pairing import PairedScores, pair_cases
from nnunetv2_comnet.comparison.ranking import rank_models
from nnunetv2_comnet.comparison.verdict import caveats
from nnunetv2_comnet.errors import ConfigurationError
from nnunetv2_comnet.evaluation.results import METRICS, Evaluation
from nnunetv2_comnet.statistics import Table

# What each protocol's challenge ranks by: legacy (to 2022), 2023 and 2024 as published. For 2026 the source is a
# participant, who reports the organisers' reply in a forum.
RANKED_METRICS: Mapping[str, tuple[str, ...]] = {
    "legacy": ("dice", "hd95_mm"),
    "brats2023": ("lesion_dice", "lesion_hd95_mm"),
    "brats2024": ("lesion_dice", "lesion_hd95_mm"),
    "brats2026": ("dice", "nsd_1mm"),
}


def compare(
    evaluations: Mapping[str, Evaluation],
    *,
    metrics: Sequence[str] | None = None,
    against: str | None = None,
    seed: int = 0,
) -> Comparison:
    """Compares two models or more on the cases that all have.

    A missing prediction keeps the scores that its protocol gives; a case without a value is left out of that metric's
    pairs and counted.

    Args:
        evaluations: by the models' names.
        metrics: names of `METRICS`; None takes those that the protocol's challenge ranks by (`RANKED_METRICS`).
        against: the model that each other one is compared with; None compares all pairs.
        seed: of the bootstrap and of the permutation tests.

    Raises:
        ConfigurationError: a name or a metric cannot be compared.
        DataError: the evaluations differ in protocol or truth, or have no region or no case in common.
    """
    pairs, first = pairs_of(list(evaluations), against), next(iter(evaluations.values()))
    names = metrics_of(first.protocol, metrics)
    _check_values(evaluations, names)
    paired = pair_cases(evaluations, names)
    scores = tuple(
        Scores(model, metric, region, *statistics.describe(paired.column(model, metric, region)))
        for metric in paired.metrics
        for region in paired.columns
        for model in paired.models
    )
    differences = _corrected(
        [
            _difference(paired, *pair, metric, region, seed)
            for metric in paired.metrics
            for region in paired.columns
            for pair in pairs
        ]
    )
    ranking = rank_models(*paired.for_ranking(), pairs, seed)
    comparison = Comparison(
        protocol=first.protocol,
        reference=first.reference,
        models={name: evaluation.prediction for name, evaluation in evaluations.items()},
        metrics=paired.metrics,
        regions=paired.columns,
        cases=paired.cases,
        against=against,
        seed=seed,
        tests=_number_of_tests(differences),
        scores=scores,
        differences=tuple(differences),
        ranking=ranking,
    )
    return replace(comparison, caveats=(*paired.remarks, *caveats(comparison, ALPHA)))


def pairs_of(models: Sequence[str], against: str | None) -> list[tuple[str, str]]:
    """Lists all pairs in the order given, or each other model with `against`, which then comes second."""
    if len(models) < 2:
        raise ConfigurationError("a comparison needs two models or more; name another one, NAME=DIR")
    if against is None:
        return list(combinations(models, 2))
    if against not in models:
        raise ConfigurationError(f"there is no model '{against}' to compare with; there are: {', '.join(models)}")
    return [(model, against) for model in models if model != against]


def metrics_of(protocol: str, wanted: Sequence[str] | None) -> tuple[str, ...]:
    """Lists the metrics to compare, each once: those wanted, else those of the protocol's ranking."""
    names = wanted or RANKED_METRICS.get(protocol.split(":")[0], RANKED_METRICS["legacy"])
    for name in names:
        if name not in METRICS:
            comparable = [known for known, metric in METRICS.items() if metric.better is not None]
            raise ConfigurationError(f"unknown metric '{name}'; there are: {', '.join(comparable)}")
        if METRICS[name].better is None:
            raise ConfigurationError(f"metric '{name}' has no better direction, so no model can be ahead in it")
    return tuple(dict.fromkeys(names))


def _check_values(evaluations: Mapping[str, Evaluation], metrics: Sequence[str]) -> None:
    for metric in metrics:
        without = [model for model, evaluation in evaluations.items() if np.isnan(evaluation.table(metric)).all()]
        if without:
            raise ConfigurationError(
                f"metric '{metric}' has no value in the evaluation of {', '.join(without)}; leave it out, or evaluate "
                "with what it needs"
            )


def _difference(paired: PairedScores, first: str, second: str, metric: str, region: str, seed: int) -> Difference:
    of_first, of_second = paired.column(first, metric, region), paired.column(second, metric, region)
    no_first, no_second = np.isnan(of_first), np.isnan(of_second)
    differences = (of_first - of_second)[~(no_first | no_second)]
    signs = np.sign(differences.round(9)) * (1 if METRICS[metric].better == "higher" else -1)
    values: dict[str, Any] = {
        "pairs": len(differences),
        "dropped": int((no_first | no_second).sum()),
        "only_first_undefined": int((no_first & ~no_second).sum()),
        "only_second_undefined": int((no_second & ~no_first).sum()),
        "first_better": int((signs > 0).sum()),
        "equal": int((signs == 0).sum()),
        "second_better": int((signs < 0).sum()),
    }
    return Difference(first, second, metric, region, **values, **_statistics(differences, seed))


def _statistics(differences: Table, seed: int) -> dict[str, Any]:
    names = ("mean", "sd", "median", "low", "high", "p", "rank_biserial", "dz", "dz_low", "dz_high")
    values = dict.fromkeys(names, np.nan)
    if len(differences):
        values["mean"], values["median"] = float(differences.mean()), float(np.median(differences))
        values["p"] = statistics.wilcoxon(differences)
        values["rank_biserial"] = statistics.rank_biserial(differences)
    if len(differences) > 1:  # the resamples of one case are that case
        values["sd"] = float(differences.std(ddof=1))
        values["low"], values["high"] = statistics.paired_interval(differences, seed)
        values["dz"] = statistics.cohens_dz(differences)
        values["dz_low"], values["dz_high"] = statistics.standardised_interval(values["dz"], len(differences))
    return values


def _number_of_tests(differences: Sequence[Difference]) -> int:
    return sum(each.pairs > 0 for each in differences)


def _corrected(differences: Sequence[Difference]) -> list[Difference]:
    tests = max(1, _number_of_tests(differences))
    adjusted = statistics.holm([each.p for each in differences])
    # Holm's adjusted p only grow with the raw ones: adjusting the smallest possible gives the smallest possible.
    floors = [statistics.smallest_p(each.first_better + each.second_better) for each in differences]
    smallest = statistics.holm([f if each.pairs else np.nan for f, each in zip(floors, differences, strict=True)])
    return [
        replace(
            each,
            p_holm=p,
            smallest_p_holm=least,
            cases_needed=statistics.cases_needed(each.dz, ALPHA),
            cases_needed_in_table=statistics.cases_needed(each.dz, ALPHA / tests),
            detectable=statistics.detectable_difference(each.sd, each.pairs, ALPHA),
        )
        for each, p, least in zip(differences, adjusted, smallest, strict=True)
    ]
