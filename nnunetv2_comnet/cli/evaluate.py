"""comnet evaluate: scores of a folder of predictions under a named BraTS protocol."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from nnunetv2_comnet.cli.common import output_folder
from nnunetv2_comnet.errors import DataError, printable

if TYPE_CHECKING:
    from nnunetv2_comnet.evaluation.results import Evaluation

MOST_NOTES = 10
SHOWN = ("dice", "hd95_mm", "nsd_1mm", "lesion_dice", "lesion_hd95_mm", "lesion_f1")
PROTOCOL_HELP = (
    "legacy (up to 2022), brats2023, brats2024 or brats2026; for another tumour than adult glioma add :ssa, :men, "
    ":ped, :met or (2026) :goat, e.g. brats2023:met."
)


def command(
    reference: Path = typer.Option(..., "-ref", metavar="FOLDER", help="The true masks, NAME.nii.gz."),
    prediction: Path = typer.Option(..., "-pred", metavar="FOLDER", help="The predicted masks, by the same names."),
    protocol: str = typer.Option(..., "--protocol", metavar="NAME", help=PROTOCOL_HELP),
    target: Path | None = typer.Option(None, "-o", metavar="FOLDER", help="Where the files go. (default: -pred)"),
    jobs: int = typer.Option(1, "--jobs", min=1, help="Processes; each takes one case at a time."),
    probabilities: Path | None = typer.Option(
        None,
        metavar="FOLDER",
        help="Maps of `comnet predict --probability-maps`. (default: `probabilities` in -pred, where it is)",
    ),
    images: Path | None = typer.Option(
        None,
        metavar="FOLDER",
        help="NAME_0000.nii.gz, whose nonzero voxels are the brain. (default: imagesTr beside a -ref called labelsTr)",
    ),
    all_regions: bool = typer.Option(
        False, "--all-regions", help="Score every region of the protocol, e.g. NETC, SNFH and RC of 2024."
    ),
    strict: bool = typer.Option(False, "--strict", help="Exit code 1 if any case could not be scored as it is."),
) -> None:
    """Score predicted masks against the truth: overlap, surfaces, lesions, and calibration where there are maps.

    Writes evaluation.json, cases.csv and summary.csv. No case is left out: a missing prediction, or one that cannot
    be used, gets what the protocol gives a missing case, with a warning. Extra predictions get a warning alone.
    """
    from nnunetv2_comnet.evaluation.evaluate import evaluate_folder
    from nnunetv2_comnet.evaluation.protocols import protocol_named
    from nnunetv2_comnet.evaluation.results import SCORED
    from nnunetv2_comnet.progress import bar

    if target is not None:
        output_folder(target)
    beside = prediction / "probabilities"
    evaluation = evaluate_folder(
        reference,
        prediction,
        protocol,
        regions=protocol_named(protocol).regions if all_regions else None,
        jobs=jobs,
        probabilities=probabilities or (beside if beside.is_dir() else None),
        images=images,
        progress=bar,
    )
    target = target or prediction
    evaluation.write(target)
    bad = [case for case in evaluation.cases if case.state != SCORED]
    _show(evaluation)
    typer.echo(
        f"scored {len(evaluation.cases) - len(bad)} of {len(evaluation.cases)} cases by {evaluation.protocol}; "
        f"evaluation.json, cases.csv and summary.csv are in {target}"
    )
    if len(bad) == len(evaluation.cases):
        raise DataError(f"no case could be scored: {bad[0].case}: {bad[0].note}")
    if bad and strict:
        raise DataError(f"{len(bad)} of {len(evaluation.cases)} cases could not be scored as they are (--strict)")


def _show(evaluation: "Evaluation") -> None:
    """Prints the means as a table, then warnings on standard error."""
    import numpy as np

    from nnunetv2_comnet.evaluation.results import METRICS

    typer.echo(f"{'mean':28}" + "".join(f"{region:>10}" for region in evaluation.regions))
    for metric in (name for name in SHOWN if name in evaluation.metrics):
        columns = evaluation.table(metric).T
        means = [np.mean(column[~np.isnan(column)]) if not np.isnan(column).all() else np.nan for column in columns]
        digits = METRICS[metric].digits
        typer.echo(f"{METRICS[metric].label:28}" + "".join(f"{mean:10.{digits}f}" for mean in means))
    notes = [f"{case.case}: {case.state}: {case.note}" for case in evaluation.cases if case.note]
    notes += [f"{name}: extra prediction without a reference" for name in evaluation.extra]
    for note in notes[:MOST_NOTES]:
        typer.echo(f"warning: {printable(note)}", err=True)
    if len(notes) > MOST_NOTES:
        typer.echo(f"warning: and {len(notes) - MOST_NOTES} more, all in evaluation.json", err=True)
