"""Tables as text, in Markdown, LaTeX, CSV and aligned columns, and the numbers, intervals and p values in them."""

import csv
import io
import math
import re
from collections.abc import Iterable, Sequence

UNDEFINED = "n/a"


def number(value: float | None, digits: int, *, sign: bool = False) -> str:
    """Writes a number with `digits` decimals, with its sign where `sign`; n/a for None, NaN and infinities."""
    if value is None or not math.isfinite(value):
        return UNDEFINED
    return f"{value:{'+' if sign else ''}.{digits}f}"


def interval(low: float, high: float, digits: int) -> str:
    """Writes an interval of differences: "-0.0124 to +0.0067"."""
    if not math.isfinite(low):
        return UNDEFINED
    return f"{number(low, digits, sign=True)} to {number(high, digits, sign=True)}"


def with_interval(mean: float, low: float, high: float, digits: int) -> str:
    """Writes a difference with its interval, where there is one: "+0.0218 (+0.0160 to +0.0291)"."""
    written = number(mean, digits, sign=True)
    return f"{written} ({interval(low, high, digits)})" if math.isfinite(low) else written


def p_value(p: float) -> str:
    """Writes a p value: "0.0123", and "<0.0001" for what would be 0.0000."""
    return "<0.0001" if p < 0.00005 else number(p, 4)


def three_digits(value: float) -> str:
    """Writes a measured number with three significant digits, a large one without decimals."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]], *, words: int = 1) -> str:
    """Writes a Markdown table: the first `words` columns, which hold words, to the left, numbers to the right."""
    rule = ["---" if column < words else "---:" for column in range(len(header))]
    lines = [header, rule, *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def aligned(header: Sequence[str], rows: Iterable[Sequence[str]], *, words: int = 1) -> str:
    """Writes a table for a terminal: the first `words` columns to the left, the others to the right, a rule below."""
    lines = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [
        "  ".join(
            cell.ljust(width) if column < words else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    return "\n".join([text[0], "-" * max(map(len, text)), *text[1:]])


def csv_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Writes a CSV table for programs: floats with six digits, an empty cell where a number is NaN or infinite."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_for_programs(cell) for cell in row] for row in rows)
    return text.getvalue()


def latex(header: Sequence[str], rows: Iterable[Sequence[str]], *, caption: str, label: str) -> str:
    """Writes a LaTeX table environment, for the package booktabs. A row's first cell is escaped, the others are not."""
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_escaped(caption)}}}",
        rf"\label{{{label}}}",
        rf"\begin{{tabular}}{{l{'c' * (len(header) - 1)}}}",
        r"\toprule",
        " & ".join(map(_escaped, header)) + r" \\",
        r"\midrule",
        *(" & ".join([_escaped(row[0]), *row[1:]]) + r" \\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines)


def _for_programs(cell: object) -> str:
    if isinstance(cell, float):
        return f"{cell:.6g}" if math.isfinite(cell) else ""
    return str(cell)


def _escaped(text: str) -> str:
    text = re.sub(r"([&%$#_{}])", r"\\\1", text.replace("\\", r"\textbackslash "))
    return text.replace("±", r"$\pm$").replace("n - 1", "$n-1$").replace("~", r"\textasciitilde ")
