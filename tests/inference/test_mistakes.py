"""A user's mistake: one line that names the thing and the remedy, exit code 1, no file written."""

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch

from nnunetv2_comnet.errors import DataError
from nnunetv2_comnet.inference.options import Options
from nnunetv2_comnet.inference.predictor import CoMNeTPredictor
from nnunetv2_comnet.plans import PLANS_NAME
from tests.inference.test_averaging import images_of
from tests.inference.test_images import with_reader


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, patients: Path) -> Path:
    """Files that are not what they should be."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "empty").mkdir()
    (folder / "no_json.json").write_text("{")
    (folder / "words.json").write_text('{"whole tumor": "high"}')
    (folder / "unknown.json").write_text('{"oedema": 0.5}')
    (folder / "large.json").write_text('{"ET": 1.5}')
    (folder / "rules.pkl").write_bytes(b"not a pickle")
    return folder


MISTAKES = [
    (["--average", "votes"], "votes"),
    (["--refine", "twice"], "twice"),
    (
        ["--refine", "ensemble", "--average", "logits"],
        "ensemble",
    ),
    (["--refine", "fold"], "fold"),
    (["--refine", "ensemble"], "ensemble"),
    (["--samples", "4", "--average", "logits"], "samples"),
    (["--steps", "0"], "0"),
    (["--eta", "-1"], "eta"),
    (["-step_size", "1.5"], "1.5"),
    (["-device", "tpu"], "tpu"),
    (["-f", "7"], "fold 7"),
    (["-f", "0", "x"], "'x'"),
    (["-f", "0", "0"], "fold"),
    (["-chk", "checkpoint_best.pth"], "checkpoint_best.pth"),
    (
        ["-i", "FILES/empty"],
        "NAME_0000.nii.gz",
    ),
    (["-i", "FILES/absent"], "absent"),
    (["-o", "PATIENTS"], "images"),
    (["-o", "FILES/rules.pkl"], "rules.pkl"),
    (["-m", "FILES/absent"], "absent"),
    (["-m", "FILES"], "plans.json"),
    (["-d", "501"], "-m"),
    (["--thresholds", "FILES/absent.json"], "absent.json"),
    (["--thresholds", "FILES/no_json.json"], "no_json.json"),
    (["--thresholds", "FILES/words.json"], "words.json"),
    (
        ["--thresholds", "FILES/unknown.json"],
        "oedema",
    ),
    (["--thresholds", "FILES/large.json"], "ET"),
    (["--strength", "ET=much"], "ET=much"),
    (["--strength", "ET=2"], "ET"),
    (["--strength", "ET=1"], "strength"),
    (["--spread"], "spread"),
    (["--disagreement", "--average", "logits"], "logits"),
    (["--postprocessing", "FILES/absent.pkl"], "absent.pkl"),
    (["--postprocessing", "FILES/rules.pkl"], "rules.pkl"),
    (["-num_parts", "2", "-part_id", "2"], "2"),
]


@pytest.mark.parametrize(("words", "said"), MISTAKES, ids=[" ".join(words) for words, _ in MISTAKES])
def test_a_mistake_gets_one_line(
    model: Path, patients: Path, files: Path, tmp_path: Path, comnet: Any, words: list[str], said: str
) -> None:
    words = [word.replace("FILES", str(files)).replace("PATIENTS", str(patients)) for word in words]
    good = {"-i": str(patients), "-o": str(tmp_path / "out"), "-m": str(model), "-device": "cpu"}
    rest = [word for flag, value in good.items() if flag not in words for word in (flag, value)]
    before = sorted(patients.parent.rglob("*"))
    code, out, err = comnet("predict", *rest, *words)
    assert (code, out) == (1, "")
    assert err.startswith("comnet: error: ")
    assert err.count("\n") == 1
    assert said in err
    assert not (tmp_path / "out").exists()
    assert sorted(patients.parent.rglob("*")) == before


def test_the_refined_models_own_mistakes(refined_model: Path, patients: Path, tmp_path: Path, comnet: Any) -> None:
    words = ("predict", "-i", patients, "-o", tmp_path / "out", "-m", refined_model, "-device", "cpu")
    for more, said in (
        (("--strength", "oedema=0.5"), "oedema"),
        (("--steps", "201"), "201"),
        (("--spread", "--refine", "none"), "spread"),
    ):
        code, _, err = comnet(*words, *more)
        assert code == 1
        assert err.count("\n") == 1
        assert said in err


def test_models_by_name(
    model: Path, patients: Path, tmp_path: Path, comnet: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("nnUNet_results")
    words = ("predict", "-i", patients, "-o", tmp_path / "out", "-device", "cpu", "--disable_tta")
    assert "nnUNet_results" in comnet(*words, "-d", 501)[2]
    monkeypatch.setenv("nnUNet_results", str(model.parent.parent))
    assert "Dataset501_Blobs" in comnet(*words, "-d", 777)[2]
    code, _, err = comnet(*words, "-d", 501, "-tr", "nnUNetTrainer")
    assert (code, err.count("\n")) == (1, 1)
    assert f"nnUNetTrainer__{PLANS_NAME}__3d_fullres" in err
    assert model.name in err
    # Neither nnU-Net's other variables nor nnUNet_extTrainer are needed.
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_extTrainer"):
        monkeypatch.delenv(name)
    for dataset in ("501", "Dataset501_Blobs"):
        code, _, err = comnet(*words, "-d", dataset, "-tr", "nnUNetTrainerCoMNeT", "-f", "0")
        assert (code, err) == (0, "")


def test_checkpoints_that_do_not_fit(blobs: Path, model: Path, patients: Path, tmp_path: Path, comnet: Any) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model, folder)
    other = torch.load(folder / "fold_1" / "checkpoint_final.pth", weights_only=False)
    other["network_weights"] = {name: value[:2] for name, value in other["network_weights"].items()}
    torch.save(other, folder / "fold_1" / "checkpoint_final.pth")
    (folder / "fold_2").mkdir()
    (folder / "fold_2" / "checkpoint_final.pth").write_bytes(b"not a checkpoint")
    words = ("predict", "-i", patients, "-o", tmp_path / "out", "-m", folder, "-device", "cpu")
    for folds, said in (
        ((0, 1), "fold_1/checkpoint_final.pth"),
        ((1, 0), "bottleneck.0.conv1.bias"),
        ((2,), "fold_2/checkpoint_final.pth"),
    ):
        code, out, err = comnet(*words, "-f", *folds)
        assert (code, out, err.count("\n")) == (1, "", 1)
        assert said in err


def test_models_of_another_kind(model: Path, patients: Path, tmp_path: Path, comnet: Any) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model, folder)
    description = json.loads((folder / "dataset.json").read_text())
    description["labels"] = {"background": 0, "necrosis": 1, "enhancing tumor": 2}
    del description["regions_class_order"]
    (folder / "dataset.json").write_text(json.dumps(description))
    code, _, err = comnet("predict", "-i", patients, "-o", tmp_path / "out", "-m", folder, "-device", "cpu")
    assert (code, err.count("\n")) == (1, 1)
    assert "nnUNetv2_predict" in err


@pytest.mark.skipif(torch.cuda.is_available(), reason="the mistake is to ask for a GPU where there is none")
def test_a_gpu_that_is_not_there(model: Path, patients: Path, tmp_path: Path, comnet: Any) -> None:
    code, _, err = comnet("predict", "-i", patients, "-o", tmp_path / "out", "-m", model, "-device", "cuda")
    assert (code, err) == (1, "comnet: error: device 'cuda' was asked for, but torch finds none here: use cpu\n")


def test_images_that_the_api_refuses(model: Path, patients: Path, tmp_path: Path) -> None:
    images = images_of(patients, "LPS")
    folder = with_reader(model, tmp_path / "model", "NibabelIO")
    predictor = CoMNeTPredictor(folder, (0,), options=Options(use_mirroring=False), device="cpu")
    with pytest.raises(DataError, match="T1n, T1c, T2w, FLAIR"):
        predictor.predict(images[:3])
    with pytest.raises(DataError, match=r"absent\.nii\.gz"):
        predictor.predict([*images[:3], tmp_path / "absent.nii.gz"])
    given = nibabel.load(images[3])
    values = given.get_fdata().astype(np.float32)
    values[15, 15, 15] = np.nan
    nibabel.save(nibabel.Nifti1Image(values, given.affine), tmp_path / "nan.nii.gz")
    with pytest.raises(DataError):
        predictor.predict([*images[:3], tmp_path / "nan.nii.gz"])


@pytest.mark.chain
def test_the_installed_commands(
    refined_model: Path, patients: Path, tmp_path: Path, run: Any, nnunet_folders: Path
) -> None:
    """As a user calls it: nnU-Net's flags, none of its talk, no variable; masks to the voxel the stock command's."""
    shown = run("comnet", "predict", "--help").stdout
    for flag in ("-i", "-o", "-d", "-tr", "-c", "-p", "-f", "-chk", "-step_size", "--disable_tta", "--verbose",
                 "--save_probabilities", "--continue_prediction", "-device", "-num_parts", "-part_id"):  # fmt: skip
        assert flag in shown, flag
    variables = dict.fromkeys(("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results", "nnUNet_extTrainer"))
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    words = ("-i", str(patients), "-m", str(refined_model), "-f", "0", "1", "-device", "cpu", "--disable_tta")
    answer = run("comnet", "predict", *words, "-o", str(ours), "--average", "logits", env=variables)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout == f"predicted 3 of 3 cases; masks are in {ours}\n"
    stock = ("nnUNetv2_predict_from_modelfolder", *words, "-o", str(theirs), "-npp", "1", "-nps", "1")
    assert run(*stock).returncode == 0
    for case in ("LPS", "OBLIQUE", "RAS"):
        one, other = (nibabel.load(folder / f"{case}.nii.gz") for folder in (ours, theirs))
        assert np.array_equal(np.asarray(one.dataobj), np.asarray(other.dataobj))
        assert np.array_equal(one.affine, other.affine)
