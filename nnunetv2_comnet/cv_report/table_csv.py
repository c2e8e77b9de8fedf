"""table.csv: a line per metric, model and column, for programs."""

import math

from nnunetv2_comnet.cv_report.content import Content
from nnunetv2_comnet.cv_report.summary import against_paper
from nnunetv2_comnet.text_tables import csv_table

HEADER = (
    "metric", "model", "trainer", "region", "cases", "folds", "mean", "sd", "best", "paper_mean", "paper_sd",
    "minus_paper", "data",
)  # fmt: skip


def as_csv(content: Content) -> str:
    """sd: over folds, n - 1. Empty where there is no number. data: utsw (the paper's), generated or other."""
    rows: list[list[object]] = []
    for table in content.tables:
        beside = {entry.name: entry for entry in against_paper(table)}
        for index, row in enumerate(table.rows):
            numbers = zip(table.columns, row.mean.tolist(), row.sd.tolist(), table.best, strict=True)
            for column, mean, sd, best in numbers:
                paper = beside.get(row.name)
                theirs = paper.paper.get(column, (math.nan, math.nan)) if paper else (math.nan, math.nan)
                difference = paper.difference.get(column, math.nan) if paper else math.nan
                what = [table.metric, row.name, row.trainer, column, row.cases, len(row.folds)]
                values = [mean, sd, "yes" if index in best else "", *theirs, difference]
                rows.append([*what, *values, content.data.kind])
    return csv_table(HEADER, rows)
