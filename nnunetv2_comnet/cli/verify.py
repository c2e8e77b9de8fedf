"""comnet verify: is this the model of that manifest."""

from pathlib import Path

import typer

from nnunetv2_comnet.errors import DataError


def command(
    model: Path = typer.Argument(metavar="MODEL_FOLDER", help="What nnU-Net trained into: plans.json and fold_*."),
    manifest: Path | None = typer.Option(
        None, metavar="FILE", help="The manifest. (default: comnet_manifest.json in the model folder)"
    ),
    sha256: str | None = typer.Option(None, metavar="DIGEST", help="The manifest's own SHA-256, kept elsewhere."),
) -> None:
    """Compare a model with its manifest: each file is same, changed, missing or not in the manifest.

    The exit code is 0 only where all are the same. Nothing of the model is loaded.
    """
    from nnunetv2_comnet.trust.manifest import FILE, SAME, compare, read_manifest

    source = manifest or model / FILE
    found = compare(model, read_manifest(source, sha256))
    width = max(len(one.state) for one in found)
    for one in found:
        typer.echo(f"{one.state:{width}}  {one.file}")
    different = [one for one in found if one.state != SAME]
    if different:
        raise DataError(
            f"{model} is not the model of {source}: {len(different)} of {len(found)} files differ, first "
            f"{different[0].file} ({different[0].state})"
        )
    typer.echo(f"all {len(found)} files are the same")
