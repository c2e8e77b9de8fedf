"""Scores a model's held-out predictions of all folds as one evaluation, so that every later step can read it."""

import tempfile
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from nnunetv2_comnet.cv_report.held_out import HeldOut
from nnunetv2_comnet.errors import DataError
from nnunetv2_comnet.evaluation.evaluate import evaluate_folder
from nnunetv2_comnet.evaluation.images import ENDING
from nnunetv2_comnet.evaluation.results import SCORED, Evaluation
from nnunetv2_comnet.progress import Progress, silent

FOLD_OF = "fold_of_case"  # in an evaluation's information


def score_held_out(
    held_out: HeldOut,
    reference: Path,
    regions: Mapping[str, tuple[int, ...]],
    protocol: str,
    *,
    only: Collection[str],
    jobs: int = 1,
    progress: Progress = silent,
    title: str = "evaluating",
) -> Evaluation:
    """Scores the held-out cases of all folds as `evaluate_folder` does; information[FOLD_OF] has each case's fold.

    reference: the folder of the true masks. Raises `DataError` where a prediction or a true mask cannot be scored: the
    table must be over all cases.
    """
    with tempfile.TemporaryDirectory(prefix="comnet-cv-") as folder:
        # One folder for all folds, of links: the evaluation scores a folder against a folder.
        truths, predictions = Path(folder, "truth"), Path(folder, "prediction")
        for place in (truths, predictions):
            place.mkdir()
        for case in held_out.fold_of:
            name = case + ENDING
            if not (reference / name).is_file():
                raise DataError(f"{reference / name} does not exist, so {case} cannot be scored; restore it")
            (truths / name).symlink_to((reference / name).resolve())
            (predictions / name).symlink_to((held_out.validation(case) / name).resolve())
        evaluation = evaluate_folder(
            truths, predictions, protocol, regions=regions, jobs=jobs, progress=progress, title=title, only=only
        )
    for scored in evaluation.cases:
        if scored.state != SCORED:
            note = scored.note.replace(f"{predictions}/", "").replace(f"{truths}/", "")
            where = f"{scored.case} of {held_out.validation(scored.case)}"
            raise DataError(f"{held_out.trained.name}: {where} cannot be scored ({scored.state}): {note}")
    return replace(
        evaluation,
        reference=str(reference),
        prediction=str(held_out.trained.folder),
        information={**evaluation.information, FOLD_OF: dict(sorted(held_out.fold_of.items()))},
    )
