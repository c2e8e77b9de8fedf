"""The report beside the dataset: one row per case as CSV, the same and the totals as JSON. Neither holds a date, so
that a second run writes the same bytes."""

from collections.abc import Mapping, Sequence
from typing import Any

from nnunetv2_comnet.crossval import Split
from nnunetv2_comnet.dataset_conversion.case import CaseResult
from nnunetv2_comnet.dataset_conversion.findings import Severity
from nnunetv2_comnet.dataset_conversion.metadata import Metadata
from nnunetv2_comnet.files import json_text
from nnunetv2_comnet.text_tables import csv_table


def count_codes(results: Sequence[CaseResult], severity: Severity) -> dict[str, list[str]]:
    """Lists, for each code of that severity, the cases that have it, most frequent code first."""
    cases: dict[str, list[str]] = {}
    for result in results:
        for code in result.codes(severity):
            cases.setdefault(code, []).append(result.case)
    return dict(sorted(cases.items(), key=lambda item: (-len(item[1]), item[0])))


def rows(results: Sequence[CaseResult], splits: Sequence[Split], metadata: Metadata) -> list[dict[str, Any]]:
    """Makes a flat row per case. `fold` is the fold in which the case is validated; voxels count written labels."""
    fold_of = {case: index for index, split in enumerate(splits) for case in split["val"]}
    labels = sorted({label for result in results for label in result.voxels})
    table = []
    for result in results:
        row: dict[str, Any] = {
            "case": result.case,
            "patient": result.patient,
            "status": "converted" if result.converted else "excluded",
            "reasons": " ".join(result.codes("error")),
            "warnings": " ".join(result.codes("warning")),
            "mask_source": result.mask_kind,
            "mask_file": result.mask_file,
            "label_map": result.label_map,
            "fold": fold_of.get(result.case, ""),
            "links": result.links,
            "shape": "x".join(map(str, result.shape)),
            "spacing_mm": "x".join(f"{value:g}" for value in result.spacing_mm),
            **{f"voxels_{label}": result.voxels.get(label, "") for label in labels},
            "details": " | ".join(finding.text for finding in result.findings),
        }
        found = metadata.of(result.case, result.patient) or {}
        table.append(row | {f"metadata: {column}": found.get(column, "") for column in metadata.columns})
    return table


def as_csv(table: Sequence[Mapping[str, Any]]) -> str:
    return csv_table(list(table[0]), [list(row.values()) for row in table])


def as_json(
    table: Sequence[Mapping[str, Any]], results: Sequence[CaseResult], options: Mapping[str, Any], metadata: Metadata
) -> str:
    """Writes totals, the options that made the dataset, and for each case its row and its findings in full."""
    content = {
        "options": options,
        "converted": sum(result.converted for result in results),
        "excluded": sum(not result.converted for result in results),
        "links": sum(result.links for result in results),
        "reasons": {code: len(cases) for code, cases in count_codes(results, "error").items()},
        "warnings": {code: len(cases) for code, cases in count_codes(results, "warning").items()},
        "metadata_file": metadata.path.name if metadata.path else None,
        "cases": [
            {**row, "findings": [vars(finding) for finding in result.findings]}
            for row, result in zip(table, results, strict=True)
        ],
    }
    return json_text(content)
