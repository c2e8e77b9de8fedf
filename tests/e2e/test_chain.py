"""The main job by stock commands, as demo/run.sh runs it, with a training too short to learn much."""

import json
import subprocess
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from tests.conftest import BIN

ROOT = Path(__file__).parents[2]
MODEL = "nnUNetTrainerCoMNeT__nnUNetCoMNeTPlans__3d_fullres"

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs the demo's script to its end: ten patients, five folds of one epoch of ten steps."""
    import os

    out = tmp_path_factory.mktemp("chain") / "demo output"
    words = ["bash", str(ROOT / "demo" / "run.sh"), str(out), "--cases", "10", "--max-epochs", "1"]
    words += ["--steps-per-epoch", "10", "--base-channels", "8", "--learning-rate", "0.005"]
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    ran = subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=1500)
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
    return out


def test_five_folds_are_trained_and_validated_on_patients_apart(chain: Path) -> None:
    folder = chain / "results" / "Dataset501_UTSWGlioma" / MODEL
    seen = []
    for fold in range(5):
        assert (folder / f"fold_{fold}" / "checkpoint_final.pth").is_file()
        assert (folder / f"fold_{fold}" / "progress.png").is_file()
        seen += [path.name for path in (folder / f"fold_{fold}" / "validation").glob("*.nii.gz")]
    assert sorted(seen) == [f"BT{n:04d}.nii.gz" for n in range(1, 11)]
    plans = json.loads((folder / "plans.json").read_text())
    assert plans["comnet"]["max_epochs"] == 1
    assert plans["comnet"]["base_channels"] == 8


def test_the_log_says_what_was_decided_and_how_it_went(chain: Path) -> None:
    folder = chain / "results" / "Dataset501_UTSWGlioma" / MODEL / "fold_0"
    log = next(folder.glob("training_log_*.txt")).read_text()
    patch = json.loads((folder.parent / "plans.json").read_text())["configurations"]["3d_fullres"]["patch_size"]
    for said in (
        "settings: section 'comnet' of nnUNetCoMNeTPlans (preset 'demo')",
        "precision: float32 (device cpu)",
        f"patch {patch}; effective batch 1 = 1 patch(es) x 1 process(es) x 1 accumulated",
        "Current learning rate",
        "Dice over 2 validation cases: whole tumor",
        "Epoch time",
    ):
        assert said in log, said


def test_new_patients_are_predicted_postprocessed_and_on_their_own_grid(chain: Path) -> None:
    raw = chain / "raw" / "Dataset502_HeldOut"
    names = sorted(path.name for path in (raw / "labelsTr").glob("*.nii.gz"))
    assert names == [f"BT{n:04d}.nii.gz" for n in range(501, 505)]
    for folder in ("predicted", "predicted again", "postprocessed"):
        for name in names:
            image, mask = (nibabel.load(path) for path in (raw / "labelsTr" / name, chain / folder / name))
            assert mask.shape == image.shape
            assert np.allclose(mask.affine, image.affine, atol=1e-6)
            assert set(np.unique(np.asarray(mask.dataobj))) <= {0, 1, 2, 3}


def test_the_installed_zip_predicts_the_same(chain: Path) -> None:
    for path in (chain / "predicted").glob("*.nii.gz"):
        again = chain / "predicted again" / path.name
        assert np.array_equal(np.asarray(nibabel.load(path).dataobj), np.asarray(nibabel.load(again).dataobj))


def test_the_demo_ends_with_a_picture(chain: Path) -> None:
    from matplotlib.image import imread

    picture = imread(chain / "truth_and_prediction.png")
    assert picture.shape[1] == 1200


def test_a_checkpoint_of_another_network_is_refused_by_stock_prediction(chain: Path, run: Any, tmp_path: Path) -> None:
    model = chain / "results" / "Dataset501_UTSWGlioma" / MODEL
    (tmp_path / "model" / "fold_0").mkdir(parents=True)
    plans = json.loads((model / "plans.json").read_text())
    plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]["base_channels"] = 12
    (tmp_path / "model" / "plans.json").write_text(json.dumps(plans))
    (tmp_path / "model" / "dataset.json").write_bytes((model / "dataset.json").read_bytes())
    checkpoint = (model / "fold_0" / "checkpoint_final.pth").read_bytes()
    (tmp_path / "model" / "fold_0" / "checkpoint_final.pth").write_bytes(checkpoint)
    answer = run(
        "nnUNetv2_predict_from_modelfolder", "-i", str(chain / "raw" / "Dataset502_HeldOut" / "imagesTr"),
        "-o", str(tmp_path / "out"), "-m", str(tmp_path / "model"), "-f", "0", "-device", "cpu",
        env={
            "nnUNet_extTrainer": str(ROOT / "nnunetv2_comnet" / "trainers" / "ext"),
            **{f"nnUNet_{name}": str(chain / name) for name in ("raw", "preprocessed", "results")},
        },
    )  # fmt: skip
    assert answer.returncode != 0
    assert "comnet: error: the checkpoint is another network's" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert not list((tmp_path / "out").glob("*.nii.gz"))
