"""comnet install: a model from a zip of nnUNetv2_export_model_to_zip, without trusting the zip."""

import os
from pathlib import Path

import typer

from nnunetv2_comnet.cli.common import require_variables


def command(
    source: Path = typer.Argument(metavar="ZIP", help="Made by nnUNetv2_export_model_to_zip."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace a model that is there already."),
) -> None:
    """Install a trained model in nnUNet_results; the safe counterpart of nnUNetv2_install_pretrained_model_from_zip.

    Refused are entries that lead out of the folder, links, duplicates, implausible compression, anything that is no
    model of nnU-Net, checkpoints and rules that could run code, and models that differ from the manifest in the zip. A
    model is installed whole or not at all.
    """
    require_variables("nnUNet_results")
    from nnunetv2_comnet.trust.install import install

    done = install(source, Path(os.environ["nnUNet_results"]), overwrite=overwrite)
    for model in done.models:
        verified = any(model.as_posix().endswith(f"/{name}") for name in done.verified)
        said = "is the model of its manifest" if verified else "has no manifest: nothing proves where it comes from"
        typer.echo(f"installed {model}, which {said}")
    if done.left_out:
        typer.echo(f"left out, since prediction does not need them: {', '.join(done.left_out)}")
