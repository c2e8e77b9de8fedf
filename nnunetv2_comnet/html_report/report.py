"""The report: finds the cases, orders them, packs them one by one, and writes the page whole."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any

from nnunetv2_comnet.errors import ConfigurationError, DataError
from nnunetv2_comnet.evaluation.figures import COLOURS
from nnunetv2_comnet.evaluation.results import Evaluation
from nnunetv2_comnet.files import written_whole
from nnunetv2_comnet.html_report import scores
from nnunetv2_comnet.html_report.encode import encode_case
from nnunetv2_comnet.html_report.page import case_element, write_page
from nnunetv2_comnet.html_report.run_sections import failures, run_sections
from nnunetv2_comnet.html_report.sources import MAPS, CaseFiles, Sources
from nnunetv2_comnet.html_report.tables import is_png, read_table
from nnunetv2_comnet.html_report.volumes import read_case
from nnunetv2_comnet.label_schemes import EXTRA
from nnunetv2_comnet.progress import Progress, silent
from nnunetv2_comnet.regions import Regions
from nnunetv2_comnet.workers import require_jobs, run_all

MEGABYTE = 1_000_000
MOST_PER_CASE = 4 * MEGABYTE  # more shows no more: four channels and all maps at the finest level
_LEAST_PER_CASE = 50_000
_SPARE = 0.03  # of the size allowed: tables and the page itself
_EXTRA_COLOUR = "#7aa2ff"


@dataclass(frozen=True)
class ReportInput:
    """What goes into the page.

    Attributes:
        sources: the folders of the cases' files.
        title: of the page.
        evaluations: by the name to show; the first one orders the cases.
        figures: PNG files.
        tables: CSV files.
        records: JSON files of what was run.
        channels: names of those to show; empty: see `Sources.choose_channels`.
        most_cases: how many cases can be looked through, the worst ones; None for all.
        most_megabytes: what the page may take; a case that needs more than its share is shown more coarsely.
        jobs: processes.
    """

    sources: Sources
    title: str = "Segmentation report"
    evaluations: Mapping[str, Evaluation] = field(default_factory=dict)
    figures: Sequence[Path] = ()
    tables: Sequence[Path] = ()
    records: Sequence[Path] = ()
    channels: Sequence[str] = ()
    most_cases: int | None = None
    most_megabytes: float = 150.0
    jobs: int = 1

    def __post_init__(self) -> None:
        if self.most_cases is not None and self.most_cases < 0:
            raise ConfigurationError(f"{self.most_cases} cases cannot be shown; give 0 or more")
        if not self.most_megabytes >= 0:
            raise ConfigurationError(f"a page of {self.most_megabytes} MB cannot be written; give a size from 0")
        require_jobs(self.jobs)
        for path in self.figures:
            if not is_png(path):
                raise DataError(f"{path} is not a PNG picture; the page holds PNG only")


@dataclass(frozen=True)
class Written:
    """How many cases the page lists, how many can be looked through, and its size."""

    cases: int
    shown: int
    size_bytes: int


def write_report(target: Path, report: ReportInput, progress: Progress = silent) -> Written:
    """Writes the page, whole or not at all.

    Raises `ConfigurationError` for an unknown channel or a size that the figures alone exceed, `DataError` where there
    is nothing to show.
    """
    sources = report.sources
    files = partial(sources.files, channels=sources.choose_channels(report.channels, len(sources.cases)))
    evaluations, order, ordered_by = _order(report, files, progress)
    if not order and not report.figures and not report.tables:
        raise DataError("there is no case to report; name folders with -pred, -ref or --evaluation, or give figures")
    shown = [case for case in order if case in set(sources.cases)][: report.most_cases]
    with written_whole(target) as temporary:
        with open(temporary.with_name("cases"), "wb+") as packed:
            listed = _pack([files(case) for case in shown], _budget(report, len(shown)), report.jobs, packed, progress)
            index = _index(report, evaluations, order, ordered_by, listed)
            packed.seek(0)
            with open(temporary, "wb") as stream:
                blocks = iter(lambda: packed.read(MEGABYTE), b"")
                write_page(stream, title=report.title, index=index, figures=report.figures, cases=blocks)
        size = temporary.stat().st_size
    return Written(len(order), len(shown), size)


def _order(
    report: ReportInput, files: scores.Files, progress: Progress
) -> tuple[dict[str, Evaluation], list[str], str]:
    """Orders the cases: the evaluations (Dice where only truths are given), all cases, the order in words."""
    sources, evaluations = report.sources, dict(report.evaluations)
    if not evaluations and sources.reference and sources.predictions:
        evaluations["Dice"] = scores.dice_only(sources.cases, files, sources.regions, progress)
    if not evaluations:
        order, ordered_by = scores.by_uncertainty(sources.cases, files, progress)
        return evaluations, order, ordered_by
    first = next(iter(evaluations.values()))
    metric = scores.ranking_metric(first)
    ordered_by = f"worst first: mean {metric.label} over the regions" if metric else "by name"
    order = [case for evaluation in evaluations.values() for case in scores.by_score(evaluation)]
    return evaluations, list(dict.fromkeys([*order, *sorted(sources.cases)])), ordered_by


def _budget(report: ReportInput, cases: int) -> float:
    """Computes how many characters a case's layers may take."""
    allowed = report.most_megabytes * MEGABYTE * (1 - _SPARE)
    left = allowed - sum(path.stat().st_size for path in report.figures) * 4 / 3
    if left < _LEAST_PER_CASE * cases:
        raise ConfigurationError(
            f"{report.most_megabytes:g} MB hold no {cases} cases beside the figures; allow more with --max-mb, or show "
            "fewer with --cases"
        )
    return min(MOST_PER_CASE, left / max(1, cases))


