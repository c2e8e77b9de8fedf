"""comnet compare: do models differ on the same cases, and are there enough cases to say so."""

from pathlib import Path

import typer

from nnunetv2_comnet.cli.common import output_folder, with_lists

COMMAND_CLASS = with_lists("--metrics", list_end="=")  # a NAME=DIR is the next model


def command(
    models: list[str] = typer.Argument(
        metavar="NAME=DIR...", help="Each model's name and the folder of its predictions, or of its evaluation.json."
    ),
    reference: Path | None = typer.Option(
        None, "-ref", metavar="DIR", help="The true masks. (default: those that all evaluation.json name)"
    ),
    protocol: str | None = typer.Option(
        None, help="legacy, brats2023, brats2024 or brats2026. (default: that of the evaluation.json)"
    ),
    metrics: list[str] | None = typer.Option(
        None,
        metavar="NAME...",
        help="Metrics, e.g. dice hd95_mm. (default: those that the protocol's challenge ranks by)",
    ),
    against: str | None = typer.Option(
        None, metavar="NAME", help="Compare every other model with this one. (default: all pairs)"
    ),
    out: Path | None = typer.Option(
        None,
        "-o",
        "--out",
        metavar="DIR",
        help="Where comparison.json, .md, .csv and new scores go.",
    ),
    jobs: int = typer.Option(1, "--jobs", "-j", min=1, help="Processes that score predictions."),
    seed: int = typer.Option(0, min=0, help="Seed of the resamples and random swaps."),
) -> None:
    """Compare models case by case: differences with intervals, tests, effect sizes, and the BraTS ranking.

    A folder's evaluation.json is used where it is of this protocol and reference and no prediction is newer; else the
    predictions are scored, as `comnet evaluate` does. Mean, 95 % bootstrap interval, Wilcoxon's signed-rank test with
    Holm's correction over the table, rank-biserial correlation and Cohen's dz; ranks per case, region and metric with a
    permutation test. Says where the number of cases cannot support a claim.
    """
    from nnunetv2_comnet.comparison.compare import compare, pairs_of
    from nnunetv2_comnet.comparison.sources import load_evaluations, parse_models
    from nnunetv2_comnet.comparison.text import as_text, write_comparison
    from nnunetv2_comnet.progress import bar

    if out is not None:
        output_folder(out)
    folders = parse_models(models)
    pairs_of(list(folders), against)  # a mistake is found before hours of scoring
    chosen = [name for word in metrics for name in word.split(",") if name] if metrics else None
    evaluations = load_evaluations(
        folders, reference, protocol, chosen, jobs=jobs, progress=bar, keep=out / "scores" if out else None
    )
    comparison = compare(evaluations, metrics=chosen, against=against, seed=seed)
    typer.echo(as_text(comparison))
    if out is not None:
        write_comparison(comparison, out)
        typer.echo(f"\nwrote {out / 'comparison.json'}, comparison.md and comparison.csv")
