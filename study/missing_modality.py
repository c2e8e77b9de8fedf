"""Patients who lack images, from beginning to end: `python -m study.missing_modality FOLDER [--docs] [--quick]`.

Two models that differ in modality dropout alone; the same held-out patients, complete and with images taken away.
"""

import dataclasses
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from nnunetv2_comnet.evaluation.evaluate import evaluate_folder
from nnunetv2_comnet.evaluation.results import SCORED, Evaluation
from study.missing_settings import CHANNELS, FOLD, FULL, MISSING_CHANNELS, MODELS, QUICK, WITH, WITHOUT, Model
from study.patients import command, held_out_cases, held_out_folder, images_of, prepare
from study.progress import Progress, begin, copy_to_docs
from study.settings import CONFIGURATION, PLANS, PROTOCOL, STAGE_1, TRAIN_ID, TRAIN_NAME

NAME = "missing_modality_study"


def main() -> None:
    """Parses the command line and runs every stage."""
    space = "for everything that is made, about 500 MB"
    progress, to_docs = begin("study.missing_modality", __doc__, space, FULL, QUICK)
    out = progress.folder
    prepare(progress)
    with ThreadPoolExecutor(max_workers=progress.study.workers) as pool, progress.stage("train both models"):
        list(pool.map(lambda model: train(progress, model), MODELS))
    with progress.stage(
        f"predict {progress.study.held_out} held-out patients, {len(MISSING_CHANNELS)} times with each model"
    ):
        predict_without(out)
        predict_zeroed(out)
    write_page(progress)
    if to_docs:
        copy_to_docs(out, f"{NAME}.md")
    progress.say(f"done: {out / NAME}.md, .json; {progress.total_seconds / 60:.1f} minutes over all runs")


def model_folder(out: Path, model: Model) -> Path:
    """Where nnU-Net keeps the model's fold."""
    return out / model.name / "results" / TRAIN_NAME / f"{STAGE_1}__{PLANS}__{CONFIGURATION}"


def train(progress: Progress, model: Model) -> None:
    """Plans and trains one fold, by the commands that users type; a training goes on where it was."""
    out, study = progress.folder, progress.study
    if (model_folder(out, model) / f"fold_{FOLD}" / "validation" / "summary.json").is_file():
        return
    variables = {f"nnUNet_{kind}": str(out / model.name / kind) for kind in ("preprocessed", "results")}
    if not model_folder(out, model).is_dir():
        for kind in ("preprocessed", "results"):
            shutil.copytree(out / kind, out / model.name / kind, dirs_exist_ok=True)
        dropout = ["--modality-dropout", str(model.modality_dropout)]
        plan = ["comnet", "plan", "-d", str(TRAIN_ID), "--preset", "demo", *study.plan_flags, *dropout]
        command(out, *plan, **variables)
    names = [str(TRAIN_ID), CONFIGURATION, str(FOLD), "-tr", STAGE_1, "-p", PLANS]
    command(out, "nnUNetv2_train", *names, "-device", "cpu", "--c", **variables)


def predictions(out: Path, model: Model, missing: tuple[str, ...]) -> Path:
    """The folder of a model's masks of the patients who lack these images."""
    return out / model.name / "predictions" / ("_".join(missing) or "complete")


def predict_without(out: Path) -> None:
    """The model with dropout, on folders in which the images are not there: as `comnet predict` does it."""
    from nnunetv2_comnet.inference.folder import FolderRun, predict_folder

    predictor = _predictor(out, WITH)
    for missing in MISSING_CHANNELS:
        source = out / "images" / ("_".join(missing) or "complete")
        source.mkdir(parents=True, exist_ok=True)
        for case in held_out_cases(out):
            for channel, image in zip(CHANNELS, images_of(out, case), strict=True):
                link = source / image.name
                if channel not in missing and not link.is_symlink():
                    link.symlink_to(image)
        result = predict_folder(predictor, FolderRun(source, predictions(out, WITH, missing), go_on=True))
        if result.failed:
            raise RuntimeError(f"not predicted: {result.failed}")


def predict_zeroed(out: Path) -> None:
    """The model without dropout refuses such patients; here it is made to see zeros, to show why."""
    import torch

    predictor = _predictor(out, WITHOUT)
    for case in held_out_cases(out):
        paths = {missing: predictions(out, WITHOUT, missing) / f"{case}.nii.gz" for missing in MISSING_CHANNELS}
        if all(path.is_file() for path in paths.values()):
            continue
        patient = predictor.prepare(images_of(out, case))
        for missing, path in paths.items():
            data = torch.clone(patient.data)
            data[[CHANNELS.index(channel) for channel in missing]] = 0
            zeroed = dataclasses.replace(patient, data=data)
            path.parent.mkdir(parents=True, exist_ok=True)
            predictor.finish(predictor.compute(zeroed, wanted=())).save(path)


def _predictor(out: Path, model: Model) -> Any:
    from nnunetv2_comnet.inference.options import Options
    from nnunetv2_comnet.inference.predictor import CoMNeTPredictor

    return CoMNeTPredictor(model_folder(out, model), (FOLD,), options=Options(use_mirroring=False), device="cpu")


def write_page(progress: Progress) -> None:
    """Scores every mask; the numbers as JSON, the page in Markdown."""
    from study.missing_table import write

    out = progress.folder
    truth = held_out_folder(out) / "labelsTr"
    evaluations = [
        {model.name: _evaluate(truth, predictions(out, model, missing)) for model in MODELS}
        for missing in MISSING_CHANNELS
    ]
    write(progress, evaluations, out / NAME)


def _evaluate(truth: Path, masks: Path) -> Evaluation:
    evaluation = evaluate_folder(truth, masks, PROTOCOL, only=("dice",))
    unusable = [case.note for case in evaluation.cases if case.state != SCORED]
    if unusable:
        raise RuntimeError(unusable[0])
    return evaluation


if __name__ == "__main__":
    main()
