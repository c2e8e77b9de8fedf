"""What was run, as titled lists of name and value: comnet_run.json and what else lies beside the predictions."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunetv2_comnet import __version__
from nnunetv2_comnet.crossval import SPLITS, Split, is_splits
from nnunetv2_comnet.errors import DataError
from nnunetv2_comnet.evaluation.results import Evaluation
from nnunetv2_comnet.files import read_json, sha256
from nnunetv2_comnet.run_record import CaseEntry, read_run_record

_MOST_ROWS = 120
_BESIDE = ("comnet_run*.json", "postprocessing*.json", "postprocessing*.pkl", "plans.json", "dataset.json")


@dataclass(frozen=True)
class Section:
    """A heading and its rows of (name, value)."""

    title: str
    rows: list[tuple[str, str]]


def run_sections(
    predictions: Sequence[Path], reference: Path | None, evaluations: Mapping[str, Evaluation], extra: Sequence[Path]
) -> list[Section]:
    """Makes the sections of the page. `extra`: JSON files named by the user, nnU-Net's splits_final.json among them.

    Raises `DataError` for a file of `extra` that cannot be read.
    """
    sections = []
    for folder in predictions:
        for pattern in _BESIDE:
            sections += [_of_file(path) for path in sorted(folder.glob(pattern)) if path.is_file()]
    named = {path.resolve() for path in extra}
    sections += [_of_file(path) for path in extra]
    sections += [_of_file(path) for path in _splits_near(reference) if path.resolve() not in named]
    for name, evaluation in evaluations.items():
        if evaluation.reference:
            content = {what: getattr(evaluation, what) for what in ("protocol", "reference", "prediction")}
            content |= {"cases": len(evaluation.cases), **evaluation.information}
            sections.append(Section(f"Evaluation {name}", _first_rows(content)))
    return [*sections, Section("This page", [("written by", f"nnunetv2-comnet {__version__}")])]


def failures(predictions: Sequence[Path]) -> dict[str, str]:
    """Reads why `comnet predict` has no prediction of a case, by case."""
    found: dict[str, str] = {}
    for folder in predictions:
        for path in sorted(folder.glob("failures*.json")):
            reasons = read_json(path)
            if not isinstance(reasons, dict):
                raise DataError(f"{path} does not hold a reason per case; predict again, or take the file away")
            found |= {str(case): str(reason) for case, reason in reasons.items()}
    return found


def _of_file(path: Path) -> Section:
    title = f"{path.parent.name}/{path.name}"
    digest = ("sha256 of this file", sha256(path))
    if path.suffix != ".json":
        return Section(title, [digest])
    if path.name.startswith("comnet_run"):
        record = read_run_record(path)
        return Section(title, [*_rows(record.model_extra or {}), *_of_times(record.cases)])
    content = read_json(path)
    if path.name == "plans.json":  # too long for a page
        name = content.get("plans_name") if isinstance(content, dict) else None
        return Section(title, [("name", str(name)), digest])
    if content and is_splits(content):
        return Section(title, [*_of_splits(content), digest])
    return Section(title, [*_first_rows(content), digest])


def _first_rows(content: Any) -> list[tuple[str, str]]:
    rows = list(_rows(content))
    if len(rows) <= _MOST_ROWS:
        return rows
    return [*rows[:_MOST_ROWS], ("...", f"{len(rows) - _MOST_ROWS} more values are in the file")]


def _rows(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Flattens nested content to rows: "options: tile_step_size" = "0.5". Lists of plain values stay one row."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _rows(inner, f"{name}: {key}" if name else str(key))
    elif isinstance(value, list) and any(isinstance(inner, dict | list) for inner in value):
        for number, inner in enumerate(value):
            yield from _rows(inner, f"{name}[{number}]")
    else:
        yield name, _plain(value)


def _plain(value: Any) -> str:
    if value is None or value == {} or value == []:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(_plain, value)) if isinstance(value, list) else str(value)


def _of_times(cases: Mapping[str, CaseEntry]) -> Iterator[tuple[str, str]]:
    states = [entry.state for entry in cases.values()]
    yield "cases predicted", f"{states.count('done')} of {len(states)}"
    missing = {case: entry.missing_channels for case, entry in cases.items() if entry.missing_channels}
    if missing:
        listed = (f"{case} ({', '.join(channels)})" for case, channels in missing.items())
        yield "cases with missing channels", "; ".join(listed)
    seconds = [entry.seconds for entry in cases.values() if entry.seconds is not None]
    if seconds:
        yield "seconds per case", f"median {statistics.median(seconds):.1f}, longest {max(seconds):.1f}"
        yield "seconds, all cases", f"{sum(seconds):.1f}"


def _of_splits(content: Sequence[Split]) -> Iterator[tuple[str, str]]:
    for number, fold in enumerate(content):
        yield f"fold {number}", f"{len(fold['train'])} cases to train, {len(fold['val'])} to validate"


def _splits_near(reference: Path | None) -> list[Path]:
    """Finds the splits beside the truth: nnU-Net keeps both in its folder of preprocessed data."""
    path = reference.resolve().parent / SPLITS if reference else None
    return [path] if path and path.is_file() else []
