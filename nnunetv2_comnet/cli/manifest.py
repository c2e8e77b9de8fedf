"""comnet manifest: hashes of a model's files."""

from pathlib import Path

import typer


def command(
    model: Path = typer.Argument(metavar="MODEL_FOLDER", help="What nnU-Net trained into: plans.json and fold_*."),
    output: Path | None = typer.Option(
        None,
        "-o",
        "--output",
        metavar="FILE",
        help="Where it goes. (default: comnet_manifest.json in the model folder)",
    ),
    checkpoint: str = typer.Option("checkpoint_final.pth", "-chk", help="Checkpoint of each fold."),
) -> None:
    """Write size and SHA-256 of every file that decides what a model predicts, and print the manifest's own SHA-256.

    A manifest beside the model shows damage. Keep it, or the SHA-256 that is printed, elsewhere, to see an exchange of
    the model. Calibration and post-processing change the model: write the manifest after them.
    """
    from nnunetv2_comnet.trust.manifest import FILE, make_manifest, write_manifest

    target = output or model / FILE
    found = make_manifest(model, checkpoint)
    digest = write_manifest(found, target)
    typer.echo(f"{len(found.files)} files of {model} are in {target}")
    typer.echo(f"its own sha256: {digest}")
