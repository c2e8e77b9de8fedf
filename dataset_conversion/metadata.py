"""Reads a table about the patients (TSV or CSV) and finds a case's row by the case's or the patient's identifier."""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nnunetv2_comnet.dataset_conversion.layouts.base import Layout
from nnunetv2_comnet.errors import ConfigurationError, DataError


@dataclass(frozen=True)
class Metadata:
    """`rows` maps identifiers to rows; `columns` is the header without the key. Empty where no table was given."""

    path: Path | None = None
    columns: tuple[str, ...] = ()
    rows: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def of(self, case: str, patient: str) -> Mapping[str, str] | None:
        """Returns the row of the case, else of its patient, else None."""
        return self.rows.get(case) or self.rows.get(patient)

    def require_column(self, column: str) -> None:
        """Raises `ConfigurationError`, with the columns there are, unless `column` is one of them."""
        if self.path is None:
            raise ConfigurationError(f"--stratify '{column}' needs a table: give it with --metadata FILE")
        if column not in self.columns:
            raise ConfigurationError(
                f"--stratify: {self.path} has no column '{column}'; it has: {', '.join(self.columns)}"
            )


def find_metadata_file(source: Path, layout: Layout) -> Path | None:
    """Finds the layout's own table where exactly one lies in SOURCE or in the folder above it."""
    for folder in (source, source.resolve().parent):
        hits = sorted(folder.glob(layout.metadata_file)) if layout.metadata_file else []
        if len(hits) == 1:
            return hits[0]
    return None


def read_metadata(path: Path, key: str | None) -> Metadata:
    """Reads the table; `key` is the column of identifiers. Raises `DataError` or `ConfigurationError`."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as problem:
        raise DataError(f"the metadata file {path} cannot be read: {problem.strerror}") from problem
    except UnicodeDecodeError as problem:
        raise DataError(f"the metadata file {path} is not text in UTF-8; save it as TSV or CSV") from problem
    lines = list(csv.reader(text.splitlines(), delimiter=_delimiter(path, text)))
    if not lines or not any(lines[0]):
        raise DataError(f"the metadata file {path} is empty; its first line must name the columns")
    header = [name.strip() for name in lines[0]]
    if key is None:
        raise ConfigurationError(f"--metadata-key must name the column of identifiers in {path}: {', '.join(header)}")
    if key not in header:
        raise ConfigurationError(f"{path} has no column '{key}' (--metadata-key); it has: {', '.join(header)}")
    rows: dict[str, dict[str, str]] = {}
    for cells in lines[1:]:
        row = {name: cell.strip() for name, cell in zip(header, cells, strict=False)}
        identifier = row.pop(key, "")
        if identifier and rows.setdefault(identifier, row) != row:
            raise DataError(f"the metadata file {path} has two different rows for '{identifier}'; keep one")
    return Metadata(path, tuple(name for name in header if name and name != key), rows)


def unmatched(metadata: Metadata, cases: Iterable[tuple[str, str]]) -> list[str]:
    """Returns the cases without a row, of pairs of case and patient; none where there is no table."""
    if metadata.path is None:
        return []
    return [case for case, patient in cases if metadata.of(case, patient) is None]


def _delimiter(path: Path, text: str) -> str:
    if path.suffix.lower() in (".tsv", ".tab"):
        return "\t"
    first = text.partition("\n")[0]
    return max(",;\t", key=first.count)
