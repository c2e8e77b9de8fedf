"""Trainers of a small network and few steps on the blobs, and a death in the middle of a training."""

import json
import os
from pathlib import Path
from typing import Any

import torch

from nnunetv2_comnet.plans import PLANS_NAME
from nnunetv2_comnet.settings import make_settings

SHORT = {
    "base_channels": 4,
    "patch_size": (32, 32, 32),
    "steps_per_epoch": 2,
    "effective_batch_size": 2,
    "save_every": 1,
}


class KilledError(RuntimeError):
    """Stands for the end of the process."""


def killed_in(epoch: int, kind: type) -> type:
    """A trainer that dies in the middle of an epoch."""

    def train_step(self: Any, batch: dict[str, Any]) -> dict[str, Any]:
        if self.current_epoch == epoch:
            raise KilledError
        step: dict[str, Any] = kind.train_step(self, batch)  # type: ignore[attr-defined]
        return step

    return type(f"Killed{kind.__name__}", (kind,), {"train_step": train_step})


def plans_of(blobs: Path, **overrides: Any) -> dict[str, Any]:
    plans: dict[str, Any] = json.loads((blobs / f"{PLANS_NAME}.json").read_text())
    settings = make_settings("demo", **{**SHORT, **overrides})
    plans["comnet"] = settings.model_dump(mode="json")
    plans["configurations"]["3d_fullres"] |= {
        "architecture": settings.architecture(),
        "patch_size": list(settings.patch_size),
        "batch_size": settings.batch_size,
    }
    plans["continue_training"] = False
    return plans


def make_trainer(blobs: Path, kind: type, plans: dict[str, Any], fold: int | str = 0) -> Any:
    dataset_json = json.loads((blobs / "dataset.json").read_text())
    return kind(plans, "3d_fullres", fold, dataset_json, torch.device("cpu"))


def make_in(results: Path, blobs: Path, kind: type, plans: dict[str, Any]) -> Any:
    """A trainer of fold 0 that writes under `results`, one folder for every class."""
    os.environ["nnUNet_results"] = str(results)
    trainer = make_trainer(blobs, kind, plans)
    trainer.output_folder_base, trainer.output_folder = str(results), str(results / "fold_0")
    os.makedirs(trainer.output_folder, exist_ok=True)
    return trainer


def weights_of(trainer: Any) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in trainer.network.state_dict().items()}
