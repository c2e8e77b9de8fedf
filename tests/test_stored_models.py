"""Models and plans written before settings were renamed: they load, and predict the same voxels."""

import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_comnet.inference.options import Options
from nnunetv2_comnet.inference.predictor import CoMNeTPredictor
from nnunetv2_comnet.plans import apply_settings
from nnunetv2_comnet.settings import make_settings, parse_settings
from nnunetv2_comnet.trainers.corrdiff import nnUNetTrainerCoMNeTCorrDiff
from nnunetv2_comnet.trainers.mednext import nnUNetTrainerCoMNeT
from tests.conftest import Run

STORED = Path(__file__).parent / "stored_models"
MODELS = {"stage_1": nnUNetTrainerCoMNeT, "corrdiff": nnUNetTrainerCoMNeTCorrDiff}
# Another CPU sums in another order: last bits differ there. No stored probability is within 6e-5 of 0.5, so the masks
# must be the same bit for bit everywhere.
ELSEWHERE = 1e-5


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with its checkpoints unpacked."""
    folder = tmp_path_factory.mktemp("stored") / "models"
    shutil.copytree(STORED, folder)
    with tarfile.open(folder / "checkpoints.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    with np.load(STORED / "expected.npz") as file:
        return dict(file)


def images(folder: Path) -> list[Path]:
    return sorted((folder / "images").glob("*.nii.gz"))


@pytest.mark.parametrize("model", MODELS)
def test_the_predictor_gives_the_same_voxels(stored: Path, expected: dict[str, Any], model: str) -> None:
    found = CoMNeTPredictor(stored / model, device="cpu").predict(images(stored))
    np.testing.assert_allclose(found.probabilities, expected[f"{model}_probabilities"], rtol=0, atol=ELSEWHERE)
    assert np.array_equal(found.label_map, expected[f"{model}_mask"])
    stock = CoMNeTPredictor(stored / model, device="cpu", options=Options(average="logits")).predict(images(stored))
    assert np.array_equal(stock.label_map, expected[f"{model}_stock_mask"])


def test_the_command_writes_the_same_mask(stored: Path, expected: dict[str, Any], run: Run, tmp_path: Path) -> None:
    words = ["predict", "-i", stored / "images", "-o", tmp_path, "-m", stored / "corrdiff", "-device", "cpu"]
    done = run("comnet", *map(str, words))
    assert done.returncode == 0, done.stderr
    written = np.asarray(nibabel.load(tmp_path / "PATIENT.nii.gz").dataobj).T
    assert np.array_equal(written, expected["corrdiff_written_mask"])


@pytest.mark.parametrize("model", MODELS)
def test_nnunet_s_way_loads_the_checkpoint_strictly(stored: Path, model: str) -> None:
    plans = PlansManager(str(stored / model / "plans.json"))
    configuration = plans.get_configuration("3d_fullres")
    network = MODELS[model].build_network_architecture(plans, configuration, 4, 3, False)
    checkpoint = torch.load(stored / model / "fold_0" / "checkpoint_final.pth", weights_only=True)
    network.load_state_dict(checkpoint["network_weights"], strict=True)


def test_plans_of_the_paper_preset_are_the_preset_s() -> None:
    plans = json.loads((STORED / "paper_plans.json").read_text())
    settings, _ = apply_settings(plans, "3d_fullres")
    assert settings == make_settings("paper")
    assert plans["configurations"]["3d_fullres"]["architecture"] == settings.architecture()


def test_plans_of_before_are_read_by_their_names_of_before() -> None:
    section = json.loads((STORED / "corrdiff" / "plans.json").read_text())["comnet"]
    refiner = parse_settings(section, "plans").refiner
    assert (refiner.num_train_timesteps, refiner.num_inference_steps) == (100, 4)
    assert (refiner.prediction_type, refiner.ema_decay) == ("v_prediction", 0.97)
    section["refiner"]["parameterisation"] = "noise"
    assert parse_settings(section, "plans").refiner.prediction_type == "epsilon"
