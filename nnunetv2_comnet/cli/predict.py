"""comnet predict: nnUNetv2_predict's flags, with the folds' probabilities averaged and refined."""

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from nnunetv2_comnet.cli.common import require_variables, with_lists
from nnunetv2_comnet.errors import ConfigurationError, DataError

if TYPE_CHECKING:
    from nnunetv2_comnet.inference.folder import FolderResult

REFINER = "Refiner"
DECISION = "From probabilities to labels"
WRITTEN = "What is written beside the masks"

COMMAND_CLASS = with_lists("-f")


def command(
    source: Path = typer.Option(..., "-i", metavar="FOLDER", help="Images, NAME_0000.nii.gz and so on per channel."),
    target: Path = typer.Option(..., "-o", metavar="FOLDER", help="Where the masks go."),
    model_folder: Path | None = typer.Option(None, "-m", metavar="FOLDER", help="A trained model, instead of -d."),
    dataset: str | None = typer.Option(None, "-d", metavar="ID", help="Dataset of the model, by id or name."),
    trainer: str = typer.Option("nnUNetTrainerCoMNeTCorrDiff", "-tr", help="Trainer of the model."),
    plans: str = typer.Option("nnUNetCoMNeTPlans", "-p", help="Plans of the model."),
    configuration: str = typer.Option("3d_fullres", "-c", help="Configuration of the model."),
    folds: list[str] | None = typer.Option(
        None, "-f", metavar="FOLD...", help="Folds, e.g. -f 0 1 2, or all. (default: every numbered one)"
    ),
    checkpoint: str = typer.Option("checkpoint_final.pth", "-chk", help="Checkpoint of each fold."),
    manifest: Path | None = typer.Option(
        None, metavar="FILE", help="Refuse a model that is not that of this file of `comnet manifest`."
    ),
    step_size: float = typer.Option(0.5, "-step_size", help="Step of the sliding window, in tiles: (0, 1]."),
    disable_tta: bool = typer.Option(False, "--disable_tta", help="No mirrored images: eight times faster."),
    device: str = typer.Option("auto", "-device", help="auto (a GPU where there is one), cpu, cuda or mps."),
    not_on_device: bool = typer.Option(False, "--not_on_device", help="Keep whole volumes off the GPU."),
    continue_prediction: bool = typer.Option(
        False, "--continue_prediction", help="Leave cases alone whose files are all there."
    ),
    num_parts: int = typer.Option(1, "-num_parts", help="Share the cases among so many commands."),
    part_id: int = typer.Option(0, "-part_id", help="Which of them this one is, from 0."),
    verbose: bool = typer.Option(False, "--verbose", help="Show nnU-Net's own messages."),
    disable_progress_bar: bool = typer.Option(False, "--disable_progress_bar", help="No progress bar."),
    average: str = typer.Option(
        "probabilities", help="What is averaged over folds: probabilities (the paper), or logits (stock nnU-Net)."
    ),
    refine: str | None = typer.Option(
        None,
        rich_help_panel=REFINER,
        help="fold: each fold's refiner corrects its own fold's map; cross: the map of the fold before it; ensemble: "
        "the folds' average; none. (default: fold, where the model has a refiner)",
    ),
    steps: int | None = typer.Option(
        None, rich_help_panel=REFINER, help="Reverse steps. (default: the plans' num_inference_steps, 25 in the paper)"
    ),
    samples: int = typer.Option(1, rich_help_panel=REFINER, help="Samples, averaged."),
    eta: float = typer.Option(0.0, rich_help_panel=REFINER, help="0: deterministic steps; 1: those of DDPM."),
    seed: int = typer.Option(0, rich_help_panel=REFINER, help="Seed of the noise; fold F draws from seed + F."),
    strength: str | None = typer.Option(
        None,
        rich_help_panel=REFINER,
        help="Strength of the correction per region, e.g. ET=0.5,TC=0. (default: the model's calibration.json, else "
        "its own; averaged logits take its own)",
    ),
    nested: bool = typer.Option(
        False,
        "--nested/--no-nested",
        rich_help_panel=DECISION,
        help="Keep ET inside TC inside WT (off: nnU-Net paints regions over one another).",
    ),
    thresholds: Path | None = typer.Option(
        None, rich_help_panel=DECISION, metavar="JSON", help='Thresholds other than 0.5, e.g. {"enhancing tumor": 0.4}.'
    ),
    postprocessing: Path | None = typer.Option(
        None,
        rich_help_panel=DECISION,
        metavar="FILE",
        help="comnet_postprocessing.json, or nnU-Net's postprocessing.pkl.",
    ),
    save_probabilities: bool = typer.Option(
        False, "--save_probabilities", rich_help_panel=WRITTEN, help="npz and pkl, for nnUNetv2_ensemble."
    ),
    probability_maps: bool = typer.Option(
        False, "--probability-maps", rich_help_panel=WRITTEN, help="NIfTI per region."
    ),
    entropy: bool = typer.Option(False, "--entropy", rich_help_panel=WRITTEN, help="Of the probabilities, in bits."),
    disagreement: bool = typer.Option(
        False, "--disagreement", rich_help_panel=WRITTEN, help="Standard deviation over the folds."
    ),
    spread: bool = typer.Option(
        False, "--spread", rich_help_panel=WRITTEN, help="The same over the refiner's samples."
    ),
    correction: bool = typer.Option(
        False, "--correction", rich_help_panel=WRITTEN, help="What the refiner added to the logits."
    ),
) -> None:
    """Predict patients with a trained model: the folds' probabilities are averaged, refined where it has a refiner.

    Flags are those of nnUNetv2_predict and a few more; nnUNet_extTrainer need not be set. A patient that cannot be
    predicted is listed in failures.json, the others are predicted, and the exit code is 1. Images of a patient may be
    missing where the model was trained with modality dropout. volumes.csv has the regions' volumes, comnet_run.json
    what was run and which channels were missing. Averaging logits gives nnUNetv2_predict's masks voxel by voxel.
    """
    from nnunetv2_comnet.inference.model_folder import find_model, parse_folds
    from nnunetv2_comnet.inference.options import Options, parse_strengths, read_thresholds

    if verbose:
        logging.getLogger("nnunetv2_comnet").setLevel(logging.DEBUG)
    options = Options(
        average=average,
        refine=refine,
        steps=steps,
        samples=samples,
        eta=eta,
        seed=seed,
        tile_step_size=step_size,
        use_mirroring=not disable_tta,
        nested=nested,
        thresholds={} if thresholds is None else read_thresholds(str(thresholds)),
        strengths={} if strength is None else parse_strengths(strength),
    )
    wanted = {
        "probabilities": probability_maps,
        "entropy": entropy,
        "disagreement": disagreement,
        "spread": spread,
        "correction": correction,
    }
    if (model_folder is None) == (dataset is None):
        raise ConfigurationError("name the model either by -d (and -tr, -p, -c) or by its folder, -m")
    if model_folder is None:
        require_variables("nnUNet_results")
        model_folder = find_model(str(dataset), trainer, plans, configuration)
    if manifest is not None:
        from nnunetv2_comnet.trust.manifest import require_same

        require_same(model_folder, manifest, checkpoint)
    from nnunetv2_comnet.inference.folder import FolderRun, predict_folder
    from nnunetv2_comnet.inference.predictor import CoMNeTPredictor

    run = FolderRun(
        source=source,
        target=target,
        maps=[kind for kind, asked in wanted.items() if asked],
        stock_probabilities=save_probabilities,
        go_on=continue_prediction,
        part=part_id,
        parts=num_parts,
        postprocessing=postprocessing,
        show_progress=not disable_progress_bar,
    )
    try:
        predictor = CoMNeTPredictor(
            model_folder,
            parse_folds(folds) if folds else None,
            options=options,
            checkpoint=checkpoint,
            device=device,
            keep_on_device=not not_on_device,
        )
        result = predict_folder(predictor, run)
    except KeyboardInterrupt:
        typer.echo("comnet: interrupted; run the same command with --continue_prediction to go on", err=True)
        sys.exit(130)
    _report(result, target)


def _report(result: "FolderResult", target: Path) -> None:
    """Prints what was done. Raises `DataError` where a case failed."""
    count = len(result.predicted) + len(result.kept) + len(result.failed)
    kept = f", {len(result.kept)} were there already" if result.kept else ""
    without = f", {len(result.missing_channels)} with missing channels" if result.missing_channels else ""
    typer.echo(f"predicted {len(result.predicted)} of {count} cases{kept}{without}; masks are in {target}")
    if result.failed:
        name, reason = min(result.failed.items())
        raise DataError(
            f"{len(result.failed)} of {count} cases failed (all reasons in {result.failures}): {name}: {reason}"
        )
