"""comnet doctor: is this environment fit to train and predict, and what to do where it is not."""

import typer

from nnunetv2_comnet.doctor import examine


def command() -> None:
    """Check versions, nnU-Net's four variables, that it finds our trainers, device and disk. Exit code 0: all well."""
    wrong = 0
    for check in examine():
        mark = typer.style("ok   ", fg="green") if check.well else typer.style("wrong", fg="red")
        typer.echo(f"{mark}  {check.name}: {check.found}")
        if not check.well:
            typer.echo(f"       fix: {check.remedy}")
            wrong += 1
    typer.echo("all is well" if not wrong else f"{wrong} thing(s) to fix")
    if wrong:
        raise typer.Exit(1)
