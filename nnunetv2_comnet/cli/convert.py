"""comnet convert: a public dataset, or one of your own, into nnU-Net's raw format."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from nnunetv2_comnet.errors import printable
from nnunetv2_comnet.workers import allowed_cores

if TYPE_CHECKING:
    from nnunetv2_comnet.dataset_conversion.convert import ConversionResult

SHOWN = 12  # identifiers per line of the summary; the report has them all
MOST_JOBS = 8  # each process holds one case, about 1 GB


def _print_layouts(wanted: bool) -> None:
    if wanted:
        from nnunetv2_comnet.dataset_conversion.layouts import LAYOUTS

        for layout in LAYOUTS.values():
            policies = f"; label policies: {', '.join(layout.label_policies)}" if layout.label_policies else ""
            variants = f"; variants: {', '.join(layout.variants)}" if layout.variants else ""
            typer.echo(f"{layout.name:14} {layout.title}{policies}{variants}")
        typer.echo(f"{'custom':14} any other, from a YAML file (--layout-file; --example prints one)")
        raise typer.Exit()


def _print_example(wanted: bool) -> None:
    if wanted:
        from nnunetv2_comnet.dataset_conversion.layouts.custom import EXAMPLE

        typer.echo(EXAMPLE, nl=False)
        raise typer.Exit()


def command(
    context: typer.Context,
    layout: str = typer.Argument(help="Name of the dataset's layout (--list shows all), or 'custom'."),
    source: Path = typer.Argument(help="The folder that holds the patients' folders, or any folder above it."),
    dataset_id: int = typer.Option(..., "-d", "--dataset-id", help="nnU-Net's dataset id, 1 to 999."),
    out: Path | None = typer.Option(None, help="Where DatasetNNN_NAME is made. (default: $nnUNet_raw)"),
    name: str | None = typer.Option(None, help="NAME in DatasetNNN_NAME. (default: the layout's)"),
    layout_file: Path | None = typer.Option(None, help="The YAML file of layout 'custom'."),
    jobs: int | None = typer.Option(None, "--jobs", "-j", help="Processes. (default: one per CPU, at most 8)"),
    link: bool = typer.Option(False, "--link", help="Link files that need no change instead of copying them."),
    label_policy: str | None = typer.Option(
        None,
        help="Which mask wins where a case has several. utsw: manual-else-fets (default: the registered manual mask "
        "where its labels are within 0, 1, 2, 4, else the FeTS mask), manual-only, fets-only. upenn-gbm: "
        "manual-else-automated (default), manual-only, automated-only.",
    ),
    label_map: str | None = typer.Option(
        None, help="What undocumented labels mean to you, e.g. 3:1,5:0 (source label:written label)."
    ),
    variant: str | None = typer.Option(None, help="Another set of images of the layout; utsw: ants."),
    tolerance: float = typer.Option(1e-3, help="Largest difference in geometry: mm, and direction cosines."),
    keep_empty: bool = typer.Option(False, "--keep-empty", help="Convert cases whose mask is empty."),
    metadata: Path | None = typer.Option(None, help="Table about the patients (TSV, CSV), joined into the report."),
    metadata_key: str | None = typer.Option(None, help="Its column of case or patient identifiers."),
    stratify: str | None = typer.Option(None, help="Column of the table that folds are balanced by."),
    folds: int = typer.Option(5, help="Folds of splits_final.json, made per patient."),
    split_seed: int = typer.Option(12345, help="Seed of the folds."),
    preview: bool = typer.Option(False, "--preview", help="Draw a picture per case into previews/."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Remove cases of earlier runs that SOURCE has no more."),
    strict: bool = typer.Option(False, "--strict", help="Exit code 1 if any case was excluded."),
    list_layouts: bool = typer.Option(
        False, "--list", callback=_print_layouts, is_eager=True, help="List the layouts and exit."
    ),
    example: bool = typer.Option(
        False, "--example", callback=_print_example, is_eager=True, help="Print an example --layout-file and exit."
    ),
) -> None:
    """Convert a dataset into nnU-Net's raw format, case by case, refusing defective cases with their reasons.

    A layout of your own is a YAML file with the keys name, case (a regular expression of a case's identifier),
    channels (file patterns of T1n, T1c, T2w, FLAIR), masks, labels (e.g. {1: NCR, 2: ED, 4: ET}) and, optionally,
    patient, stacked, label_policies, dataset_name, metadata_key; --example prints one.

    An interrupted run goes on where it stopped; a second run changes nothing.
    """
    from nnunetv2_comnet.dataset_conversion.convert import ConversionOptions, convert_dataset
    from nnunetv2_comnet.dataset_conversion.masks import parse_label_map

    chosen = {field.name: context.params[field.name] for field in fields(ConversionOptions)}  # named as the flags are
    chosen["jobs"] = min(allowed_cores(), MOST_JOBS) if jobs is None else jobs
    chosen["label_map"] = parse_label_map(label_map) if label_map is not None else {}
    result = convert_dataset(ConversionOptions(**chosen))
    _print_summary(result, dataset_id, folds)
    if not result.converted:
        typer.echo("comnet: error: no case could be converted; the reasons are above and in the report", err=True)
        raise typer.Exit(1)
    if strict and result.excluded:
        typer.echo(
            f"comnet: error: --strict: {len(result.excluded)} cases were excluded (the others are written)", err=True
        )
        raise typer.Exit(1)


def _print_summary(result: "ConversionResult", dataset_id: int, folds: int) -> None:
    from nnunetv2_comnet.dataset_conversion.report import count_codes

    links = sum(case.links for case in result.converted)
    typer.echo(
        f"converted {len(result.converted)} of {len(result.cases)} cases ({result.unchanged} unchanged since an "
        f"earlier run, {links} files linked) into {result.folder}"
    )
    _print_masks(result)
    if result.excluded:
        typer.echo(f"excluded {len(result.excluded)}:")
        _print_codes(count_codes(result.excluded, "error"))
    if warnings := count_codes(result.cases, "warning"):
        typer.echo("warnings:")
        _print_codes(warnings)
    typer.echo(f"report: {result.folder / 'conversion_report.csv'} (and .json)")
    if not result.converted:
        return
    if result.splits:
        typer.echo(f"folds: {len(result.splits)}, by patient, in splits_final.json")
    else:
        typer.echo(f"folds: none written, as there are fewer patients than {folds} folds; --folds N takes fewer")
    typer.echo("next:")
    typer.echo(f"  nnUNetv2_extract_fingerprint -d {dataset_id} --verify_dataset_integrity")
    typer.echo(f"  comnet plan -d {dataset_id}")


def _print_masks(result: "ConversionResult") -> None:
    kinds: dict[str, int] = {}
    for case in result.converted:
        kinds[case.mask_kind] = kinds.get(case.mask_kind, 0) + 1
    if len(kinds) > 1:
        typer.echo("masks: " + ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())))


def _print_codes(codes: Mapping[str, Sequence[str]]) -> None:
    for code, cases in codes.items():
        more = f" and {len(cases) - SHOWN} more" if len(cases) > SHOWN else ""
        typer.echo(f"  {len(cases):4} {code}: {printable(', '.join(cases[:SHOWN]))}{more}")
