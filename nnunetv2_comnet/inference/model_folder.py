"""A trained model's folder: plans.json, dataset.json and a checkpoint per fold, checked before it is loaded."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunetv2_comnet.crossval import Fold, folds_with
from nnunetv2_comnet.dataset_json import FILE, RESTORE, DatasetJson, read_dataset_json
from nnunetv2_comnet.errors import ConfigurationError

CHECKPOINT = "checkpoint_final.pth"


@dataclass(frozen=True)
class ModelFolder:
    """The folder that nnU-Net trained into, and which of its folds predict. A fold is a number or "all"."""

    path: Path
    folds: tuple[Fold, ...]
    checkpoint: str

    @property
    def checkpoints(self) -> tuple[Path, ...]:
        """One file per fold, in the order of `folds`."""
        return tuple(self.path / f"fold_{fold}" / self.checkpoint for fold in self.folds)

    @property
    def dataset(self) -> DatasetJson:
        """What the model was trained on."""
        return dataset_of(self.path)


def find_model(dataset: str, trainer: str, plans: str, configuration: str) -> Path:
    """Finds the folder of a model by nnU-Net's names, under $nnUNet_results; `dataset` is an id or a name.

    Raises `ConfigurationError` that names the datasets, or the dataset's models, that there are.
    """
    results = Path(os.environ["nnUNet_results"])
    datasets = sorted(path for path in results.glob("Dataset*_*") if path.is_dir())
    wanted = f"Dataset{int(dataset):03d}_" if dataset.isdecimal() else dataset
    found = [path for path in datasets if path.name == wanted or (dataset.isdecimal() and path.name.startswith(wanted))]
    if len(found) != 1:
        which = "no dataset" if not found else "more than one dataset"
        raise ConfigurationError(f"{results} holds {which} {dataset}; there are: {_names(found or datasets)}")
    model = found[0] / f"{trainer}__{plans}__{configuration}"
    if not model.is_dir():
        models = sorted(path for path in found[0].glob("*__*__*") if path.is_dir())
        raise ConfigurationError(f"{found[0]} holds no model {model.name}; there are: {_names(models)}")
    return model


def open_model(path: str | os.PathLike[str], folds: Sequence[Fold] | None, checkpoint: str = CHECKPOINT) -> ModelFolder:
    """Checks that a model can be read from `path`. `folds` None: every numbered fold that has the checkpoint.

    Raises `ConfigurationError` that names what there is.
    """
    path = Path(path)
    for name in ("plans.json", FILE):
        if not (path / name).is_file():
            what = "has no " + name if path.is_dir() else "does not exist"
            raise ConfigurationError(f"{path} is not a trained model: it {what}")
    available = [str(fold) for fold in folds_with(path, checkpoint)]
    if not available:
        others = sorted({file.name for file in path.glob("fold_*/*.pth")})
        raise ConfigurationError(
            f"{path} holds no fold with {checkpoint}; checkpoints there: {', '.join(others) or 'none'}"
        )
    if folds is None:
        chosen = [fold for fold in available if fold != "all"] or available
    else:
        chosen = [str(fold) for fold in folds]
    for fold in chosen:
        if fold not in available:
            raise ConfigurationError(
                f"{path} holds no fold {fold} with {checkpoint}; there are: {', '.join(available)}"
            )
    if len(set(chosen)) != len(chosen) or not chosen:
        raise ConfigurationError(f"folds {' '.join(chosen) or '(none)'}: name one fold or more, each once")
    return ModelFolder(path, tuple(fold if fold == "all" else int(fold) for fold in chosen), checkpoint)


def dataset_of(model: Path) -> DatasetJson:
    """Reads dataset.json of a model, or of its predictions. Raises `DataError` where it is not complete."""
    return read_dataset_json(model / FILE, remedy=RESTORE)


def parse_folds(words: Sequence[str]) -> list[Fold]:
    """Reads folds from words: ["0", "all"] is [0, "all"]."""
    for word in words:
        if word != "all" and not re.fullmatch(r"\d+", word):
            raise ConfigurationError(f"'{word}' is not a fold; name folds by number, or 'all'")
    return [word if word == "all" else int(word) for word in words]


def _names(paths: Sequence[Path]) -> str:
    return ", ".join(path.name for path in paths) or "none"
