"""Writes a comparison: aligned text for a terminal, Markdown, one CSV line per difference, and all of it as JSON."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from nnunetv2_comnet import statistics
from nnunetv2_comnet.comparison.outcome import ALPHA, Comparison, Difference, Scores
from nnunetv2_comnet.comparison.ranking import PERMUTATIONS
from nnunetv2_comnet.comparison.verdict import NOT_SHOWN, UNCLEAR, digits_of, reading, verdict
from nnunetv2_comnet.evaluation.results import METRICS
from nnunetv2_comnet.files import write_json, write_text
from nnunetv2_comnet.text_tables import UNDEFINED, aligned, csv_table, interval, markdown, number, p_value

FORMAT = 1  # of comparison.json
JSON, MARKDOWN, CSV = "comparison.json", "comparison.md", "comparison.csv"
SUPPORT = "What these numbers support"
MOST_READINGS = 8  # on a terminal


@dataclass(frozen=True)
class _Section:
    """A heading, a sentence or "", and a table; the first `words` columns hold words, the others numbers."""

    heading: str
    sentence: str
    words: int
    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def written(self, as_table: Callable[..., str]) -> str:
        return as_table(self.header, self.rows, words=self.words)


def write_comparison(comparison: Comparison, folder: Path) -> None:
    """Writes comparison.json, comparison.md and comparison.csv, each whole or not at all."""
    write_json(folder / JSON, as_json(comparison))
    write_text(folder / MARKDOWN, as_markdown(comparison))
    write_text(folder / CSV, as_csv(comparison))


def as_text(comparison: Comparison) -> str:
    """Writes for a terminal: tables, caveats, and a sentence for each of the first differences that are not settled."""
    parts = [_title(comparison)]
    for section in _sections(comparison):
        parts.append("\n".join(filter(None, (section.heading, section.sentence, section.written(aligned)))))
    parts.append(
        "\n".join([SUPPORT, "", *(f"- {line}" for line in (*comparison.caveats, *_open_questions(comparison)))])
    )
    return "\n\n".join(parts)


def as_markdown(comparison: Comparison) -> str:
    """Writes the comparison as headings, tables and lists, with every difference in words."""
    parts = ["# Comparison", _title(comparison)]
    for section in _sections(comparison):
        parts += [f"## {section.heading}", *([section.sentence] if section.sentence else []), section.written(markdown)]
    parts += [f"## {SUPPORT}", "\n".join(f"- {line}" for line in comparison.caveats)]
    readings = [reading(each, comparison.tests, ALPHA) for each in comparison.differences]
    parts += ["## Each difference in words", "\n".join(f"- {line}" for line in readings)]
    return "\n\n".join(parts) + "\n"


def as_csv(comparison: Comparison) -> str:
    """Writes a line per pair, metric and region: both models' scores, then the difference; empty where not defined."""
    names = [field.name for field in fields(Difference)]
    what, numbers = names[:4], names[4:]
    of_model = ("cases", "mean", "sd", "median")
    scores = {(each.model, each.metric, each.region): each for each in comparison.scores}
    header = [*what, *(f"{which}_{n}" for which in ("first", "second") for n in of_model), *numbers, "verdict"]
    rows = []
    for each in comparison.differences:
        both = [scores[model, each.metric, each.region] for model in (each.first, each.second)]
        rows.append(
            [
                *(getattr(each, name) for name in what),
                *(getattr(of, name) for of in both for name in of_model),
                *(getattr(each, name) for name in numbers),
                verdict(each, ALPHA),
            ]
        )
    return csv_table(header, rows)


