"""comnet predict runs nothing that a model brings: checkpoints, plans, rules; stock nnU-Net predicts ours unpickled."""

import json
import pickle
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch

from nnunetv2_comnet.errors import ConfigurationError
from nnunetv2_comnet.inference.loading import require_known_networks
from tests.trust.evil import Touch

FAST = ("--disable_tta", "-step_size", 1, "-device", "cpu", "-f", 0)
CHECKPOINT = Path("fold_0") / "checkpoint_final.pth"


@pytest.fixture
def copied(model: Path, tmp_path: Path) -> Path:
    """A model that may be changed."""
    return Path(shutil.copytree(model, tmp_path / "model"))


@pytest.fixture
def refused(patients: Path, tmp_path: Path, comnet: Any) -> Iterator[Any]:
    """Predicts, and asserts that the answer is one line with `said`, nothing written, and nothing run."""

    def check(model: Path, said: str, *words: object) -> None:
        code, out, err = comnet("predict", "-i", patients, "-o", tmp_path / "out", "-m", model, *FAST, *words)
        assert (code, out, err.count("\n")) == (1, "", 1)
        assert said in err
        assert not (tmp_path / "out").exists()

    yield check
    assert not (tmp_path / "ran").exists()


def masks(folder: Path) -> dict[str, np.ndarray]:
    return {path.name: np.asarray(nibabel.load(path).dataobj) for path in sorted(folder.glob("*.nii.gz"))}


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return list(one) == list(other) and all(np.array_equal(one[name], other[name]) for name in one)


def test_a_checkpoint_that_runs_a_command_is_refused(copied: Path, tmp_path: Path, refused: Any) -> None:
    content = torch.load(copied / CHECKPOINT, weights_only=True)
    torch.save({**content, "more": Touch(tmp_path / "ran")}, copied / CHECKPOINT)
    refused(copied, "posix.system")


def test_rules_that_run_a_command_are_refused(copied: Path, tmp_path: Path, refused: Any) -> None:
    (tmp_path / "rules.pkl").write_bytes(pickle.dumps(([Touch(tmp_path / "ran")], [{}])))
    refused(copied, "posix.system", "--postprocessing", tmp_path / "rules.pkl")


def test_plans_that_run_a_command_are_refused(copied: Path, tmp_path: Path, refused: Any) -> None:
    """nnU-Net's networks call what the plans name as nonlin, with the plans' arguments."""
    plans = json.loads((copied / "plans.json").read_text())
    plans["configurations"]["3d_fullres"]["architecture"] = {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": {
            **{"n_stages": 2, "features_per_stage": [4, 8], "kernel_sizes": 3, "strides": [1, 2]},
            **{"n_conv_per_stage": 1, "n_conv_per_stage_decoder": 1, "conv_op": "torch.nn.Conv3d"},
            **{"nonlin": "subprocess.Popen", "nonlin_kwargs": {"args": ["touch", str(tmp_path / "ran")]}},
        },
        "_kw_requires_import": ["conv_op", "nonlin"],
    }
    (copied / "plans.json").write_text(json.dumps(plans))
    refused(copied, "subprocess.Popen")


@pytest.mark.parametrize(
    ("network", "layer", "bad"),
    [
        ("nnunetv2_comnet.networks.mednext_from_plans", None, None),
        ("dynamic_network_architectures.architectures.unet.ResidualEncoderUNet", "torch.nn.LeakyReLU", None),
        ("torch.nn.Identity", "dynamic_network_architectures.building_blocks.residual.BottleneckD", None),
        ("os.system", None, "os.system"),
        ("torch.hub.load", None, "torch.hub.load"),
        ("torch.nn.Identity", "subprocess.Popen", "subprocess.Popen"),
        ("torch.nn.Identity", "torch.nn.modules.module.torch.hub.load", "torch.nn.modules.module.torch.hub.load"),
        ("dynamic_network_architectures.absent.UNet", None, "dynamic_network_architectures.absent.UNet"),
        ("torch.nn.Identity", "torch.nnx.Evil", "torch.nnx.Evil"),
    ],
)
def test_only_networks_may_be_named(tmp_path: Path, network: str, layer: str | None, bad: str | None) -> None:
    architecture = {"network_class_name": network, "arch_kwargs": {"x": layer}, "_kw_requires_import": ["x"]}
    (tmp_path / "plans.json").write_text(json.dumps({"configurations": {"a": {}, "b": {"architecture": architecture}}}))
    if bad is None:
        require_known_networks(tmp_path / "plans.json")
        return
    with pytest.raises(ConfigurationError, match=rf"plans\.json.*{re.escape(bad)}"):
        require_known_networks(tmp_path / "plans.json")


