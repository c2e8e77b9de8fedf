"""The main job by stock commands, as demo/run.sh runs it, with a training too short to learn much."""

import json
import subprocess
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK

from nnunetv2_comnet.workers import allowed_threads
from tests.running import BIN

ROOT = Path(__file__).parents[2]
STAGE_1, STAGE_2 = "nnUNetTrainerCoMNeT", "nnUNetTrainerCoMNeTCorrDiff"
MODEL = f"{STAGE_1}__nnUNetCoMNeTPlans__3d_fullres"
REFINED = f"{STAGE_2}__nnUNetCoMNeTPlans__3d_fullres"

pytestmark = pytest.mark.chain


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs the demo's script to its end: ten patients, five folds of one epoch of ten steps."""
    import os

    out = tmp_path_factory.mktemp("chain") / "demo output"
    words = ["bash", str(ROOT / "demo" / "run.sh"), str(out), "--cases", "10", "--max-epochs", "1"]
    words += ["--steps-per-epoch", "10", "--base-channels", "8", "--learning-rate", "0.005"]
    words += ["--refiner-max-epochs", "1", "--refiner-codes-epochs", "1", "--refiner-channels", "4"]
    words += [
        "--refiner-autoencoder-channels",
        "4",
        "--refiner-codebook-size",
        "16",
        "--refiner-num-inference-steps",
        "3",
    ]
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    ran = subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=2400)
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
    return out


@pytest.mark.parametrize("model", [MODEL, REFINED])
def test_five_folds_are_trained_and_validated_on_patients_apart(chain: Path, model: str) -> None:
    folder = chain / "results" / "Dataset501_UTSWGlioma" / model
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
    cores = allowed_threads()
    threads = cores // min(3, cores)  # folds are trained side by side, on their share of the cores
    for said in (
        "settings: section 'comnet' of nnUNetCoMNeTPlans (preset 'demo')",
        "precision: float32 (device cpu)",
        f"CPU: {threads} thread(s), denormals flushed",
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
    for folder in ("predicted", "predicted again", "postprocessed", "refined", "stage 1"):
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


def environment(chain: Path) -> dict[str, str]:
    folders = {f"nnUNet_{name}": str(chain / name) for name in ("raw", "preprocessed", "results")}
    shim = str(ROOT / "nnunetv2_comnet" / "trainers" / "ext")
    return {**folders, "nnUNet_extTrainer": shim, "nnUNet_n_proc_DA": "0", "nnUNet_def_n_proc": "1"}


def test_every_case_was_refined_from_the_map_of_the_fold_that_held_it_out(chain: Path) -> None:
    splits = json.loads((chain / "preprocessed" / "Dataset501_UTSWGlioma" / "splits_final.json").read_text())
    held_out = {case: fold for fold, split in enumerate(splits) for case in split["val"]}
    folder = chain / "results" / "Dataset501_UTSWGlioma" / REFINED
    for fold in range(5):
        record = json.loads((folder / f"fold_{fold}" / "out_of_fold.json").read_text())
        assert record["served_by"] == held_out
        assert (record["in_fold"], record["warning"]) == ([], "")


def test_the_calibration_is_stored_with_the_model_and_travels_in_the_zip(chain: Path) -> None:
    folder = chain / "results" / "Dataset501_UTSWGlioma" / REFINED
    calibration = json.loads((folder / "calibration.json").read_text())
    assert len(calibration["evidence"]["cases"]) == 10
    assert set(calibration["strength"]) == {"whole tumor", "tumor core", "enhancing tumor"}
    for region, found in calibration["evidence"]["regions"].items():
        strength = calibration["strength"][region]
        assert strength == found["strength"]
        assert strength == 0 or (found["low"] > 0 and found["after"] >= found["before"])
    installed = chain / "elsewhere" / "Dataset501_UTSWGlioma" / REFINED / "plans.json"
    for plans in (folder / "plans.json", installed):
        assert json.loads(plans.read_text())["comnet"]["refiner"]["strength"] == list(calibration["strength"].values())


def test_our_own_prediction_writes_what_it_was_asked_for(chain: Path) -> None:
    names = sorted(path.name for path in (chain / "raw" / "Dataset502_HeldOut" / "labelsTr").glob("*.nii.gz"))
    for kind in ("entropy", "disagreement"):
        stems = {path.name.split("_")[0] for path in (chain / "refined" / kind).glob("*.nii.gz")}
        assert stems == {name.removesuffix(".nii.gz") for name in names}
    assert len((chain / "refined" / "volumes.csv").read_text().splitlines()) == 1 + len(names)
    record = json.loads((chain / "refined" / "comnet_run.json").read_text())
    assert len(json.dumps(record)) > 500
    assert not (chain / "refined" / "failures.json").exists()


def test_probabilities_of_both_stages_are_ensembled_by_the_stock_command(chain: Path, run: Any, tmp_path: Path) -> None:
    images = str(chain / "raw" / "Dataset502_HeldOut" / "imagesTr")
    for trainer in (STAGE_1, STAGE_2):
        answer = run(
            "nnUNetv2_predict", "-i", images, "-o", str(tmp_path / trainer), "-d", "501", "-c", "3d_fullres",
            "-tr", trainer, "-p", "nnUNetCoMNeTPlans", "-f", "0", "--save_probabilities", "--disable_tta",
            "-device", "cpu", "-npp", "1", "-nps", "1", env=environment(chain),
        )  # fmt: skip
        assert answer.returncode == 0, answer.stderr[-2000:]
    folders = [str(tmp_path / trainer) for trainer in (STAGE_1, STAGE_2)]
    answer = run("nnUNetv2_ensemble", "-i", *folders, "-o", str(tmp_path / "both"), "-np", "1", env=environment(chain))
    assert answer.returncode == 0, answer.stderr[-2000:]
    for path in (tmp_path / "both").glob("*.nii.gz"):
        maps = [
            np.load(tmp_path / trainer / path.name.replace(".nii.gz", ".npz"))["probabilities"]
            for trainer in (STAGE_1, STAGE_2)
        ]
        whole, core, enhancing = np.mean(maps, axis=0) > 0.5
        painted = np.zeros(whole.shape, np.uint8)
        painted[whole], painted[core], painted[enhancing] = 2, 1, 3
        written = SimpleITK.GetArrayFromImage(SimpleITK.DICOMOrient(SimpleITK.ReadImage(str(path)), "RAS"))
        assert np.array_equal(written, painted)
    assert len(list((tmp_path / "both").glob("*.nii.gz"))) == 4


def test_validation_again_keeps_probabilities_and_the_best_of_both_stages_is_found(chain: Path, run: Any) -> None:
    names = ("-c", "3d_fullres", "-p", "nnUNetCoMNeTPlans")
    answer = run(
        "nnUNetv2_train", "501", "3d_fullres", "0", "-tr", STAGE_2, "-p", "nnUNetCoMNeTPlans", "--val", "--npz",
        "-device", "cpu", env=environment(chain),
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr[-2000:]
    assert "calibrated strengths" in answer.stdout
    folder = chain / "results" / "Dataset501_UTSWGlioma" / REFINED / "fold_0" / "validation"
    assert len(list(folder.glob("*.npz"))) == 2
    answer = run(
        "nnUNetv2_find_best_configuration", "501", *names, "-tr", STAGE_1, STAGE_2, "--disable_ensembling", "-np", "1",
        env=environment(chain),
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr[-2000:]
    assert STAGE_2 in answer.stdout


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
    assert "comnet: error: " in answer.stderr
    assert "Traceback" not in answer.stderr
    assert not list((tmp_path / "out").glob("*.nii.gz"))
