"""Our checkpoints hold nothing that needs unpickling, and stock nnU-Net reads them as it reads its own."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunetv2_comnet.trainers.mednext import nnUNetTrainerCoMNeT
from tests.trainers.small_training import weights_of
from tests.trainers.test_recipe import logged, make
from tests.trust.evil import Touch

# A process of its own, where nobody has told torch of numpy's numbers.
STRICT = """
import sys, torch
def walk(value):
    kinds = {type(value).__name__}
    if isinstance(value, dict):
        value = [*value, *value.values()]
    return kinds.union(*map(walk, value)) if isinstance(value, (list, tuple)) else kinds
for path in sys.argv[1:]:
    print(*sorted(walk(torch.load(path, weights_only=True))))
"""
PLAIN = {"dict", "OrderedDict", "list", "tuple", "str", "int", "float", "bool", "NoneType", "Tensor"}


@pytest.fixture(scope="module")
def trained(blobs: Path, tmp_path_factory: pytest.TempPathFactory) -> nnUNetTrainerCoMNeT:
    """A finished training of two epochs."""
    before = os.environ["nnUNet_results"]
    trainer = make(blobs, tmp_path_factory.mktemp("trained"), max_epochs=2)
    trainer.run_training()
    os.environ["nnUNet_results"] = before
    return trainer


def test_every_checkpoint_of_a_training_loads_with_weights_only(trained: nnUNetTrainerCoMNeT) -> None:
    folder = Path(trained.output_folder)
    trained.save_checkpoint(str(folder / "checkpoint_latest.pth"))  # removed at the end of a training
    paths = sorted(map(str, folder.glob("checkpoint_*.pth")))
    assert [Path(path).name for path in paths] == [f"checkpoint_{name}.pth" for name in ("best", "final", "latest")]
    answer = subprocess.run([sys.executable, "-c", STRICT, *paths], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    for line in answer.stdout.splitlines():
        assert set(line.split()) <= PLAIN


def test_it_says_what_nnunets_own_would_say(trained: nnUNetTrainerCoMNeT, tmp_path: Path) -> None:
    trained.save_checkpoint(str(tmp_path / "ours.pth"))
    nnUNetTrainer.save_checkpoint(trained, str(tmp_path / "theirs.pth"))
    ours, theirs = (torch.load(tmp_path / f"{name}.pth", weights_only=False) for name in ("ours", "theirs"))
    assert ours.keys() == theirs.keys()
    for name in ours.keys() - {"network_weights", "optimizer_state", "init_args"}:
        assert ours[name] == theirs[name], name
    assert ours["init_args"]["plans"] == trained.plans_manager.plans
    assert ours["init_args"]["configuration"] == "3d_fullres"
    assert str(ours["init_args"]["device"]) == "cpu"


def test_stock_nnunet_loads_it(blobs: Path, trained: nnUNetTrainerCoMNeT, tmp_path: Path) -> None:
    path = str(tmp_path / "latest.pth")
    trained.save_checkpoint(path)
    other = make(blobs, tmp_path / "other", max_epochs=2)
    nnUNetTrainer.load_checkpoint(other, path)
    assert other.current_epoch == trained.current_epoch + 1
    assert logged(other) == logged(trained)
    assert all(torch.equal(value, weights_of(other)[name]) for name, value in weights_of(trained).items())
    steps = [trainer.optimizer.state_dict()["state"][0]["exp_avg"] for trainer in (trained, other)]
    assert torch.equal(*steps)


def test_a_checkpoint_with_numpys_numbers_still_resumes(
    blobs: Path, trained: nnUNetTrainerCoMNeT, tmp_path: Path
) -> None:
    """What was written before: the log in numpy's numbers, the device as torch has it."""
    trained.save_checkpoint(str(tmp_path / "ours.pth"))
    content = torch.load(tmp_path / "ours.pth", weights_only=True)
    content["logging"]["mean_fg_dice"] = [np.float64(v) for v in content["logging"]["mean_fg_dice"]]
    content["logging"]["train_losses"] = [np.float32(v) for v in content["logging"]["train_losses"]]
    content["init_args"]["device"] = torch.device("cpu")
    torch.save(content, tmp_path / "older.pth")
    other = make(blobs, tmp_path / "other", max_epochs=2)
    other.load_checkpoint(str(tmp_path / "older.pth"))
    scores = logged(trained)["mean_fg_dice"]
    assert logged(other)["mean_fg_dice"][: len(scores)] == scores
    other.save_checkpoint(str(tmp_path / "again.pth"))
    assert subprocess.run([sys.executable, "-c", STRICT, str(tmp_path / "again.pth")], check=False).returncode == 0


def test_resuming_from_a_checkpoint_that_runs_a_command_is_refused(
    blobs: Path, trained: nnUNetTrainerCoMNeT, tmp_path: Path
) -> None:
    trained.save_checkpoint(str(tmp_path / "ours.pth"))
    content: dict[str, Any] = torch.load(tmp_path / "ours.pth", weights_only=True)
    torch.save({**content, "more": Touch(tmp_path / "ran")}, tmp_path / "evil.pth")
    other = make(blobs, tmp_path / "other", max_epochs=2)
    with pytest.raises(SystemExit, match=r"evil\.pth.*posix\.system") as caught:
        other.load_checkpoint(str(tmp_path / "evil.pth"))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()
