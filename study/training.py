"""Trains and calibrates, one fold or trainer to a worker process with one thread."""

import contextlib
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from nnunetv2.run.run_training import get_trainer_from_args

from nnunetv2_comnet.crossval import folds_with
from nnunetv2_comnet.errors import ConfigurationError
from nnunetv2_comnet.inference.model_folder import CHECKPOINT, dataset_of
from nnunetv2_comnet.inference.options import Options
from nnunetv2_comnet.strengths.measure import measure_strengths
from nnunetv2_comnet.strengths.strengths_file import Strengths, read_strengths, read_strengths_file
from study.settings import CONFIGURATION, PLANS, SAMPLING_SEED, TRAIN_ID, TRAIN_NAME

_starting: Any = None  # one training at a time writes the plans.json that the folds of a model share


def start_worker(lock: Any) -> None:
    """Called once in every worker process."""
    global _starting
    _starting = lock
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")


def model_folder(out: Path, trainer: str) -> Path:
    """Where nnU-Net keeps a trainer's folds."""
    return out / "results" / TRAIN_NAME / f"{trainer}__{PLANS}__{CONFIGURATION}"


@dataclass(frozen=True)
class Fold:
    """One training: a trainer's name and a fold."""

    out: Path
    trainer: str
    fold: int

    @property
    def checkpoint(self) -> Path:
        """Whole when the training is."""
        return model_folder(self.out, self.trainer) / f"fold_{self.fold}" / CHECKPOINT


def train(job: Fold) -> float:
    """Trains a fold as `nnUNetv2_train` does, without the validation that follows. Returns the seconds it took."""
    start = time.monotonic()
    with _talk_to(job.out / "logs" / f"{job.trainer}_fold_{job.fold}.log"):
        with _starting:
            trainer = get_trainer_from_args(
                str(TRAIN_ID), CONFIGURATION, job.fold, job.trainer, PLANS, device=torch.device("cpu")
            )
        begin = trainer.on_train_start

        def one_at_a_time() -> None:
            with _starting:
                begin()

        trainer.on_train_start = one_at_a_time
        trainer.run_training()
    return round(time.monotonic() - start, 1)


def choose_strengths(out: Path, trainer: str) -> None:
    """Writes calibration.json for the trainer's folds, unless the one there is theirs."""
    folder = model_folder(out, trainer)
    if strengths_of(folder) is None:
        with _talk_to(out / "logs" / f"{trainer}_strengths.log"):
            options = Options(seed=SAMPLING_SEED, samples=len(folds_with(folder, CHECKPOINT)))
            measure_strengths(folder, out / "preprocessed" / TRAIN_NAME, options=options, device="cpu")


def strengths_of(folder: Path) -> tuple[float, ...] | None:
    """Reads the chosen alpha per region, in the order of dataset.json; None where these checkpoints have none."""
    try:
        return read_strengths(folder, list(dataset_of(folder).regions), folds_with(folder, CHECKPOINT))
    except ConfigurationError:
        return None


def strengths_file_of(out: Path, trainer: str) -> Strengths:
    """Reads the strengths and their evidence that `choose_strengths` left."""
    found = read_strengths_file(model_folder(out, trainer))
    assert found is not None
    return found


@contextlib.contextmanager
def _talk_to(path: Path) -> Iterator[None]:
    """Standard output and error go to a file."""
    path.parent.mkdir(exist_ok=True)
    with open(path, "a", encoding="utf-8") as log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
        yield
