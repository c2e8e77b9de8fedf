"""The preprocessed data of a training, looked over before it starts: the cases, their files, the folds."""

from pathlib import Path

from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class, nnUNetDatasetBlosc2

from nnunetv2_comnet.crossval import require_fold
from nnunetv2_comnet.errors import DataError

STOCK_FOLDS = 5  # of the split that nnU-Net makes by itself


def require_data(folder: Path, splits: Path, fold: int | str, mend: str) -> None:
    """Raises `DataError` where `folder` holds no case or a broken one, or `splits` gives the fold nothing to do.

    mend: the command that preprocesses.
    """
    kind = infer_dataset_class(str(folder)) if any(folder.glob("*")) else None
    known = sorted(kind.get_identifiers(str(folder))) if kind else []
    if not known:
        raise DataError(f"{folder} holds no preprocessed case; run: {mend}")
    if splits.is_file():
        require_fold(splits, fold, set(known))
    elif isinstance(fold, int) and not fold < STOCK_FOLDS <= len(known):
        raise DataError(
            f"{splits} does not exist, and nnU-Net's own split needs {STOCK_FOLDS} cases and a fold below "
            f"{STOCK_FOLDS}: there are {len(known)} cases, and fold {fold} is asked for"
        )
    if kind is not nnUNetDatasetBlosc2:  # whose files open without being read
        return
    cases = kind(str(folder), known)
    for case in known:
        try:
            cases.load_case(case)
        except Exception as error:  # whatever a broken file makes blosc2 or pickle raise
            raise DataError(f"case {case} cannot be read from {folder}; preprocess it again: {mend}") from error
