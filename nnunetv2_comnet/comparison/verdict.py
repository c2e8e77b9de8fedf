"""Says what a comparison's numbers can and cannot support: a verdict per difference, and the caveats of all."""

import math
import re
from collections import Counter

from nnunetv2_comnet.comparison.outcome import Comparison, Difference
from nnunetv2_comnet.evaluation.results import METRICS
from nnunetv2_comnet.statistics import pairs_for_significance, smallest_p
from nnunetv2_comnet.text_tables import number, p_value, with_interval

NO_PAIRS, EQUAL, TOO_FEW, UNCLEAR, NOT_SHOWN = "no pairs", "equal", "too few cases", "unclear", "not shown"
FEW_FOR_BOOTSTRAP = 20
MOST_CASES = 1_000_000  # more are said to be more
_PATIENT = re.compile(r"(.*\d{4,})-\d{3}$")  # BraTS: the patient, then the scan


def verdict(difference: Difference, alpha: float) -> str:
    """Judges a difference: 'NAME better' where Holm's p, the interval and both directions agree; else a constant."""
    if difference.pairs == 0:
        return NO_PAIRS
    if difference.first_better + difference.second_better == 0:
        return EQUAL
    if difference.smallest_p_holm > alpha:
        return TOO_FEW
    significant, excludes_zero = difference.p_holm <= alpha, difference.low > 0 or difference.high < 0
    if significant and excludes_zero and difference.mean * difference.rank_biserial > 0:
        return f"{ahead(difference)} better"
    return UNCLEAR if significant or excludes_zero else NOT_SHOWN


def ahead(difference: Difference) -> str:
    """Names the model with the better mean."""
    first_is_higher = difference.mean > 0
    return difference.first if first_is_higher == (METRICS[difference.metric].better == "higher") else difference.second


def reading(difference: Difference, tests: int, alpha: float) -> str:
    """Writes the difference in a sentence, with what it would take to show it where it is not shown."""
    found = verdict(difference, alpha)
    head = f"{METRICS[difference.metric].label}, {difference.region}, {difference.first} - {difference.second}: "
    said = {
        NO_PAIRS: lambda: "no case has a value of both models; nothing can be said.",
        EQUAL: lambda: f"equal on all {difference.pairs} cases.",
        TOO_FEW: lambda: _too_few(difference, tests, alpha),
        UNCLEAR: lambda: _unclear(difference, alpha),
        NOT_SHOWN: lambda: _not_shown(difference),
    }.get(found, lambda: _shown(difference))()
    return head + said + _dropped(difference)


def _too_few(difference: Difference, tests: int, alpha: float) -> str:
    differing = difference.first_better + difference.second_better
    return (
        f"too few cases. {differing} of {difference.pairs} pairs differ: p cannot be below "
        f"{p_value(smallest_p(differing))}, nor below {p_value(difference.smallest_p_holm)} after Holm, whatever the "
        f"scores; the clearest of {tests} tests needs {pairs_for_significance(tests, alpha)} pairs that differ. "
        f"Seen: {_mean_and_interval(difference)}."
    )


def _shown(difference: Difference) -> str:
    wins, losses = difference.first_better, difference.second_better
    if ahead(difference) == difference.second:
        wins, losses = losses, wins
    return (
        f"{ahead(difference)} is better: {_mean_and_interval(difference)}, p {p_value(difference.p_holm)} after Holm; "
        f"better on {wins}, equal on {difference.equal}, worse on {losses} of {difference.pairs} cases."
    )


def _unclear(difference: Difference, alpha: float) -> str:
    corrected, plain = p_value(difference.p_holm), p_value(difference.p)
    if difference.p_holm > alpha:
        return (
            f"unclear. The interval excludes 0, {_mean_and_interval(difference)}, but p is {corrected} after Holm "
            f"({plain} before); {_needed(difference)}."
        )
    if difference.low <= 0 <= difference.high:
        return (
            f"unclear. The ranks of the differences differ from chance (p {corrected} after Holm), but the mean "
            f"difference is not settled: {_mean_and_interval(difference)}; first better on {difference.first_better}, "
            f"second on {difference.second_better} cases."
        )
    return (
        f"unclear. The mean favours {ahead(difference)}, {_mean_and_interval(difference)}, the ranks the other (p "
        f"{corrected} after Holm): a few cases with large differences carry the mean."
    )


