"""The paper's table, and what stands beside it, as Markdown, LaTeX and CSV."""

import math
import re
from collections.abc import Callable, Sequence

from nnunetv2_comnet.cv_report.content import Content
from nnunetv2_comnet.cv_report.paper import DATA, PAPER
from nnunetv2_comnet.cv_report.summary import CvTable
from nnunetv2_comnet.evaluation.results import METRICS
from nnunetv2_comnet.text_tables import csv_table, latex, markdown, number, with_interval

CSV_HEADER = (
    "metric", "model", "trainer", "region", "cases", "folds", "mean", "sd", "best", "paper_mean", "paper_sd",
    "minus_paper", "data",
)  # fmt: skip
Cell = Callable[[float, float, int, bool], str]  # mean, deviation, digits, whether it is the best


def as_markdown(content: Content) -> str:
    """Writes the whole report as text: tables, the paper's figures, paired differences, notes."""
    parts = [f"# Cross-validation on {content.dataset}", f"Data: {content.data.remark}"]
    for table in content.tables:
        rows = markdown(["model", *table.columns], _rows(table, _markdown_cell))
        parts += [f"## {METRICS[table.metric].label}", caption(content, table), rows]
        parts += _paper_markdown(content, table)
    parts += _differences(content)
    if content.notes:
        parts += ["## What to know", "\n".join(f"- {note}" for note in content.notes)]
    return "\n\n".join(parts) + "\n"


def caption(content: Content, table: CvTable) -> str:
    """Says what the numbers of a table are, in a few sentences."""
    metric = METRICS[table.metric]
    better = "higher is better" if metric.better == "higher" else "lower is better"
    best = f" Bold: the best mean ({better}); whether a difference is more than chance, the paired table says."
    counts = sorted({len(row.folds) for row in table.rows})
    cases = sorted({row.cases for row in table.rows})
    return (
        f"{metric.label}, protocol {content.protocol}: mean ± standard deviation (n - 1) over "
        f"{_range(counts)} fold{'' if counts == [1] else 's'} of the mean over each fold's held-out cases; "
        f"{_range(cases)} cases." + (best if len(table.rows) > 1 else "")
    )


def as_latex(content: Content) -> str:
    """Writes a table environment per metric, and one for the paper's figures; needs the package booktabs."""
    return "\n\n".join(part for table in content.tables for part in _latex_tables(content, table)) + "\n"


def as_csv(content: Content) -> str:
    """Writes a line per metric, model and region for programs; an empty cell where there is no number."""
    rows: list[list[object]] = []
    for table in content.tables:
        for index, row in enumerate(table.rows):
            paper = table.beside_paper(row)
            numbers = zip(table.columns, row.mean.tolist(), row.sd.tolist(), table.best, strict=True)
            for column, mean, sd, best in numbers:
                what = [table.metric, row.name, row.trainer, column, row.cases, len(row.folds)]
                values = [mean, sd, "yes" if index in best else "", *paper.get(column, (math.nan,) * 3)]
                rows.append([*what, *values, content.data.kind])
    return csv_table(CSV_HEADER, rows)


def _rows(table: CvTable, cell: Cell) -> list[list[str]]:
    digits = METRICS[table.metric].digits
    rows = []
    for index, row in enumerate(table.rows):
        cells = [
            cell(mean, sd, digits, index in best)
            for mean, sd, best in zip(row.mean.tolist(), row.sd.tolist(), table.best, strict=True)
        ]
        rows.append([row.name, *cells])
    return rows


def _markdown_cell(mean: float, sd: float, digits: int, best: bool) -> str:
    text = number(mean, digits) + ("" if math.isnan(sd) else f" ± {number(sd, digits)}")
    return f"**{text}**" if best else text


def _latex_cell(mean: float, sd: float, digits: int, best: bool) -> str:
    text = _markdown_cell(mean, sd, digits, best=False).replace("±", r"$\pm$")
    return rf"\textbf{{{text}}}" if best else text


def _paper_rows(table: CvTable, cell: Cell, around: str = "") -> list[list[str]]:
    """Writes two lines for each of the paper's models: its figures, and ours minus them (`around`: LaTeX's dollar)."""
    digits, rows = METRICS[table.metric].digits, []
    for row in table.rows:
        if paper := table.beside_paper(row):
            theirs = [paper.get(column) for column in table.columns]
            figures = [cell(*of[:2], digits, False) if of else "" for of in theirs]
            differences = [f"{around}{number(of[2], digits, sign=True)}{around}" if of else "" for of in theirs]
            name = PAPER[row.trainer].name
            rows += [[f"{name}, the paper", *figures], [f"{row.name} minus the paper's", *differences]]
    return rows


def _paper_markdown(content: Content, table: CvTable) -> list[str]:
    rows = _paper_rows(table, _markdown_cell)
    if not rows:
        return []
    mark = "" if content.data.is_the_papers else f"**{content.data.remark}**"
    lead = f"Beside the paper's own figures ({DATA}, five-fold; its kind of deviation is not stated)."
    return ["### The paper's figures", f"{lead} {mark}".strip(), markdown(["model", *table.columns], rows)]


def _differences(content: Content) -> list[str]:
    comparison = content.comparison
    if comparison is None:
        return []
    parts = [
        "## Paired differences",
        "First minus second, mean over cases with its 95 % bootstrap interval (cases resampled); comparison.md has the "
        "tests. An interval that holds 0 does not support a difference.",
    ]
    for metric in comparison.metrics:
        digits = METRICS[metric].digits
        rows: dict[tuple[str, str], list[str]] = {}
        for each in (each for each in comparison.differences if each.metric == metric):
            row = rows.setdefault((each.first, each.second), [f"{each.first} - {each.second}", str(each.pairs)])
            row.append(with_interval(each.mean, each.low, each.high, digits))
        parts.append(markdown([METRICS[metric].label, "cases", *comparison.regions], rows.values()))
    parts.append("\n".join(f"- {caveat}" for caveat in comparison.caveats))
    return [part for part in parts if part]


def _latex_tables(content: Content, table: CvTable) -> list[str]:
    label = re.sub("[^a-z0-9]+", "-", table.metric)
    header, ours = ["model", *table.columns], caption(content, table) + f" Data: {content.data.title}."
    found = [latex(header, _rows(table, _latex_cell), caption=ours, label=f"tab:cv-{label}")]
    paper = _paper_rows(table, _latex_cell, "$")
    if paper:
        text = f"The paper's figures and ours minus them. {content.data.remark}"
        found.append(latex(header, paper, caption=text, label=f"tab:cv-{label}-paper"))
    return found


def _range(counts: Sequence[int]) -> str:
    return str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
