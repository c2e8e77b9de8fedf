"""comnet report: scores, run, figures and every case to look through, as one HTML file."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from nnunetv2_comnet.cli.common import output_folder, with_lists
from nnunetv2_comnet.errors import ConfigurationError

if TYPE_CHECKING:
    from nnunetv2_comnet.evaluation.results import Evaluation

COMMAND_CLASS = with_lists("-pred", "--evaluation", "--figures", "--tables", "--records", "--manifest", "--channels")


def command(
    out: Path = typer.Argument(..., metavar="OUT.html", help="The page; it needs nothing beside it."),
    images: Path | None = typer.Option(None, "-i", metavar="FOLDER", help="Images, NAME_0000.nii.gz per channel."),
    reference: Path | None = typer.Option(None, "-ref", metavar="FOLDER", help="True masks; none of new patients."),
    prediction: list[Path] | None = typer.Option(
        None, "-pred", metavar="FOLDER...", help="Predictions, with the maps and records that comnet predict left."
    ),
    evaluation: list[str] | None = typer.Option(
        None,
        metavar="[NAME=]DIR...",
        help="Folders of comnet evaluate; the first orders the cases. (default: evaluation.json beside the "
        "predictions, else Dice is computed)",
    ),
    figures: list[Path] | None = typer.Option(None, metavar="PNG...", help="Pictures to show, or folders of them."),
    tables: list[Path] | None = typer.Option(None, metavar="CSV...", help="More tables to show, or folders of them."),
    records: list[Path] | None = typer.Option(
        None, "--records", "--manifest", metavar="JSON...", help="More records of the run, e.g. splits_final.json."
    ),
    cases: int | None = typer.Option(None, help="Only the N worst cases can be looked through. (default: all)"),
    channels: list[str] | None = typer.Option(
        None, metavar="NAME...", help="Channels to show. (default: all; of more than 60 cases T1c and FLAIR)"
    ),
    title: str = typer.Option("Segmentation report", help="Heading of the page."),
    max_mb: float = typer.Option(150, help="Size of the page; with many cases, images are coded more coarsely."),
    jobs: int = typer.Option(1, help="Cases packed at the same time."),
) -> None:
    """One HTML file for all that is known of a run: scores in tables, records, figures, every case slice by slice.

    It opens from disk in any current browser, without a network. Worst cases come first; of new patients (no -ref) the
    most uncertain ones. In the viewer, arrow keys move through slices and cases.
    """
    from nnunetv2_comnet.html_report.report import MEGABYTE, ReportInput, write_report
    from nnunetv2_comnet.html_report.tables import with_ending
    from nnunetv2_comnet.progress import bar

    if out.suffix.lower() not in (".html", ".htm"):
        raise ConfigurationError(f"the page's name must end in .html: got {out}")
    output_folder(out.parent)
    if out.is_dir():
        raise ConfigurationError(f"{out} is a folder; name a file for the page")
    evaluations = _evaluations(evaluation or [], prediction or [])
    report = ReportInput(
        sources=_sources(images, reference, prediction or [], evaluations),
        title=title,
        evaluations=evaluations,
        figures=with_ending(figures or [], ".png"),
        tables=with_ending(tables or [], ".csv"),
        records=with_ending(records or [], ".json"),
        channels=[name for given in channels or [] for name in given.split(",") if name],
        most_cases=cases,
        most_megabytes=max_mb,
        jobs=jobs,
    )

    done = write_report(out, report, bar)
    size = done.size_bytes / MEGABYTE
    typer.echo(f"wrote {out}: {done.cases} cases, {done.shown} to look through, {size:.1f} MB")


def _evaluations(given: list[str], predictions: list[Path]) -> "dict[str, Evaluation]":
    """Reads evaluations, by name: those given, else those that lie beside the predictions."""
    from nnunetv2_comnet.evaluation.results import FILE, read_evaluation

    named: dict[str, Evaluation] = {}
    for text in given or [str(folder) for folder in predictions if (folder / FILE).is_file()]:
        name, is_named, path = text.partition("=")
        source = Path(path if is_named else text)
        name = name if is_named else (source.parent if source.is_file() else source).resolve().name
        if name in named:
            raise ConfigurationError(f"two evaluations are called '{name}'; give each a name: --evaluation NAME=DIR")
        named[name] = read_evaluation(source)
    return named


def _sources(
    images: Path | None, reference: Path | None, predictions: list[Path], evaluations: "dict[str, Evaluation]"
) -> Any:
    """Returns the given folders; for a missing one that of the first evaluation, where it still exists."""
    from nnunetv2_comnet.html_report.sources import Sources

    for evaluation in list(evaluations.values())[:1]:
        if reference is None and evaluation.reference and Path(evaluation.reference).is_dir():
            reference = Path(evaluation.reference)
        if not predictions and evaluation.prediction and Path(evaluation.prediction).is_dir():
            predictions = [Path(evaluation.prediction)]
    return Sources(images, reference, tuple(predictions))