def test_a_checkpoint_as_stock_nnunet_writes_it_predicts_the_same(
    model: Path, copied: Path, patients: Path, tmp_path: Path, comnet: Any
) -> None:
    content = torch.load(copied / CHECKPOINT, weights_only=True)
    content["logging"] = {"mean_fg_dice": [np.float64(0.5)], "train_losses": [np.float32(1)]}
    content["_best_ema"] = np.float64(0.25)
    content["init_args"]["device"] = torch.device("cuda")
    torch.save(content, copied / CHECKPOINT)
    for folder, out in ((model, "plain"), (copied, "numbers")):
        assert comnet("predict", "-i", patients, "-o", tmp_path / out, "-m", folder, *FAST)[0] == 0
    assert same(masks(tmp_path / "plain"), masks(tmp_path / "numbers"))


@pytest.mark.chain
def test_stock_prediction_needs_no_unpickling_and_gives_the_same(
    refined_model: Path, patients: Path, tmp_path: Path, run: Any, nnunet_folders: Path
) -> None:
    words = ("-i", str(patients), "-m", str(refined_model), "-f", "0", "-device", "cpu", "--disable_tta")
    for name, env in (("forced", {"TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1"}), ("as ever", {})):
        stock = ("nnUNetv2_predict_from_modelfolder", *words, "-o", str(tmp_path / name), "-npp", "1", "-nps", "1")
        answer = run(*stock, env=env)
        assert answer.returncode == 0, answer.stderr
    assert len(masks(tmp_path / "forced")) == 3
    assert same(masks(tmp_path / "forced"), masks(tmp_path / "as ever"))


def test_a_model_that_is_not_the_manifests_is_refused_before_it_is_loaded(
    copied: Path, patients: Path, tmp_path: Path, comnet: Any, refused: Any
) -> None:
    manifest = tmp_path / "manifest.json"
    assert comnet("manifest", copied, "-o", manifest)[0] == 0
    words = ("-i", patients, "-m", copied, *FAST, "--manifest", manifest)
    assert comnet("predict", *words, "-o", tmp_path / "good")[0] == 0
    refused(copied, "manifest.json.absent", "--manifest", f"{manifest}.absent")
    # A checkpoint that nothing could load: its hash is told, not what loading it says.
    (copied / CHECKPOINT).write_bytes(b"exchanged")
    refused(copied, str(CHECKPOINT), "--manifest", manifest)
    (copied / CHECKPOINT).unlink()
    refused(copied, str(CHECKPOINT), "--manifest", manifest)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("dataset.json", "[]", "dataset.json"),
        ("dataset.json", {"labels": []}, "labels"),
        ("dataset.json", {"channel_names": {"one": "T1"}}, "dataset.json"),
        ("dataset.json", {"file_ending": None}, "file_ending"),
        ("plans.json", "3", "plans.json"),
        ("plans.json", {"configurations": {"3d_fullres": 1}}, "configurations.3d_fullres"),
        ("calibration.json", "[]", "calibration.json"),
        ("calibration.json", '{"strength": {"ET": "much"}}', "strength.ET"),
        ("calibration.json", '{"strength": {}}', "checkpoints"),
    ],
)
def test_a_damaged_file_of_the_model_is_told_with_its_field(
    refined_model: Path, tmp_path: Path, refused: Any, name: str, content: Any, said: str
) -> None:
    copied = Path(shutil.copytree(refined_model, tmp_path / "model"))
    if isinstance(content, dict):
        content = json.dumps({**json.loads((copied / name).read_text()), **content})
    (copied / name).write_text(content)
    refused(copied, said)


def test_a_damaged_record_of_an_earlier_run_is_told(model: Path, patients: Path, tmp_path: Path, comnet: Any) -> None:
    words = ("predict", "-i", patients, "-o", tmp_path / "out", "-m", model, *FAST, "--continue_prediction")
    (tmp_path / "out").mkdir()
    for content, said in (
        ("[]", "comnet_run.json"),
        ('{"cases": {"A": 3}}', "cases.A"),
    ):
        (tmp_path / "out" / "comnet_run.json").write_text(content)
        code, _, err = comnet(*words)
        assert (code, err.count("\n")) == (1, 1)
        assert said in err
