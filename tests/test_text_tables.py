"""Tables and numbers as text, by hand."""

import math

import pytest

from nnunetv2_comnet.text_tables import aligned, csv_table, interval, latex, markdown, number, p_value, with_interval

HEADER, ROWS = ("model", "Dice"), (("a|b", "0.5"), ("longer", "n/a"))


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (number(0.123456, 4), "0.1235"),
        (number(2, 2, sign=True), "+2.00"),
        (number(None, 4), "n/a"),
        (number(math.nan, 4), "n/a"),
        (number(math.inf, 4), "n/a"),
        (interval(-0.01, 0.02, 3), "-0.010 to +0.020"),
        (interval(math.nan, math.nan, 3), "n/a"),
        (with_interval(0.5, 0.25, 0.75, 2), "+0.50 (+0.25 to +0.75)"),
        (with_interval(0.5, math.nan, math.nan, 2), "+0.50"),
        (with_interval(math.nan, math.nan, math.nan, 2), "n/a"),
        (p_value(0.03125), "0.0312"),
        (p_value(0.00004), "<0.0001"),
        (p_value(math.nan), "n/a"),
    ],
)
def test_numbers(written: str, expected: str) -> None:
    assert written == expected


def test_markdown_escapes_the_bar() -> None:
    assert markdown(HEADER, ROWS).splitlines() == [
        "| model | Dice |",
        "| --- | ---: |",
        "| a\\|b | 0.5 |",
        "| longer | n/a |",
    ]


def test_aligned_columns() -> None:
    assert aligned(HEADER, ROWS).splitlines() == [
        "model   Dice",
        "------------",
        "a|b      0.5",
        "longer   n/a",
    ]
    assert aligned(HEADER, ROWS, words=2).splitlines()[2] == "a|b     0.5"


def test_csv_leaves_what_is_not_defined_empty() -> None:
    assert csv_table(("a", "b, c"), [["x", 1 / 3], [2, math.nan], ["", math.inf]]) == 'a,"b, c"\nx,0.333333\n2,\n,\n'


def test_latex_escapes_words() -> None:
    text = latex(HEADER, [["50 % of a_b", r"\textbf{0.5}"]], caption="A & B", label="tab:x")
    assert r"\caption{A \& B}" in text
    assert r"50 \% of a\_b & \textbf{0.5} \\" in text
    assert r"\begin{tabular}{lc}" in text
