"""comnet phantom: generated patients in the layout of a published dataset."""

from pathlib import Path

import typer


def command(
    out: Path = typer.Argument(..., help="Folder for the patients: new, or one that this command filled before."),
    cases: int = typer.Option(12, help="How many patients."),
    layout: str = typer.Option("utsw", help="Names and labels of: utsw, brats2021 or brats2023."),
    seed: int = typer.Option(0, help="Same seed, same bytes."),
    spacing: float = typer.Option(1.0, help="Voxel size in mm; 4 gives small images that train on a CPU."),
    start: int = typer.Option(1, help="Number of the first patient; other numbers are other patients."),
    jobs: int = typer.Option(1, help="Patients generated at the same time; does not change the result."),
) -> None:
    """Generate patients: brain, irregular glioma, four sequences, truth. No real person's images."""
    from nnunetv2_comnet.phantom.write import PhantomSet, write_patients

    wanted = PhantomSet(out, layout, cases, seed, spacing, start)
    names = write_patients(wanted, jobs)
    typer.echo(f"{len(names)} generated patients, {names[0]} to {names[-1]}, layout {layout}, in {out}")
