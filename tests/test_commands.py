"""comnet env, doctor and plan as users call them: what they print, and one line for each mistake."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from nnunetv2_comnet.doctor import examine, extension_folder, trainer_names

COMMANDS = (
    "convert", "plan", "calibrate", "predict", "merge-parts", "evaluate", "compare", "cv-report", "fit-postprocessing",
    "report", "manifest", "verify", "install", "phantom", "env", "doctor",
)  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(run: Any, name: str) -> None:
    answer = run("comnet", name, "--help")
    assert answer.returncode == 0
    assert "Usage: comnet" in answer.stdout


def test_help_lists_the_commands_and_the_version_is_printed(run: Any) -> None:
    answer = run("comnet", "--help").stdout
    assert all(name in answer for name in COMMANDS)
    assert run("comnet", "--version").stdout.startswith("comnet 0.")


def test_env_prints_an_export_line_and_keeps_other_folders(run: Any) -> None:
    alone = run("comnet", "env", env={"nnUNet_extTrainer": None}).stdout
    assert alone == f"export nnUNet_extTrainer={extension_folder()}\n"
    both = run("comnet", "env", env={"nnUNet_extTrainer": f"/other{os.pathsep}{extension_folder()}"}).stdout
    assert both == f"export nnUNet_extTrainer={extension_folder()}{os.pathsep}/other\n"


def test_the_doctor_is_content_with_a_good_environment(run: Any, nnunet_folders: Path) -> None:
    answer = run("comnet", "doctor")
    assert answer.returncode == 0, answer.stdout
    assert "all is well" in answer.stdout
    for name in trainer_names():
        assert f"{name}: stock nnU-Net finds it in nnunetv2_comnet.trainers" in answer.stdout


def test_the_doctor_names_each_thing_wrong_once_with_its_remedy(run: Any, nnunet_folders: Path, tmp_path: Path) -> None:
    # A torchvision that does not fit: what a CPU build of torch beside the index's torchvision looks like.
    broken = tmp_path / "site" / "torchvision"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')\n")
    answer = run(
        "comnet", "doctor",
        env={"nnUNet_raw": None, "nnUNet_results": str(tmp_path / "absent"), "nnUNet_extTrainer": "/elsewhere",
             "PYTHONPATH": str(tmp_path / "site")},
            alone=True,
    )  # fmt: skip
    assert answer.returncode == 1
    assert "Traceback" not in answer.stdout + answer.stderr
    for said in (
        "wrong  nnUNet_raw: not set",
        "fix: export nnUNet_raw=/a/folder/of/yours",
        f"fix: mkdir -p {tmp_path / 'absent'}",
        "wrong  nnUNet_extTrainer: /elsewhere",
        'fix: eval "$(comnet env)"',
        "torchvision fits torch: operator torchvision::nms does not exist",
        "pip install -U --force-reinstall torch torchvision",
    ):
        assert said in answer.stdout, said
    assert answer.stdout.count("comnet env") == 1  # not again for each trainer
    assert "nnUNetTrainer" not in answer.stdout


def test_the_doctor_tries_the_trainers_where_the_variable_names_them(
    monkeypatch: pytest.MonkeyPatch, nnunet_folders: Path
) -> None:
    def broken(_: str) -> None:
        raise ImportError("operator torchvision::nms\ndoes not exist")

    monkeypatch.setenv("nnUNet_extTrainer", f"/other{os.pathsep}{extension_folder()}")
    monkeypatch.setattr("nnunetv2.utilities.find_objects.recursive_find_trainer_class_by_name", broken)
    wrong = {check.name: check.found for check in examine() if not check.well}
    assert wrong == dict.fromkeys(
        trainer_names(), "stock nnU-Net does not find it: operator torchvision::nms does not exist"
    )


def test_plan_writes_what_the_flags_say(blobs: Path) -> None:
    plans = json.loads((blobs / "nnUNetCoMNeTPlans.json").read_text())
    configuration = plans["configurations"]["3d_fullres"]
    assert list(plans["configurations"]) == ["3d_fullres"]
    # The blobs' brain is 39 x 43 x 35 voxels (S-I, A-P, L-R): 48 on every axis holds it.
    assert configuration["patch_size"] == [48, 48, 48]
    assert configuration["batch_size"] == 1
    assert configuration["use_mask_for_norm"] == [True] * 4
    assert configuration["architecture"]["network_class_name"] == "nnunetv2_comnet.networks.mednext_from_plans"
    assert plans["comnet"]["preset"] == "demo"
    assert plans["comnet"]["patch_size"] == [48, 48, 48]
    assert plans["transpose_forward"] == [0, 1, 2]
    assert plans["image_reader_writer"] == "SimpleITKIOWithReorient"


def test_modality_dropout_needs_several_images(run: Any, blobs: Path, nnunet_folders: Path) -> None:
    name = "Dataset503_OneImage"
    shutil.copytree(nnunet_folders / "raw" / blobs.name, nnunet_folders / "raw" / name)
    for image in (nnunet_folders / "raw" / name / "imagesTr").iterdir():
        if not image.name.endswith("_0000.nii.gz"):
            image.unlink()
    description = json.loads((blobs / "dataset.json").read_text()) | {"channel_names": {"0": "T1n"}}
    (nnunet_folders / "raw" / name / "dataset.json").write_text(json.dumps(description))
    planned = blobs.parent / name
    planned.mkdir()
    shutil.copy(blobs / "dataset_fingerprint.json", planned)
    answer = run("comnet", "plan", "-d", "503", "--modality-dropout", "0.5")
    assert answer.returncode == 1
    assert answer.stderr.startswith("comnet: error: modality dropout")
    assert [path.name for path in planned.iterdir()] == ["dataset_fingerprint.json"]
