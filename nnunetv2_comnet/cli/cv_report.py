"""comnet cv-report: the paper's table and figures, from the held-out predictions of cross-validated models."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from nnunetv2_comnet.cli.common import dataset_id, output_folder, require_variables, with_lists
from nnunetv2_comnet.errors import ConfigurationError

if TYPE_CHECKING:
    from nnunetv2_comnet.cv_report.models import TrainedModel

COMMAND_CLASS = with_lists("--models", "-m", "--metrics")


def command(
    dataset: int = typer.Option(..., "-d", "--dataset", callback=dataset_id, help="Dataset id, e.g. 501."),
    models: list[str] | None = typer.Option(
        None,
        "--models",
        "-m",
        metavar="MODEL...",
        help="[NAME=]TRAINER[:PLANS[:CONFIGURATION]], in the table's order, e.g. "
        "nnU-Net=nnUNetTrainer:nnUNetResEncUNetMPlans. (default: those of the paper's three that are trained)",
    ),
    plans: str = typer.Option("nnUNetCoMNeTPlans", "-p", help="Plans of a model that names none."),
    configuration: str = typer.Option("3d_fullres", "-c", help="Configuration of a model that names none."),
    out: Path | None = typer.Option(
        None,
        "-o",
        "--out",
        metavar="FOLDER",
        help="Where the report goes. (default: cv_report in nnUNet_results' dataset)",
    ),
    protocol: str = typer.Option(
        "legacy", help="legacy, brats2023, brats2024 or brats2026; the paper's Dice is legacy."
    ),
    metrics: list[str] | None = typer.Option(
        None, "--metrics", metavar="NAME...", help="Further metrics, a table each, e.g. hd95_mm nsd_1mm."
    ),
    data: str = typer.Option("auto", help="What the data are: auto (from dataset.json), utsw, generated or other."),
    allow_missing: bool = typer.Option(False, "--allow-missing", help="Go on without folds or cases that are missing."),
    jobs: int = typer.Option(1, "--jobs", "-j", min=1, help="Processes that score predictions."),
) -> None:
    """Put the paper's table together from each fold's held-out predictions, beside the paper's own figures.

    Reads fold_X/validation of each model, and refuses a prediction made by a model that saw the case. Writes
    table.md, .tex and .csv (mean and standard deviation over folds, best in bold), paired differences with intervals,
    each model's scores, and the figures as PNG and PDF. Nothing is trained or predicted.
    """
    require_variables("nnUNet_preprocessed", "nnUNet_results")
    from nnunetv2_comnet.cv_report.dataset import open_dataset
    from nnunetv2_comnet.cv_report.held_out import read_cross_validation
    from nnunetv2_comnet.cv_report.report import Options, make_report, write_report
    from nnunetv2_comnet.cv_report.tables import as_markdown
    from nnunetv2_comnet.progress import bar

    trained = _trained(dataset, models, plans, configuration)
    folder = trained[0].folder.parent
    preprocessed = Path(os.environ["nnUNet_preprocessed"]) / folder.name
    out = output_folder(out or folder / "cv_report")
    raw = os.environ.get("nnUNet_raw")
    opened = open_dataset(preprocessed, Path(raw) / folder.name if raw else None)
    options = Options(protocol, tuple(metrics or ()), jobs, allow_missing, data)
    content = make_report(trained, opened, read_cross_validation(preprocessed), options, bar)
    content = write_report(content, opened, out)
    typer.echo(as_markdown(content))
    typer.echo(f"wrote {out}: table.md, table.tex, table.csv, figures/, models/, cv_report.json")


def _trained(dataset: int, texts: list[str] | None, plans: str, configuration: str) -> "list[TrainedModel]":
    from nnunetv2_comnet.cv_report.models import TrainedModel, parse_models
    from nnunetv2_comnet.cv_report.paper import PAPER
    from nnunetv2_comnet.inference.model_folder import find_model

    models = parse_models(texts or list(PAPER), plans, configuration)
    found, refused = [], []
    for model in models:
        try:
            folder = find_model(str(dataset), model.trainer, model.plans, model.configuration)
        except ConfigurationError as error:
            if texts:
                raise
            refused.append(error)
            continue
        found.append(TrainedModel(model, folder))
    if not found:
        raise refused[0]
    return found
