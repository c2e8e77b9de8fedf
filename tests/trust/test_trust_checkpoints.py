"""Checkpoints are read without running what they hold; numbers of numpy's, as stock nnU-Net writes them, are read."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nnunetv2_comnet.errors import DataError
from nnunetv2_comnet.trust.checkpoints import never_unpickled, plain, read_checkpoint
from tests.trust.evil import Touch, works

WEIGHTS = {"a": torch.arange(3.0)}


def test_a_checkpoint_that_runs_a_command_is_refused_by_its_name(tmp_path: Path) -> None:
    assert works(tmp_path)
    for number, content in enumerate(
        ({"network_weights": WEIGHTS, "logging": Touch(tmp_path / "ran")}, Touch(tmp_path / "ran"))
    ):
        path = tmp_path / f"{number}.pth"
        torch.save(content, path)
        with pytest.raises(DataError, match=rf"{number}\.pth.*posix\.system") as e:
            read_checkpoint(path)
        assert "\n" not in str(e.value)
    torch.save(Touch(tmp_path / "ran"), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    with pytest.raises(DataError, match=r"old\.pth"):
        read_checkpoint(tmp_path / "old.pth")
    assert not (tmp_path / "ran").exists()


def test_numbers_of_numpys_are_read(tmp_path: Path) -> None:
    numbers = [np.float64(0.1), np.float32(0.1), np.float16(0.1), np.int64(-3), np.int32(4), np.bool_(True)]
    torch.save({"network_weights": WEIGHTS, "logging": numbers, "device": torch.device("cpu")}, tmp_path / "c.pth")
    found = read_checkpoint(tmp_path / "c.pth")
    assert [(type(one), one) for one in found["logging"]] == [(type(one), one) for one in numbers]
    assert torch.equal(found["network_weights"]["a"], WEIGHTS["a"])


@pytest.mark.parametrize("content", [[1, 2], {"weights": 1}, {"network_weights": 3}])
def test_another_file_is_no_checkpoint(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(DataError, match=r"other\.pth"):
        read_checkpoint(tmp_path / "other.pth")


def test_a_missing_and_a_damaged_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.pth"):
        read_checkpoint(tmp_path / "none.pth")
    torch.save({"network_weights": WEIGHTS}, tmp_path / "whole.pth")
    for length in (0, 1, 100, 500):
        (tmp_path / "cut.pth").write_bytes((tmp_path / "whole.pth").read_bytes()[:length])
        with pytest.raises(DataError, match=r"cut\.pth[^\n]+$"):
            read_checkpoint(tmp_path / "cut.pth")


@pytest.mark.parametrize("before", [{}, {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}])
def test_nobody_unpickles_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: dict[str, str]) -> None:
    for name, value in before.items():
        monkeypatch.setenv(name, value)
    torch.save(Touch(tmp_path / "ran"), tmp_path / "evil.pth")
    environment = dict(os.environ)
    with never_unpickled(), pytest.raises(Exception, match=r"(?i)weights.only"):
        torch.load(tmp_path / "evil.pth", weights_only=False)
    assert not (tmp_path / "ran").exists()
    assert dict(os.environ) == environment


def test_plain_keeps_values_and_order() -> None:
    tensor = torch.zeros(2)
    given = {
        "z": np.float32(0.1),
        "a": [np.float64(1 / 3), (np.int64(2), None), {np.int64(1): np.bool_(True)}],
        "array": np.arange(4).reshape(2, 2),
        "device": torch.device("cuda", 1),
        "path": Path("/x/y"),
        "tensor": tensor,
    }
    made = plain(given)
    assert made == {
        "z": float(np.float32(0.1)),
        "a": [1 / 3, (2, None), {1: True}],
        "array": [[0, 1], [2, 3]],
        "device": "cuda:1",
        "path": "/x/y",
        "tensor": tensor,
    }
    assert list(made) == list(given)
    assert made["tensor"] is tensor
    assert [type(made["z"]), type(made["a"][0]), type(made["a"][1][0]), type(made["array"][0][0])] == [
        float, float, int, int,
    ]  # fmt: skip
