"""comnet env: the line that lets stock nnU-Net find our trainers."""

import os
import shlex

import typer

from nnunetv2_comnet.doctor import EXTENSION_VARIABLE, extension_folder


def command() -> None:
    """Print the export line for nnUNet_extTrainer; use it as: eval "$(comnet env)".

    Folders that the variable already names are kept.
    """
    ours = str(extension_folder())
    others = [part for part in os.environ.get(EXTENSION_VARIABLE, "").split(os.pathsep) if part and part != ours]
    typer.echo(f"export {EXTENSION_VARIABLE}={shlex.quote(os.pathsep.join([ours, *others]))}")
