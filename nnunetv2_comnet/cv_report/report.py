"""Makes the report of a cross-validation: held-out predictions found, proven, scored; tables and figures written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import BaseModel

from nnunetv2_comnet.comparison.compare import metrics_of
from nnunetv2_comnet.comparison.text import write_comparison
from nnunetv2_comnet.crossval import Split
from nnunetv2_comnet.cv_report.calibration import Calibration, held_out_calibration
from nnunetv2_comnet.cv_report.content import Content
from nnunetv2_comnet.cv_report.data import describe_data
from nnunetv2_comnet.cv_report.dataset import CvDataset
from nnunetv2_comnet.cv_report.figures import dice_against_volume, fold_dots, region_bars, reliability_diagram
from nnunetv2_comnet.cv_report.held_out import HeldOut, find_held_out
from nnunetv2_comnet.cv_report.models import TrainedModel
from nnunetv2_comnet.cv_report.patients import note_on_patients
from nnunetv2_comnet.cv_report.scoring import score_held_out
from nnunetv2_comnet.cv_report.slices import slices
from nnunetv2_comnet.cv_report.summary import cv_table, paired
from nnunetv2_comnet.cv_report.tables import as_csv, as_latex, as_markdown
from nnunetv2_comnet.errors import DataError
from nnunetv2_comnet.evaluation.results import Evaluation
from nnunetv2_comnet.files import read_checked, write_json, write_text
from nnunetv2_comnet.progress import Progress, silent

FILE = "cv_report.json"
ALWAYS = ("dice", "volume_truth_mm3")  # the paper's table, and Dice against volume


@dataclass(frozen=True)
class Options:
    """protocol, metrics (Dice always comes first), jobs: as `evaluate_folder` takes them. data: of `describe_data`."""

    protocol: str = "legacy"
    metrics: tuple[str, ...] = ()
    jobs: int = 1
    allow_missing: bool = False
    data: str = "auto"


class _Written(BaseModel):
    """What is read of an earlier report: the files that it wrote beside itself."""

    files: list[str] = []


def make_report(
    models: Sequence[TrainedModel],
    dataset: CvDataset,
    splits: Sequence[Split],
    options: Options,
    progress: Progress = silent,
) -> Content:
    """Scores the held-out predictions of every model, after `find_held_out` has proven that they are that."""
    metrics = metrics_of(options.protocol, ["dice", *options.metrics])
    data = describe_data(dataset.description, options.data)
    held_out = {each.name: find_held_out(each, splits, allow_missing=options.allow_missing) for each in models}
    evaluations: dict[str, Evaluation] = {}
    calibration: dict[str, Calibration] = {}
    for name, found in held_out.items():
        evaluation = score_held_out(
            found, dataset.reference, dataset.regions, options.protocol, only={*metrics, *ALWAYS}, jobs=options.jobs,
            progress=progress, title=name,
        )  # fmt: skip
        calibration[name] = held_out_calibration(found, dataset, progress)
        evaluations[name] = _with_reliability(evaluation, calibration[name])
    trainers = {each.name: each.model.trainer for each in models}
    return Content(
        dataset=dataset.name,
        data=data,
        protocol=next(iter(evaluations.values())).protocol,
        evaluations=evaluations,
        held_out=held_out,
        calibration=calibration,
        tables=tuple(cv_table(metric, evaluations, trainers) for metric in metrics),
        comparison=paired(evaluations, metrics),
        notes=(*note_on_patients(splits, dataset.raw), *_notes(held_out, calibration)),
    )


def write_report(content: Content, dataset: CvDataset, out: Path) -> Content:
    """Writes the tables, the comparison, each model's evaluation, and the figures; cv_report.json last, with the list.

    What an earlier report wrote there and this one does not is removed. Returns the content with what could not be
    drawn added to its notes.
    """
    before = _written_before(out)
    files, problems = _figures(content, dataset, out / "figures")
    content = replace(content, notes=(*content.notes, *problems))
    for name, text in (
        ("table.md", as_markdown(content)),
        ("table.tex", as_latex(content)),
        ("table.csv", as_csv(content)),
    ):
        write_text(out / name, text)
        files.append(out / name)
    if content.comparison is not None:
        write_comparison(content.comparison, out)
        files += [out / f"comparison.{ending}" for ending in ("json", "md", "csv")]
    for name, evaluation in content.evaluations.items():
        folder = out / "models" / content.held_out[name].trained.model.slug
        evaluation.write(folder)
        files += [folder / written for written in ("evaluation.json", "cases.csv", "summary.csv")]
    listed = sorted(path.relative_to(out).as_posix() for path in files)
    for stale in before - set(listed):
        (out / stale).unlink(missing_ok=True)
    write_json(out / FILE, {**content.as_json(), "files": listed})
    return content


def _figures(content: Content, dataset: CvDataset, folder: Path) -> tuple[list[Path], list[str]]:
    """Draws the figures: their files, and a sentence for each that could not be drawn."""
    title, table = f"{content.dataset} ({content.data.title})", content.tables[0]
    files = fold_dots(table, folder / "dice_per_fold", title) + region_bars(table, folder / "dice_per_region", title)
    files += dice_against_volume(content.evaluations, folder / "dice_against_volume", title)
    reliability = {name: each.table for name, each in content.calibration.items() if each.table is not None}
    if reliability:
        files += reliability_diagram(reliability, folder / "reliability", title)
    problems = []
    for name, evaluation in content.evaluations.items():
        held_out = content.held_out[name]
        try:
            files += slices(held_out, evaluation, dataset, folder / f"slices_{held_out.trained.model.slug}")
        except DataError as error:
            problems.append(f"{name}: {error}")
    return files, problems


def _with_reliability(evaluation: Evaluation, calibration: Calibration) -> Evaluation:
    if calibration.table is None:
        return evaluation
    return replace(evaluation, information={**evaluation.information, "reliability": calibration.table})


def _notes(held_out: Mapping[str, HeldOut], calibration: Mapping[str, Calibration]) -> list[str]:
    notes = [gap for found in held_out.values() for gap in found.gaps]
    for name, found in held_out.items():
        if (found.trained.folder / "fold_all").is_dir():
            notes.append(f"{name}: fold_all is left out: its model saw every case")
        if any(_strengths_were_calibrated(found.trained, fold) for fold in found.folds):
            notes.append(
                f"{name}: validated at the strengths of calibration.json, which were chosen on these same held-out "
                "cases; the gains of nested cross-validation are in that file"
            )
    without = [name for name, each in calibration.items() if each.cases == 0]
    if without:
        notes.append(
            f"No reliability diagram of {', '.join(without)}: the validation kept no probabilities; "
            "nnUNetv2_train ... --val --npz keeps them"
        )
    return [*notes, *(note for each in calibration.values() for note in each.notes)]


def _strengths_were_calibrated(trained: TrainedModel, fold: int) -> bool:
    """Looks into the log of the last validation."""
    logs = sorted((trained.folder / f"fold_{fold}").glob("training_log_*.txt"), key=lambda path: path.stat().st_mtime)
    for log in reversed(logs):
        text = log.read_text(encoding="utf-8", errors="replace")
        if "predicting " in text:
            return "calibrated strengths: " in text
    return False


def _written_before(out: Path) -> set[str]:
    if not (out / FILE).is_file():
        return set()
    listed = read_checked(out / FILE, _Written, "choose another folder, or delete the file").files
    inside = out.resolve()
    return {name for name in listed if (out / name).resolve().is_relative_to(inside)}