def _pack(
    cases: Sequence[CaseFiles], budget: float, jobs: int, target: IO[bytes], progress: Progress
) -> dict[str, dict[str, Any]]:
    """Writes every case's element to `target`; returns by case its number and its notes."""
    listed = {}
    encoded = run_all(partial(_encoded, budget=budget), cases, jobs, name=lambda files: files.case)
    for number, content in progress(enumerate(encoded), "packing", len(cases)):
        target.write(case_element(number, content))
        listed[content["case"]] = {"number": number, "notes": content["notes"]}
    return listed


def _encoded(files: CaseFiles, budget: float) -> dict[str, Any]:
    return encode_case(read_case(files), budget)


def _index(
    report: ReportInput,
    evaluations: Mapping[str, Evaluation],
    order: Sequence[str],
    ordered_by: str,
    listed: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    sources = report.sources
    failed = failures(sources.predictions)
    cases = []
    for case in [*order, *sorted(failed.keys() - set(order))]:
        known = listed.get(case, {"number": None, "notes": []})
        notes = [*known["notes"], *([f"not predicted: {failed[case]}"] if case in failed else [])]
        cases.append({"name": case, "number": known["number"], "notes": notes})
    sections = run_sections(sources.predictions, sources.reference, evaluations, report.records)
    return {
        "cases": cases,
        "orderedBy": ordered_by,
        "evaluations": [scores.as_page_data(name, evaluation) for name, evaluation in evaluations.items()],
        "tables": [read_table(path) for path in [*report.tables, *([] if evaluations else _volumes(sources))]],
        "labels": _labels(sources.regions),
        "maps": [{"name": name, "top": top} for name, top in MAPS.items()],
        "run": [asdict(section) for section in sections],
    }


def _volumes(sources: Sources) -> list[Path]:
    """Lists the tables of volumes that `comnet predict` wrote: the only numbers of new patients."""
    return [path for folder in sources.predictions for path in sorted(folder.glob("volumes*.csv"))]


def _labels(regions: Regions) -> list[dict[str, Any]]:
    """Lists number, name and colour of every label that a region holds, as figures.py draws them."""
    extra = next((name for name, labels in regions.items() if labels == (EXTRA,)), f"label {EXTRA}")
    colours = {**COLOURS, EXTRA: (_EXTRA_COLOUR, extra)}
    known = sorted(regions.known & colours.keys())
    return [{"label": label, "colour": colours[label][0], "name": colours[label][1]} for label in known]
