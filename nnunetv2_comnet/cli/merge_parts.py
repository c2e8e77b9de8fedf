"""comnet merge-parts: joins the records of a prediction that several workers shared, and says what is missing."""

from collections.abc import Mapping
from pathlib import Path

import typer

from nnunetv2_comnet.errors import DataError


def command(
    folder: Path = typer.Argument(..., metavar="FOLDER", help="The folder that all parts wrote into (their -o)."),
    images: Path = typer.Option(..., "-i", metavar="FOLDER", help="The images that they predicted."),
    allow_failed: bool = typer.Option(
        False, "--allow-failed", help="Exit code 0 although patients could not be predicted, if none is missing."
    ),
) -> None:
    """Join what the workers of `comnet predict -num_parts N` recorded, and check that no case is missing.

    Writes volumes.csv, comnet_run.json and, where a case has no mask, failures.json. Exit code 1 unless every case of
    -i is predicted whole. A case is failed (a worker recorded why) or missing (its worker died, or never ran).
    """
    from nnunetv2_comnet.inference.merging import merge_parts

    merged = merge_parts(folder, images)
    count = len(merged.done) + len(merged.failed) + len(merged.missing)
    typer.echo(f"joined {len(merged.parts)} records: {len(merged.done)} of {count} cases are whole in {folder}")
    if merged.missing:
        raise DataError(_what_failed("missing", merged.missing, count, folder, also_failed=len(merged.failed)))
    if merged.failed and not allow_failed:
        raise DataError(_what_failed("failed", merged.failed, count, folder))
    if merged.failed:
        typer.echo(f"warning: {_what_failed('failed', merged.failed, count, folder)}", err=True)


def _what_failed(state: str, reasons: Mapping[str, str], count: int, folder: Path, also_failed: int = 0) -> str:
    case, reason = min(reasons.items())
    more = f" and {also_failed} failed" if also_failed else ""
    return (
        f"{len(reasons)} of {count} cases are {state}{more} (all reasons in {folder / 'failures.json'}): "
        f"{case}: {reason}"
    )