def _not_shown(difference: Difference) -> str:
    width = difference.high - difference.low
    ratio = f", {width / abs(difference.mean):.3g} times as wide as the difference" if difference.mean else ""
    found = (
        f"{difference.pairs} cases find, with 80 % power and in a single test, a true difference of "
        f"{number(difference.detectable, digits_of(difference.metric))} or more"
        if math.isfinite(difference.detectable)
        else f"{difference.pairs} cases are too few to speak of power"
    )
    return (
        f"not shown. {_mean_and_interval(difference)}: the interval holds 0{ratio}. {found[0].upper() + found[1:]}; "
        f"{_needed(difference)}."
    )


def _needed(difference: Difference) -> str:
    if not difference.cases_needed <= MOST_CASES:
        return f"at the effect seen no affordable number of cases would do (more than {MOST_CASES:,})"
    return (
        f"were the effect seen the true one, 80 % power would take about {difference.cases_needed:,.0f} cases in a "
        f"single test, {difference.cases_needed_in_table:,.0f} in this table"
    )


def _dropped(difference: Difference) -> str:
    if not difference.dropped:
        return ""
    cases = "1 case" if difference.dropped == 1 else f"{difference.dropped} cases"
    return f" {cases} left out: without a value in one of both."


def caveats(comparison: Comparison, alpha: float) -> list[str]:
    """Lists what the whole comparison cannot support, a sentence each, the most serious first."""
    differences = comparison.differences
    verdicts = Counter(verdict(difference, alpha) for difference in differences)
    said = []
    if verdicts[TOO_FEW]:
        tests, unable = comparison.tests, verdicts[TOO_FEW]
        who = f"{'None' if unable == tests else unable} of the {tests} tests {'can' if unable == tests else 'cannot'}"
        who = "The one test cannot" if tests == 1 else who
        said.append(
            f"{who} reach p {alpha:g} with so few cases, whatever the scores: the clearest of them needs "
            f"{pairs_for_significance(tests, alpha)} pairs that differ (2 / 2^pairs, times {tests} by Holm)."
        )
    rank_tests = len(comparison.ranking.tests)
    if rank_tests * smallest_p(comparison.ranking.cases) > alpha:
        said.append(
            f"The rank test cannot reach p {alpha:g} with {comparison.ranking.cases} cases, whatever the ranks."
        )
    pairs = [difference.pairs for difference in differences if difference.pairs]
    if pairs and min(pairs) < FEW_FOR_BOOTSTRAP:
        said.append(
            f"With {min(pairs)} pairs the bootstrap intervals are too narrow: of 95 % intervals about 85 % hold the "
            "truth with 5 pairs, 90 % with 10, 93 % with 20, fewer where rare failures decide the mean."
        )
    said += _blind_spots(comparison)
    if verdicts[NOT_SHOWN] or verdicts[TOO_FEW]:
        said.append("Not shown does not mean equal: every difference inside an interval remains possible.")
    said += _repeated_patients(comparison.cases)
    said.append(
        "Intervals and p are about further cases like these and these trained models; another training run may differ."
    )
    return said


def _blind_spots(comparison: Comparison) -> list[str]:
    said = []
    for each in comparison.differences:
        for count, without, other in (
            (each.only_first_undefined, each.first, each.second),
            (each.only_second_undefined, each.second, each.first),
        ):
            if count:
                said.append(
                    f"{METRICS[each.metric].label}, {each.region}: {count} {'case' if count == 1 else 'cases'} with a "
                    f"value for {other} and none for {without}, left out of this pair: the comparison is blind there."
                )
    return said


def _repeated_patients(cases: tuple[str, ...]) -> list[str]:
    patients = Counter(match[1] for case in cases if (match := _PATIENT.match(case)))
    repeated = sum(count > 1 for count in patients.values())
    if not repeated:
        return []
    return [
        f"{repeated} {'patient has' if repeated == 1 else 'patients have'} several cases, which are treated as "
        "independent: intervals and p are smaller than they should be."
    ]


def _mean_and_interval(of: Difference) -> str:
    return with_interval(of.mean, of.low, of.high, digits_of(of.metric))


def digits_of(metric: str) -> int:
    """Decimals of a metric's means and differences; counts and volumes get two."""
    return METRICS[metric].digits or 2
