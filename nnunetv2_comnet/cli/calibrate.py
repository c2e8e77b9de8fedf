"""comnet calibrate: how strongly each region is corrected, chosen on held-out cases."""

import os
from pathlib import Path

import typer

from nnunetv2_comnet.cli.common import dataset_id, require_variables


def command(
    dataset: int = typer.Option(..., "-d", "--dataset", callback=dataset_id, help="Dataset id, e.g. 501."),
    trainer: str = typer.Option("nnUNetTrainerCoMNeTCorrDiff", "-tr", help="The refiner's trainer."),
    plans: str = typer.Option("nnUNetCoMNeTPlans", "-p", help="Plans identifier."),
    configuration: str = typer.Option("3d_fullres", "-c", help="Configuration."),
    steps: int = typer.Option(25, help="Reverse steps; predict with the same."),
    samples: int | None = typer.Option(
        None, help="Samples to average. (default: as many as there are trained folds, like prediction)"
    ),
    step_size: float = typer.Option(0.5, "-step_size", help="Step of the sliding window, part of a patch."),
    disable_tta: bool = typer.Option(False, "--disable_tta", help="No mirroring in stage 1."),
    device: str = typer.Option("auto", "-device", help="auto, cpu, cuda or mps."),
) -> None:
    """Choose the correction strength of each region (0 allowed) on cases that no trained fold has seen.

    Predicts the validation cases of every trained fold, measures Dice at five strengths, chooses by nested
    cross-validation, and keeps a strength above 0 only where the paired 95 % interval of its gain lies above 0.
    Writes calibration.json beside the model; prediction uses it by default. An interrupted run goes on where it was.
    """
    require_variables("nnUNet_preprocessed", "nnUNet_results")
    from nnunetv2_comnet.inference.model_folder import find_model, open_model
    from nnunetv2_comnet.inference.options import Options
    from nnunetv2_comnet.progress import bar
    from nnunetv2_comnet.regions import short_name
    from nnunetv2_comnet.strengths.measure import measure_strengths
    from nnunetv2_comnet.text_tables import aligned, number, with_interval

    folder = find_model(str(dataset), trainer, plans, configuration)
    preprocessed = Path(os.environ["nnUNet_preprocessed"]) / folder.parent.name

    samples = samples or len(open_model(folder, None).folds)
    options = Options(steps=steps, samples=samples, tile_step_size=step_size, use_mirroring=not disable_tta)
    choices = measure_strengths(folder, preprocessed, options=options, device=device, progress=bar)
    header = ("region", "before", "after", "alpha", "gain, nested cross-validation (95 % interval)", "cases")
    rows = [
        [
            short_name(region),
            number(choice.before, 4),
            number(choice.after, 4),
            number(choice.strength, 2),
            with_interval(choice.gain, choice.low, choice.high, 4),
            str(choice.cases),
        ]
        for region, choice in choices.items()
    ]
    typer.echo(aligned(header, rows))
    zero = [short_name(region) for region, choice in choices.items() if choice.strength == 0]
    if zero:
        typer.echo(f"left as stage 1 has them: {', '.join(zero)} (no gain that the held-out cases support)")
    typer.echo(f"wrote {folder / 'calibration.json'}")
