"""What several commands ask of their arguments and of the environment."""

import os
from pathlib import Path

import typer

from nnunetv2_comnet.errors import ConfigurationError


def dataset_id(value: int) -> int:
    """Checks a dataset id: nnU-Net's names hold three digits."""
    if not 1 <= value <= 999:
        raise typer.BadParameter(f"{value} is not a dataset id; use a number from 1 to 999")
    return value


def require_variables(*names: str) -> None:
    """Raises `ConfigurationError` unless each environment variable names an existing folder."""
    for name in names:
        value = os.environ.get(name)
        if not value:
            raise ConfigurationError(f"environment variable {name} is not set; export {name}=/a/folder of yours")
        if not Path(value).is_dir():
            raise ConfigurationError(f"{name} names {value}, which is not a folder; create it: mkdir -p {value}")
