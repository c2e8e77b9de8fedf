"""The one engine for all layouts: scan, check, write whole files, refuse cases with reasons, describe the dataset."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from nnunetv2_comnet.crossval import SPLITS, Split
from nnunetv2_comnet.dataset_conversion import report
from nnunetv2_comnet.dataset_conversion.case import CaseResult, CaseSettings, convert_case, earlier_result, remove_case
from nnunetv2_comnet.dataset_conversion.findings import error, warning
from nnunetv2_comnet.dataset_conversion.layouts import Layout, find_layout
from nnunetv2_comnet.dataset_conversion.masks import policy_masks
from nnunetv2_comnet.dataset_conversion.metadata import Metadata, find_metadata_file, read_metadata, unmatched
from nnunetv2_comnet.dataset_conversion.scan import BAD_NAME, CaseFiles, scan
from nnunetv2_comnet.dataset_conversion.splits import make_splits
from nnunetv2_comnet.dataset_conversion.target import (
    dataset_folder,
    dataset_json,
    generated_by,
    prepare_folder,
    write_or_remove,
)
from nnunetv2_comnet.errors import ConfigurationError, DataError
from nnunetv2_comnet.files import json_text
from nnunetv2_comnet.grid import TOLERANCE
from nnunetv2_comnet.progress import bar
from nnunetv2_comnet.workers import require_jobs, run_all

FOLDS = 5
SPLIT_SEED = 12345


@dataclass(frozen=True, kw_only=True)
class ConversionOptions:
    """The options of a conversion; see `comnet convert --help`. `tolerance` is in mm (spacing, origin) and without unit
    (direction); `label_map` maps labels of the source to written ones."""

    layout: str | Layout
    source: Path
    dataset_id: int
    out: Path | None = None
    name: str | None = None
    layout_file: Path | None = None
    jobs: int = 1
    link: bool = False
    label_policy: str | None = None
    label_map: Mapping[int, int] = field(default_factory=dict)
    variant: str | None = None
    tolerance: float = TOLERANCE
    keep_empty: bool = False
    metadata: Path | None = None
    metadata_key: str | None = None
    stratify: str | None = None
    folds: int = FOLDS
    split_seed: int = SPLIT_SEED
    preview: bool = False
    overwrite: bool = False


@dataclass(frozen=True)
class ConversionResult:
    """What came of a conversion. `unchanged` counts the converted cases that an earlier run had already written."""

    folder: Path
    cases: tuple[CaseResult, ...]
    unchanged: int
    splits: tuple[Split, ...]
    without_metadata: tuple[str, ...]

    @property
    def converted(self) -> tuple[CaseResult, ...]:
        return tuple(case for case in self.cases if case.converted)

    @property
    def excluded(self) -> tuple[CaseResult, ...]:
        return tuple(case for case in self.cases if not case.converted)


def convert_dataset(options: ConversionOptions) -> ConversionResult:
    """Converts a dataset into nnU-Net's raw format. Cases with defects are excluded; result and report say why.

    Raises:
        ConfigurationError: Options cannot be used.
        DataError: There is no case at all, or a file cannot be written.
    """
    layout = options.layout if isinstance(options.layout, Layout) else find_layout(options.layout, options.layout_file)
    _check_numbers(options)
    folder = dataset_folder(options.out, options.dataset_id, options.name or layout.dataset_name)
    settings = _case_settings(options, layout, folder)
    settings.scheme.require_painted_back()
    metadata = _metadata(options, layout)
    found = scan(options.source, layout, options.variant, skip=folder)
    try:
        prepare_folder(folder, [files.case for files in found], options.overwrite)
        results, unchanged = _convert_cases(found, settings, options.jobs)
        without = unmatched(metadata, [(result.case, result.patient) for result in results])
        results = [_noted(result, metadata, result.case in without) for result in results]
        splits = _splits(results, options, metadata)
        _describe(options, settings, layout, results, splits, metadata)
    except OSError as problem:
        raise DataError(f"cannot write to {folder}: {problem}; fix that and run it again") from problem
    return ConversionResult(folder, tuple(results), unchanged, tuple(splits), tuple(without))


def _check_numbers(options: ConversionOptions) -> None:
    require_jobs(options.jobs)
    if options.folds < 2:
        raise ConfigurationError(f"--folds {options.folds} cannot be used; cross-validation needs 2 or more")
    for flag, value in (("--tolerance", options.tolerance), ("--split-seed", options.split_seed)):
        if not 0 <= value < math.inf:
            raise ConfigurationError(f"{flag} {value} cannot be used; it is a number from 0")


def _case_settings(options: ConversionOptions, layout: Layout, folder: Path) -> CaseSettings:
    layout.channel_patterns(options.variant)  # refuses an unknown variant before anything is read
    return CaseSettings(
        dataset_folder=folder,
        scheme=layout.scheme.with_label_map(options.label_map),
        label_map=dict(options.label_map),
        masks=policy_masks(layout, options.label_policy),
        stacked=layout.stacked,
        tolerance=options.tolerance,
        keep_empty=options.keep_empty,
        link=options.link,
        preview=options.preview,
    )


def _metadata(options: ConversionOptions, layout: Layout) -> Metadata:
    path = options.metadata or find_metadata_file(options.source, layout)
    metadata = read_metadata(path, options.metadata_key or layout.metadata_key) if path else Metadata()
    if options.stratify is not None:
        metadata.require_column(options.stratify)
    return metadata


def _convert_cases(found: Sequence[CaseFiles], settings: CaseSettings, jobs: int) -> tuple[list[CaseResult], int]:
    """Returns the results of all cases, sorted, and how many converted ones were left as they were."""
    results: dict[str, CaseResult] = {}
    to_do = []
    for files in found:
        if any(finding.code == BAD_NAME for finding in files.findings):  # no file may have that name, not even a record
            results[files.case] = CaseResult(files.case, files.patient, files.findings)
        elif earlier := earlier_result(files, settings):
            results[files.case] = earlier
        else:
            to_do.append(files)
    unchanged = sum(result.converted for result in results.values())
    work = partial(convert_case, settings=settings)
    finished = run_all(work, to_do, jobs, on_death=partial(_worker_died, settings=settings), ordered=False)
    for result in bar(finished, "converting", len(to_do)):
        results[result.case] = result
    return [results[files.case] for files in found], unchanged


def _worker_died(files: CaseFiles, settings: CaseSettings) -> CaseResult:
    remove_case(settings.dataset_folder, files.case)
    text = "the process that converted it was killed, twice, perhaps because memory ran out; use --jobs 1"
    return CaseResult(files.case, files.patient, (error("worker-died", text),))


def _noted(result: CaseResult, metadata: Metadata, is_unmatched: bool) -> CaseResult:
    if not is_unmatched:
        return result
    note = warning("no-metadata", f"no row for {result.case} in {metadata.path.name if metadata.path else ''}")
    return replace(result, findings=(*result.findings, note))


def _splits(results: Sequence[CaseResult], options: ConversionOptions, metadata: Metadata) -> list[Split]:
    patients = {result.case: result.patient for result in results if result.converted}
    categories: dict[str, str] = {}
    if options.stratify is not None:
        for case, patient in sorted(patients.items()):
            categories.setdefault(patient, (metadata.of(case, patient) or {}).get(options.stratify, ""))
    return make_splits(patients, options.folds, options.split_seed, categories)


def _stated(options: ConversionOptions, layout: Layout, settings: CaseSettings) -> dict[str, Any]:
    """Returns the options that shaped the dataset, for the report."""
    as_given = ("variant", "link", "tolerance", "keep_empty", "stratify", "folds", "split_seed")
    return {
        "layout": layout.name,
        "generated_by": generated_by(options.source),
        "scheme": layout.scheme.name,
        "label_policy": options.label_policy or next(iter(layout.policies)),
        "label_map": settings.label_map,
        **{name: getattr(options, name) for name in as_given},
    }


def _describe(
    options: ConversionOptions,
    settings: CaseSettings,
    layout: Layout,
    results: Sequence[CaseResult],
    splits: Sequence[Split],
    metadata: Metadata,
) -> None:
    """Writes dataset.json, the folds and the reports; with nothing converted only the reports are left."""
    folder, name = settings.dataset_folder, options.name or layout.dataset_name
    n_cases = sum(result.converted for result in results)
    stated = _stated(options, layout, settings)
    table = report.rows(results, splits, metadata)
    about = dataset_json(layout, settings.scheme, name, n_cases, stated["generated_by"])
    write_or_remove(
        {
            folder / "dataset.json": json_text(about) if n_cases else None,
            folder / SPLITS: json_text(splits) if splits else None,
            folder / "conversion_report.csv": report.as_csv(table),
            folder / "conversion_report.json": report.as_json(table, results, stated, metadata),
        }
    )
