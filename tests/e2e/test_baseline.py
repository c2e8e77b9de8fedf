"""The baseline by stock commands: trained, validated with probabilities, predicted, and put into the paper's table."""

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

pytestmark = pytest.mark.long

TRAINER, PLANS = "nnUNetTrainerSegResNet", "nnUNetCoMNeTPlans"
DATASET = "Dataset501_UTSWGlioma"
MODEL = ("-d", "501", "-c", "3d_fullres", "-tr", TRAINER, "-p", PLANS, "-f", "0", "-device", "cpu")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, run: Any) -> tuple[Path, dict[str, str]]:
    """Fold 0 of ten generated patients, one epoch of ten steps; the folder and the environment."""
    root = tmp_path_factory.mktemp("baseline")
    environment = {f"nnUNet_{name}": str(root / name) for name in ("raw", "preprocessed", "results")}
    for folder in environment.values():
        Path(folder).mkdir()
    shim = run("comnet", "env").stdout.strip().split("=", 1)[1].strip("'")
    environment |= {"nnUNet_extTrainer": shim, "nnUNet_n_proc_DA": "0", "nnUNet_def_n_proc": "1"}
    for words in (
        ("comnet", "phantom", str(root / "patients"), "--cases", "10", "--spacing", "4"),
        ("comnet", "convert", "utsw", str(root / "patients"), "-d", "501"),
        ("comnet", "plan", "-d", "501", "--preset", "demo", "--preprocess", "--jobs", "1", "--max-epochs", "1",
         "--steps-per-epoch", "10"),
        ("nnUNetv2_train", "501", "3d_fullres", "0", "-tr", TRAINER, "-p", PLANS, "-device", "cpu", "--npz"),
    ):  # fmt: skip
        answer = run(*words, env=environment)
        assert answer.returncode == 0, answer.stdout[-2000:] + answer.stderr[-2000:]
    return root, environment


def test_stock_and_our_own_prediction_agree(trained: tuple[Path, dict[str, str]], run: Any) -> None:
    root, environment = trained
    images = root / "one patient"
    images.mkdir()
    for path in (root / "raw" / DATASET / "imagesTr").glob("BT0001_*"):
        (images / path.name).symlink_to(path)
    words = ("-i", str(images), *MODEL, "--disable_tta")
    for name, extra in (("nnUNetv2_predict", ("-npp", "1", "-nps", "1")), ("comnet predict", ("--average", "logits"))):
        answer = run(*name.split(), *words, "-o", str(root / name), *extra, env=environment)
        assert answer.returncode == 0, answer.stderr[-2000:]
    masks = [nibabel.load(root / name / "BT0001.nii.gz") for name in ("nnUNetv2_predict", "comnet predict")]
    assert np.array_equal(*(np.asarray(mask.dataobj) for mask in masks))


def test_the_table_takes_it_with_its_gaps_named(trained: tuple[Path, dict[str, str]], run: Any) -> None:
    root, environment = trained
    refused = run("comnet", "cv-report", "-d", "501", env=environment)
    assert refused.returncode == 1
    assert "fold 1" in refused.stderr
    answer = run("comnet", "cv-report", "-d", "501", "--allow-missing", env=environment)
    assert answer.returncode == 0, answer.stderr
    assert "ANOTHER DATA SET: generated patients" in answer.stdout
    assert "| SegResNet | 0." in answer.stdout
    out = root / "results" / DATASET / "cv_report"
    report = json.loads((out / "cv_report.json").read_text())
    assert report["models"]["SegResNet"]["missing_folds"] == [1, 2, 3, 4]
    # nnU-Net's own scores of the same validation, computed by itself, in its regions' order.
    folder = root / "results" / DATASET / f"{TRAINER}__{PLANS}__3d_fullres" / "fold_0" / "validation"
    theirs = json.loads((folder / "summary.json").read_text())["metric_per_case"]
    ours = json.loads((out / "models" / "SegResNet" / "evaluation.json").read_text())["cases"]
    for case in theirs:
        name = Path(case["prediction_file"]).name.removesuffix(".nii.gz")
        for labels, region in (("(1, 2, 3)", "WT"), ("(1, 3)", "TC"), ("(3,)", "ET")):
            expected = case["metrics"][labels]["Dice"]
            if not np.isnan(expected):  # both empty: nnU-Net has no value, the protocol says 1
                assert ours[name]["regions"][region]["dice"] == pytest.approx(expected, abs=1e-6)
    # The probabilities that nnU-Net kept lie on its reader's axes; all of them gave their masks back.
    table = report["models"]["SegResNet"]["reliability"]
    assert set(table["regions"]) == {"WT", "TC", "ET"}
    assert (out / "figures" / "reliability.png").is_file()
    assert not [note for note in report["notes"] if "not used" in note]
