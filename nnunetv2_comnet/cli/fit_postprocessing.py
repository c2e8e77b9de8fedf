"""comnet fit-postprocessing: which rules help, chosen and tested on held-out cases."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from nnunetv2_comnet.cli.common import dataset_id, output_folder, require_variables, with_lists
from nnunetv2_comnet.errors import ConfigurationError
from nnunetv2_comnet.progress import bar

if TYPE_CHECKING:
    from nnunetv2_comnet.postprocessing.families import Family
    from nnunetv2_comnet.postprocessing.fitting import Fit
    from nnunetv2_comnet.regions import Regions

COMMAND_CLASS = with_lists("-f", "--preset")


def command(
    dataset: int = typer.Option(..., "-d", "--dataset", callback=dataset_id, help="Dataset id, e.g. 501."),
    trainer: str = typer.Option("nnUNetTrainerCoMNeTCorrDiff", "-tr", help="Trainer of the model."),
    plans: str = typer.Option("nnUNetCoMNeTPlans", "-p", help="Plans of the model."),
    configuration: str = typer.Option("3d_fullres", "-c", help="Configuration of the model."),
    folds: list[int] | None = typer.Option(
        None, "-f", metavar="FOLD...", help="Folds, e.g. -f 0 1 2. (default: every fold with a validation folder)"
    ),
    protocol: str = typer.Option(..., help="Whose scores count: legacy, brats2023, brats2024 or brats2026."),
    metric: str | None = typer.Option(
        None, help="lesion_dice, dice, or both. (default: lesion_dice, where the protocol has it)"
    ),
    preset: list[str] | None = typer.Option(
        None, "--preset", metavar="NAME...", help="Choose among these winners' rules, instead of fitting sizes."
    ),
    unit: str = typer.Option("voxels", help="Sizes in voxels or mm3."),
    with_probabilities: bool = typer.Option(
        False,
        "--with-probabilities",
        help="Rules on probabilities too; validation needs --npz, and only comnet predict can apply them.",
    ),
    output: Path | None = typer.Option(None, "-o", metavar="FOLDER", help="Where the files go. (default: the model)"),
    jobs: int = typer.Option(1, "--jobs", min=1, help="Processes."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Show the effect of each rule, write nothing."),
) -> None:
    """Fit post-processing to a trained model, on the cases that each fold did not see.

    Tries one rule after another (drop small components, drop a too small ET, fill holes) on the predictions of every
    fold's validation. A size is chosen on the other folds and measured on the fold itself; a rule is kept only if the
    mean gain is above 0 and its paired 95 % interval does not reach below 0. Writes comnet_postprocessing.json, with
    the evidence, and postprocessing.pkl for nnUNetv2_apply_postprocessing; comnet predict takes either.
    """
    require_variables("nnUNet_preprocessed", "nnUNet_results")
    from nnunetv2_comnet.files import read_json
    from nnunetv2_comnet.inference.model_folder import dataset_of, find_model
    from nnunetv2_comnet.postprocessing.evidence import evidence_of
    from nnunetv2_comnet.postprocessing.families import lowest_threshold
    from nnunetv2_comnet.postprocessing.fitting import fit
    from nnunetv2_comnet.postprocessing.measuring import Question
    from nnunetv2_comnet.postprocessing.predictions import MaskReader, find_predictions
    from nnunetv2_comnet.postprocessing.protocol_score import protocol_score

    model = find_model(str(dataset), trainer, plans, configuration)
    output = output_folder(output or model)
    dataset_json = dataset_of(model)
    if not dataset_json.has_regions:
        raise ConfigurationError(f"{model} was trained on plain labels; rules are for regions such as WT, TC and ET")
    regions = dataset_json.regions.require_plain_labels()
    score = protocol_score(protocol, regions, metric)
    families = _families(regions, preset or [], unit, with_probabilities)
    preprocessed = Path(os.environ["nnUNet_preprocessed"]) / model.parent.name
    cases = find_predictions(model, preprocessed, folds=folds, with_probabilities=with_probabilities)
    reader = MaskReader(read_json(model / "plans.json")["image_reader_writer"])
    question = Question(regions, score.metrics, score, reader, lowest_threshold(families))
    found = fit(cases, families, question, jobs=jobs, progress=bar)
    _show(found, question)
    if dry_run:
        typer.echo("dry run: nothing was written")
        return
    from nnunetv2_comnet.postprocessing.rule_file import write_rules

    evidence = {"model": model.name, **evidence_of(found, question, score.protocol)}
    written, left_out = write_rules(output, found.rules, regions, evidence, found.voxel_mm3)
    typer.echo(f"wrote {' and '.join(str(path) for path in written)}")
    if left_out:
        typer.echo(f"no postprocessing.pkl: {left_out}; apply the rules with comnet predict --postprocessing")


def _families(regions: "Regions", presets: list[str], unit: str, with_probabilities: bool) -> "list[Family]":
    from nnunetv2_comnet.postprocessing.families import UNITS, preset_family, standard_families
    from nnunetv2_comnet.postprocessing.presets import preset_named

    if unit not in UNITS:
        raise ConfigurationError(f"unknown unit '{unit}'; there are: {', '.join(UNITS)}")
    if not presets:
        return standard_families(regions, unit=unit, with_probabilities=with_probabilities)
    needy = [name for name in presets if preset_named(name).uses_probabilities]
    if needy and not with_probabilities:
        raise ConfigurationError(
            f"preset {needy[0]} needs probabilities: validate with --npz and add --with-probabilities"
        )
    return [preset_family(presets, regions)]


def _show(found: "Fit", question: Any) -> None:
    from nnunetv2_comnet.postprocessing.evidence import means_table, rule_lines, rules_table
    from nnunetv2_comnet.text_tables import with_interval

    folds = sorted(set(found.cases.values()))
    typer.echo(f"{len(found.cases)} held-out cases of folds {', '.join(map(str, folds))}")
    typer.echo(rules_table(found))
    typer.echo("")
    if not found.rules:
        typer.echo("no rule is kept: predictions stay as they are")
        return
    for line in rule_lines(found.rules):
        typer.echo(line)
    gain = found.gain
    typer.echo(f"nested gain of all rules: {with_interval(gain.mean, gain.low, gain.high, 4)}")
    typer.echo(means_table(found, question))
