"""The held-out predictions of a cross-validated model, and the proof that no model had seen the case it predicts.

Fold F's `validation` folder may hold the cases of splits_final.json's F-th `val` list and no other. For a model on top
of frozen fold models, its out_of_fold.json must say as much of the split that it was trained with.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunetv2_comnet.crossval import (
    OUT_OF_FOLD,
    SPLITS,
    OutOfFold,
    Split,
    fold_of_cases,
    folds_with,
    held_out_cases,
    predicted_cases,
    read_splits,
    validation_folder,
)
from nnunetv2_comnet.cv_report.models import TrainedModel
from nnunetv2_comnet.errors import DataError
from nnunetv2_comnet.files import read_checked

STAGE_2 = ("nnUNetTrainerCoMNeTCorrDiff", "nnUNetTrainerCoMNeTDeterministic")  # beginnings of names


@dataclass(frozen=True)
class HeldOut:
    """The held-out predictions of a model.

    Attributes:
        fold_of: the fold of each case that has a held-out prediction, in the order of the folds.
        missing_folds: those without any.
        missing_cases: by fold, of folds that are incomplete.
    """

    trained: TrainedModel
    fold_of: Mapping[str, int]
    missing_folds: tuple[int, ...] = ()
    missing_cases: Mapping[int, tuple[str, ...]] | None = None

    @property
    def folds(self) -> tuple[int, ...]:
        """The folds with a prediction."""
        return tuple(sorted(set(self.fold_of.values())))

    def validation(self, case: str) -> Path:
        """Returns the folder of a case's prediction."""
        return validation_folder(self.trained.folder, self.fold_of[case])

    @property
    def gaps(self) -> list[str]:
        """What is missing, a sentence each."""
        said = [
            f"{self.trained.name}: fold {fold} has no held-out predictions; make them: {self.trained.command(fold)}"
            for fold in self.missing_folds
        ]
        for fold, cases in (self.missing_cases or {}).items():
            said.append(
                f"{self.trained.name}: fold {fold} has no prediction of {len(cases)} held-out case(s): "
                f"{', '.join(cases)}; predict them: {self.trained.command(fold, '--val')}"
            )
        return said


def read_cross_validation(preprocessed: Path) -> list[Split]:
    """Reads a preprocessed dataset's splits_final.json. Raises `DataError` where it is no cross-validation."""
    path = preprocessed / SPLITS
    if not path.is_file():
        raise DataError(f"{path} does not exist, so the cases that a fold held out are not known; training makes it")
    splits = read_splits(path)
    for fold, split in enumerate(splits):
        both = sorted(set(split["train"]) & set(split["val"]))
        if both:
            raise DataError(f"{path}: fold {fold} trains on {both[0]} and validates on it: nothing was held out")
    fold_of_cases(splits, path)
    return splits


def find_held_out(
    trained: TrainedModel, splits: Sequence[Split], ending: str = ".nii.gz", *, allow_missing: bool = False
) -> HeldOut:
    """Finds the held-out predictions of a model and proves that they are that. Raises `DataError` with the reason.

    Refused: a case that the fold's model saw, or may have seen; a model of fold "all"; and, unless `allow_missing`,
    a fold or a case without prediction.
    """
    try:
        wanted = held_out_cases(trained.folder, splits, [*range(len(splits)), *folds_with(trained.folder)])
        predicted = {fold: predicted_cases(trained.folder, splits, fold, ending) for fold in wanted}
    except DataError as error:
        raise DataError(f"{trained.name}: {error}") from error
    if not any(predicted.values()) and "all" in folds_with(trained.folder):
        raise DataError(
            f"{trained.name}: {trained.folder} holds fold 'all' only, whose model saw every case; train folds: "
            f"{trained.command(0)}"
        )
    for fold, cases in predicted.items():
        if cases:
            _require_out_of_fold(trained, fold, cases)
    missing = {fold: tuple(case for case in wanted[fold] if case not in cases) for fold, cases in predicted.items()}
    held_out = HeldOut(
        trained,
        {case: fold for fold, cases in predicted.items() for case in cases},
        tuple(fold for fold, cases in predicted.items() if not cases),
        {fold: cases for fold, cases in missing.items() if cases and predicted[fold]},
    )
    if not held_out.fold_of or (held_out.gaps and not allow_missing):
        more = f" (and {len(held_out.gaps) - 1} more)" if len(held_out.gaps) > 1 else ""
        how = "; --allow-missing goes on without" if held_out.fold_of else ""
        raise DataError(f"{held_out.gaps[0]}{more}{how}")
    return held_out


def _require_out_of_fold(trained: TrainedModel, fold: int, cases: Sequence[str]) -> None:
    """Checks a refiner's record of which frozen model served which case: it shows the split it was trained with."""
    path = trained.folder / f"fold_{fold}" / OUT_OF_FOLD
    if not path.is_file():
        if trained.model.trainer.startswith(STAGE_2):
            raise DataError(
                f"{trained.name}: {path} does not exist, so nothing shows that fold {fold}'s frozen model had not seen "
                f"its cases; train it again: {trained.command(fold)}"
            )
        return
    record = read_checked(path, OutOfFold, f"train fold {fold} again: {trained.command(fold)}")
    served, in_fold = record.served_by, set(record.in_fold)
    wrong = sorted(case for case in cases if case in in_fold or str(served.get(case)) != str(fold))
    if wrong:
        by = served.get(wrong[0])
        why = "no fold" if by is None else f"fold {by}" if str(by) != str(fold) else "no other fold than its own"
        raise DataError(
            f"{trained.name}: when fold {fold} was trained, {wrong[0]} was held out by {why}, says {path}: the models "
            "of this fold saw it; restore that split, or train the fold again"
        )
