"""A stage 1 model of two folds with weights of no training, and patients of another spacing, in three orientations."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch

from nnunetv2_comnet.plans import PLANS_NAME
from nnunetv2_comnet.settings import make_settings
from nnunetv2_comnet.trainers.corrdiff import nnUNetTrainerCoMNeTCorrDiff
from nnunetv2_comnet.trainers.mednext import nnUNetTrainerCoMNeT
from tests.running import run_here

FOLDS = (0, 1)
SPACING_MM = (1.9, 2.3, 2.6)  # x, y, z: none is the plans' 2 mm, so that maps are resampled
TURNED = 20  # degrees: the oblique patient
Comnet = Callable[..., tuple[int, str, str]]


def build_trainer(blobs: Path, results: Path, fold: int, kind: Any = nnUNetTrainerCoMNeT, **overrides: Any) -> Any:
    """An initialised trainer of tiny settings whose folder is `results`/fold_N."""
    plans = json.loads((blobs / f"{PLANS_NAME}.json").read_text())
    settings = make_settings("demo", base_channels=4, patch_size=(32, 32, 32), seed=5, **overrides)
    plans["comnet"] = settings.model_dump(mode="json")
    plans["configurations"]["3d_fullres"] |= {
        "architecture": settings.architecture(),
        "patch_size": list(settings.patch_size),
    }
    plans["continue_training"] = False
    before = os.environ.get("nnUNet_results")
    os.environ["nnUNet_results"] = str(results.parent / "of the trainer")
    try:
        description = json.loads((blobs / "dataset.json").read_text())
        trainer = kind(plans, "3d_fullres", fold, description, torch.device("cpu"))
        trainer.output_folder_base, trainer.output_folder = str(results), str(results / f"fold_{fold}")
        os.makedirs(trainer.output_folder, exist_ok=True)
        trainer.initialize()
    finally:
        os.environ["nnUNet_results"] = str(before)
    trainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size()  # sets the axes that prediction mirrors
    (results / "plans.json").write_text(json.dumps(plans))
    (results / "dataset.json").write_text(json.dumps(description))
    return trainer


def make_decided(network: Any, fold: int) -> None:
    """Weights of no training answer about the same everywhere; heads of larger, drawn weights make regions of them."""
    weight = network.out_0.conv_out.weight
    with torch.no_grad():
        drawn = torch.randn(weight.shape, generator=torch.Generator().manual_seed(fold))
        weight.copy_(5 * (drawn - drawn.mean(dim=1, keepdim=True)))
        network.out_0.conv_out.bias.copy_(torch.tensor([6.0, 0.0, -1.0]))


@pytest.fixture(scope="session")
def model(blobs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder of stage 1, by the name that nnU-Net would give it under its results."""
    folder = tmp_path_factory.mktemp("results") / "Dataset501_Blobs" / f"nnUNetTrainerCoMNeT__{PLANS_NAME}__3d_fullres"
    folder.mkdir(parents=True)
    for fold in FOLDS:
        trainer = build_trainer(blobs, folder, fold)
        make_decided(trainer.network, fold)
        trainer.save_checkpoint(str(folder / f"fold_{fold}" / "checkpoint_final.pth"))
    return folder


@pytest.fixture(scope="session")
def refined_model(blobs: Path, model: Path) -> Path:
    """The refiner's model on top of `model`, its weights drawn so that it corrects something; not calibrated."""
    folder = model.parent / f"nnUNetTrainerCoMNeTCorrDiff__{PLANS_NAME}__3d_fullres"
    folder.mkdir()
    for fold in FOLDS:
        trainer = build_trainer(blobs, folder, fold, nnUNetTrainerCoMNeTCorrDiff)
        stage_1 = torch.load(model / f"fold_{fold}" / "checkpoint_final.pth", weights_only=False)["network_weights"]
        trainer.refined.coarse.load_state_dict(stage_1)
        generator = torch.Generator().manual_seed(fold)
        with torch.no_grad():
            for parameter in trainer.refined.ema.parameters():
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
        trainer.save_checkpoint(str(folder / f"fold_{fold}" / "checkpoint_final.pth"))
    return folder


def affine_of(orientation: str) -> np.ndarray:
    """Voxel (i, j, k) -> mm in RAS+: along the axes, against them (LPS), or turned about the third."""
    scale = np.diag([*SPACING_MM, 1.0])
    scale[:3, 3] = (-31.0, 12.5, 7.25)
    if orientation == "RAS":
        return scale
    if orientation == "LPS":
        return np.diag([-1.0, -1.0, 1.0, 1.0]) @ scale
    angle = np.deg2rad(TURNED)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return turn @ np.diag([-1.0, 1.0, 1.0, 1.0]) @ scale


def write_patient(folder: Path, name: str, orientation: str, seed: int) -> list[Path]:
    """Four channels of noise in a ball, 30 x 26 x 22 voxels, zero outside it."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(np.arange(30), np.arange(26), np.arange(22), indexing="ij"), -1)
    ball = np.linalg.norm((grid - [14, 13, 12]) / [12, 10, 9], axis=-1) < 1
    bright = np.linalg.norm(grid - [12, 11, 10], axis=-1) < 5
    files = []
    for channel in range(4):
        image = (100 + 20 * rng.standard_normal(ball.shape) + 50 * channel * bright) * ball
        files.append(folder / f"{name}_{channel:04d}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(image.astype(np.float32), affine_of(orientation)), files[-1])
    return files


@pytest.fixture(scope="session")
def patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of the patients LPS, OBLIQUE and RAS, each named for how it lies."""
    folder = tmp_path_factory.mktemp("patients")
    for seed, orientation in enumerate(("LPS", "OBLIQUE", "RAS")):
        write_patient(folder, orientation, orientation, seed)
    return folder


@pytest.fixture(scope="session")
def comnet() -> Comnet:
    """The command line in this process: exit code, standard output, standard error."""

    def call(*words: object) -> tuple[int, str, str]:
        seen = run_here(["comnet", *map(str, words)], {})
        return seen.returncode, seen.stdout, seen.stderr

    return call
