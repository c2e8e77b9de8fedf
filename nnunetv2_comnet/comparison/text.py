"""A comparison for readers: aligned text for a terminal, Markdown, and one CSV line per difference."""

import csv
import io
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from nnunetv2_comnet.comparison.outcome import ALPHA, Comparison, Difference, Scores
from nnunetv2_comnet.comparison.ranking import PERMUTATIONS
from nnunetv2_comnet.comparison.verdict import (
    NOT_SHOWN,
    UNCLEAR,
    as_json,
    p_text,
    reading,
    signed_text,
    value_text,
    verdict,
)
from nnunetv2_comnet.evaluation.results import METRICS
from nnunetv2_comnet.files import write_json, write_text

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


def write_comparison(comparison: Comparison, folder: Path) -> None:
    """comparison.json, comparison.md and comparison.csv, each whole or not at all."""
    write_json(folder / JSON, as_json(comparison))
    write_text(folder / MARKDOWN, as_markdown(comparison))
    write_text(folder / CSV, as_csv(comparison))


def as_text(comparison: Comparison) -> str:
    """For a terminal: tables, caveats, and in a sentence each what is not settled (the first of them, if many)."""
    parts = [_title(comparison)]
    for section in _sections(comparison):
        parts.append("\n".join(filter(None, (section.heading, section.sentence, _aligned(section)))))
    parts.append(
        "\n".join([SUPPORT, "", *(f"- {line}" for line in (*comparison.caveats, *_open_questions(comparison)))])
    )
    return "\n\n".join(parts)


def as_markdown(comparison: Comparison) -> str:
    """The same as headings, tables and lists."""
    parts = ["# Comparison", _title(comparison)]
    for section in _sections(comparison):
        parts += [f"## {section.heading}", *([section.sentence] if section.sentence else []), _piped(section)]
    parts += [f"## {SUPPORT}", "\n".join(f"- {line}" for line in comparison.caveats)]
    readings = [reading(each, comparison.tests, ALPHA) for each in comparison.differences]
    parts += ["## Each difference in words", "\n".join(f"- {line}" for line in readings)]
    return "\n\n".join(parts) + "\n"


def as_csv(comparison: Comparison) -> str:
    """A line per pair, metric and region: both models' scores, then the difference; empty where not defined."""
    names = [field.name for field in fields(Difference)]
    what, numbers = names[:4], names[4:]
    of_model = ("cases", "mean", "sd", "median")
    scores = {(each.model, each.metric, each.region): each for each in comparison.scores}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*what, *(f"{which}_{n}" for which in ("first", "second") for n in of_model), *numbers, "verdict"])
    for each in comparison.differences:
        both = [scores[model, each.metric, each.region] for model in (each.first, each.second)]
        row = [getattr(each, name) for name in what]
        row += [getattr(of, name) for of in both for name in of_model]
        row += [getattr(each, name) for name in numbers]
        writer.writerow([*map(_cell, row), verdict(each, ALPHA)])
    return text.getvalue()


def _cell(value: str | float) -> str:
    if isinstance(value, float):
        return f"{value:.6g}" if math.isfinite(value) else ""
    return str(value)


def _title(comparison: Comparison) -> str:
    count = len(comparison.cases)
    return (
        f"{len(comparison.models)} models on {count} {'case' if count == 1 else 'cases'}, paired by case, scored by "
        f"protocol {comparison.protocol}."
    )


def _open_questions(comparison: Comparison) -> Iterator[str]:
    """What the table's verdict alone does not tell: unclear and not shown. The caveats speak of too few cases."""
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
        numbers = (value_text(value, of.metric) for value in (of.mean, of.sd, of.median))
        return [METRICS[of.metric].label, of.region, of.model, str(of.cases), *numbers]

    header = ("metric", "region", "model", "cases", "mean", "SD", "median")
    return _Section("Scores", "", 3, header, [row(of) for of in comparison.scores])


def _differences(comparison: Comparison, metric: str) -> _Section:
    def row(of: Difference) -> list[str]:
        numbers = [signed_text(value, metric) for value in (of.mean, of.low, of.high, of.median)]
        mean, low, high, median = numbers
        counts = f"{of.first_better} / {of.equal} / {of.second_better}"
        interval = f"{low} to {high}" if math.isfinite(of.low) else "n/a"
        return [of.region, _pair(of), verdict(of, ALPHA), str(of.pairs), mean, interval, median, counts]

    return _Section(
        f"Differences: {METRICS[metric].label} ({METRICS[metric].better} is better)",
        "First minus second. Counts: cases on which the first is better, both are equal, the second is better.",
        3,
        ("region", "first - second", "verdict", "pairs", "mean", "95 % interval", "median", "better/equal/worse"),
        [row(of) for of in comparison.differences if of.metric == metric],
    )


def _tests(comparison: Comparison) -> _Section:
    def row(of: Difference) -> list[str]:
        p_values = [p_text(p) for p in (of.p, of.p_holm, of.smallest_p_holm)]
        interval = f"{_number(of.dz_low)} to {_number(of.dz_high)}" if not math.isnan(of.dz_low) else "n/a"
        effects = [_number(of.rank_biserial), _number(of.dz), interval]
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
        [[model, f"{ranking.mean_ranks[model]:.3f}"] for model in ranking.order],
    )


def _rank_tests(comparison: Comparison) -> _Section:
    ranking = comparison.ranking
    how = f"all 2^{ranking.cases} swaps" if ranking.exact else f"{PERMUTATIONS:,} random swaps"
    rows = [
        [
            f"{of.first} - {of.second}",
            f"{of.difference:+.3f}",
            f"{of.low:+.3f} to {of.high:+.3f}",
            p_text(of.p),
            p_text(of.p_holm),
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


def _number(value: float) -> str:
    return f"{value:+.2f}" if math.isfinite(value) else "n/a"


def _needed(difference: Difference) -> str:
    def count(cases: float) -> str:
        if math.isnan(cases):
            return "n/a"
        return f"{cases:.0f}" if cases < 100_000 else ">99999"

    return f"{count(difference.cases_needed)} / {count(difference.cases_needed_in_table)}"


def _aligned(section: _Section) -> str:
    rows = [list(section.header), *section.rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(section.header))]
    align: list[Callable[[str, int], str]] = [
        str.ljust if column < section.words else str.rjust for column in range(len(widths))
    ]
    lines = ["  ".join(a(cell, w) for a, cell, w in zip(align, row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def _piped(section: _Section) -> str:
    rule = ["---" if column < section.words else "---:" for column in range(len(section.header))]
    lines = [section.header, rule, *section.rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
