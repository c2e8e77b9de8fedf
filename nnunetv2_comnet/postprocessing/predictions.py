"""The cross-validation predictions of a trained model: each case predicted by the fold that did not see it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnunetv2_comnet.crossval import (
    RERUN,
    SPLITS,
    folds_with,
    held_out_cases,
    predicted_cases,
    read_splits,
    require_truth,
    validation_folder,
)
from nnunetv2_comnet.dataset_json import FILE, RESTORE, read_dataset_json
from nnunetv2_comnet.errors import ConfigurationError, DataError
from nnunetv2_comnet.nifti import require_sound
from nnunetv2_comnet.regions import Labels


@dataclass(frozen=True)
class PredictedCase:
    """A case: its fold, the files of prediction and truth, and of the probabilities where they are wanted."""

    name: str
    fold: int
    prediction: Path
    truth: Path
    probabilities: Path | None = None


@dataclass(frozen=True)
class MaskReader:
    """Reads label maps as nnU-Net does, by the name of its reader in plans.json: probabilities share these axes."""

    name: str

    def __call__(self, path: Path) -> tuple[Labels, tuple[float, ...]]:
        """Labels (Z, Y, X) and the spacing of the three axes in mm. Raises `DataError` for a file that is no mask."""
        from nnunetv2.imageio.reader_writer_registry import recursive_find_reader_writer_by_name

        require_sound(path)
        try:
            values, properties = recursive_find_reader_writer_by_name(self.name)().read_seg(str(path))
        except Exception as error:  # whatever a missing or broken file makes the reader throw
            raise DataError(f"{path} cannot be read as a label map; predict or copy it again") from error
        labels = np.rint(values[0])
        if not np.array_equal(labels, values[0]) or labels.min() < 0 or labels.max() > np.iinfo(np.uint16).max:
            raise DataError(f"{path} is not a label map: it holds other values than whole numbers from 0")
        kind = np.uint8 if labels.max() <= np.iinfo(np.uint8).max else np.uint16
        return labels.astype(kind), tuple(float(side) for side in properties["spacing"])


def find_predictions(
    model: Path, preprocessed: Path, *, folds: Sequence[int] | None = None, with_probabilities: bool = False
) -> list[PredictedCase]:
    """Finds the held-out cases of the folds that have a validation folder, sorted by fold and name.

    Args:
        model: nnU-Net's folder of a trainer.
        preprocessed: the data set's folder in nnUNet_preprocessed, for the splits and the truth.
        folds: None takes all that there are.
        with_probabilities: whether the cases' probabilities are needed too.

    Raises:
        ConfigurationError: a fold is not there, or only one is.
        DataError: a prediction is missing, or is of a case that the fold was trained on.
    """
    splits = read_splits(preprocessed / SPLITS)
    ending = read_dataset_json(model / FILE, remedy=RESTORE).file_ending
    cases = []
    for fold, wanted in held_out_cases(model, splits, _chosen_folds(model, folds)).items():
        folder, there = validation_folder(model, fold), predicted_cases(model, splits, fold, ending)
        if missing := sorted(set(wanted) - set(there)):
            raise DataError(
                f"{folder} has {len(there)} of {len(wanted)} held-out cases (first missing: {missing[0]}); finish: "
                f"{RERUN}"
            )
        for name in wanted:
            truth = require_truth(preprocessed, name, ending)
            maps = folder / f"{name}.npz" if with_probabilities else None
            if maps is not None and not maps.is_file():
                raise DataError(f"{maps} does not exist: rules on probabilities need it; write it with {RERUN} --npz")
            cases.append(PredictedCase(name, fold, folder / f"{name}{ending}", truth, maps))
    return cases


def _chosen_folds(model: Path, folds: Sequence[int] | None) -> list[int]:
    there = [fold for fold in folds_with(model, "validation") if isinstance(fold, int)]
    if not there:
        raise ConfigurationError(f"{model} holds no fold_*/validation: train the folds, or predict them with {RERUN}")
    if missing := sorted(set(folds or []) - set(there)):
        raise ConfigurationError(
            f"{model} holds no validation of fold {missing[0]}; there are: {', '.join(map(str, there))}"
        )
    chosen = sorted(set(folds)) if folds else there
    if len(chosen) < 2:
        raise ConfigurationError(
            f"only fold {chosen[0]} has predictions: rules are chosen on some folds and measured on another; train more"
        )
    return chosen