def finite_or_none(value: Any) -> Any:
    """Replaces NaN and infinities of a nested value, which JSON does not know, by None."""
    if isinstance(value, dict):
        return {key: finite_or_none(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite_or_none(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Turns the comparison into plain values; None where a number is not defined or infinite."""
    content = {
        "format": FORMAT,
        "protocol": comparison.protocol,
        "reference": comparison.reference,
        "models": dict(comparison.models),
        "metrics": list(comparison.metrics),
        "regions": list(comparison.regions),
        "cases": list(comparison.cases),
        "settings": {
            "against": comparison.against,
            "seed": comparison.seed,
            "alpha": ALPHA,
            "confidence": statistics.CONFIDENCE,
            "power": statistics.POWER,
            "resamples": statistics.RESAMPLES,
            "tests_corrected_by_holm": comparison.tests,
        },
        "scores": [asdict(scores) for scores in comparison.scores],
        "differences": [
            {**asdict(each), "verdict": verdict(each, ALPHA), "reading": reading(each, comparison.tests, ALPHA)}
            for each in comparison.differences
        ],
        "ranking": {**asdict(comparison.ranking), "order": comparison.ranking.order},
        "caveats": list(comparison.caveats),
    }
    return dict(finite_or_none(content))


def _title(comparison: Comparison) -> str:
    count = len(comparison.cases)
    return (
        f"{len(comparison.models)} models on {count} {'case' if count == 1 else 'cases'}, paired by case, scored by "
        f"protocol {comparison.protocol}."
    )


def _open_questions(comparison: Comparison) -> Iterator[str]:
    """Explains the verdicts "unclear" and "not shown"; the caveats speak of too few cases."""
    unsettled = [each for each in comparison.differences if verdict(each, ALPHA) in (UNCLEAR, NOT_SHOWN)]
    for difference in unsettled[:MOST_READINGS]:
        yield reading(difference, comparison.tests, ALPHA)
    if len(unsettled) > MOST_READINGS:
        yield f"{len(unsettled) - MOST_READINGS} more that are unclear or not shown: -o DIR writes all in words."


def _sections(comparison: Comparison) -> Iterator[_Section]:
    yield _scores(comparison)
    for metric in comparison.metrics:
        yield _differences(comparison, metric)
    yield _tests(comparison)
    yield _ranks(comparison)
    yield _rank_tests(comparison)


def _scores(comparison: Comparison) -> _Section:
    def row(of: Scores) -> list[str]:
        numbers = (number(value, digits_of(of.metric)) for value in (of.mean, of.sd, of.median))
        return [METRICS[of.metric].label, of.region, of.model, str(of.cases), *numbers]

    header = ("metric", "region", "model", "cases", "mean", "SD", "median")
    return _Section("Scores", "", 3, header, [row(of) for of in comparison.scores])


def _differences(comparison: Comparison, metric: str) -> _Section:
    def row(of: Difference) -> list[str]:
        mean, median = (number(value, digits_of(metric), sign=True) for value in (of.mean, of.median))
        within = interval(of.low, of.high, digits_of(metric))
        counts = f"{of.first_better} / {of.equal} / {of.second_better}"
        return [of.region, _pair(of), verdict(of, ALPHA), str(of.pairs), mean, within, median, counts]

    return _Section(
        f"Differences: {METRICS[metric].label} ({METRICS[metric].better} is better)",
        "First minus second. Counts: cases on which the first is better, both are equal, the second is better.",
        3,
        ("region", "first - second", "verdict", "pairs", "mean", "95 % interval", "median", "better/equal/worse"),
        [row(of) for of in comparison.differences if of.metric == metric],
    )


def _tests(comparison: Comparison) -> _Section:
    def row(of: Difference) -> list[str]:
        p_values = [p_value(p) for p in (of.p, of.p_holm, of.smallest_p_holm)]
        effects = [
            *(number(size, 2, sign=True) for size in (of.rank_biserial, of.dz)),
            interval(of.dz_low, of.dz_high, 2),
        ]
        return [METRICS[of.metric].label, of.region, _pair(of), *p_values, *effects, _needed(of)]

    return _Section(
        "Tests and effect sizes",
        f"Wilcoxon signed-rank, two-sided; Holm over the {comparison.tests} tests of this table. least: the smallest p "
        "after Holm that so many differing pairs allow. r: matched-pairs rank-biserial. dz: mean over SD of the "
        "differences. needed: cases for 80 % power at this dz (and as uncertain), in a single test / at this table's "
        "strictest level.",
        3,
        ("metric", "region", "first - second", "p", "p Holm", "least", "r", "dz", "95 % interval", "needed"),
        [row(of) for of in comparison.differences],
    )


def _ranks(comparison: Comparison) -> _Section:
    ranking = comparison.ranking
    left_out = f"; {ranking.left_out} without a value of every model left out" if ranking.left_out else ""
    return _Section(
        "Ranks by the BraTS scheme",
        f"Per case, region and metric ({', '.join(METRICS[name].label for name in comparison.metrics)}), 1 is best, "
        f"ties average; then the mean over {ranking.cells} ranks of {ranking.cases} cases{left_out}.",
        1,
        ("model", "mean rank"),
        [[model, number(ranking.mean_ranks[model], 3)] for model in ranking.order],
    )


def _rank_tests(comparison: Comparison) -> _Section:
    ranking = comparison.ranking
    how = f"all 2^{ranking.cases} swaps" if ranking.exact else f"{PERMUTATIONS:,} random swaps"
    rows = [
        [
            f"{of.first} - {of.second}",
            number(of.difference, 3, sign=True),
            interval(of.low, of.high, 3),
            p_value(of.p),
            p_value(of.p_holm),
        ]
        for of in ranking.tests
    ]
    return _Section(
        "Permutation tests of the ranks",
        f"Two models' ranks swapped case by case, {how}, two-sided; Holm over {len(rows)} "
        f"{'pair' if len(rows) == 1 else 'pairs'}. Below 0 the first is better.",
        1,
        ("first - second", "ranks apart", "95 % interval", "p", "p Holm"),
        rows,
    )


def _pair(difference: Difference) -> str:
    return f"{difference.first} - {difference.second}"


def _needed(difference: Difference) -> str:
    def count(cases: float) -> str:
        if math.isnan(cases):
            return UNDEFINED
        return f"{cases:.0f}" if cases < 100_000 else ">99999"

    return f"{count(difference.cases_needed)} / {count(difference.cases_needed_in_table)}"
