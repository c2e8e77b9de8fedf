"""Memory that does not suffice, and images cut off: one line, and the rest of the batch goes on."""

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch

from nnunetv2_comnet.inference.sliding_window import SlidingWindow

FAST = ("-f", "0", "--disable_tta", "-device", "cpu")


def overcommits() -> bool:
    """Whether the system grants memory that it does not have."""
    setting = Path("/proc/sys/vm/overcommit_memory")
    return not setting.exists() or setting.read_text().strip() == "1"


@pytest.mark.skipif(overcommits(), reason="this system grants memory that it does not have, and kills later")
def test_a_patient_too_large_for_the_memory_costs_only_itself(
    model: Path, patients: Path, tmp_path: Path, comnet: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A header of 400 mm a voxel asks for hundreds of GiB once it is resampled to 2 mm, if it is let in."""
    monkeypatch.setattr("nnunetv2_comnet.inference.resampling.MOST_VOXELS", 10**15)
    images = tmp_path / "images"
    shutil.copytree(patients, images)
    for path in images.glob("LPS_*"):
        nibabel.save(
            nibabel.Nifti1Image(nibabel.load(path).get_fdata(dtype=np.float32), np.diag([400, 400, 400, 1])), path
        )
    code, said, wrong = comnet("predict", "-i", images, "-o", tmp_path / "out", "-m", model, *FAST)
    assert (code, wrong.count("\n")) == (1, 1)
    assert said.startswith("predicted 2 of 3 cases")
    reasons = json.loads((tmp_path / "out" / "failures.json").read_text())
    assert list(reasons) == ["LPS"]
    assert "allocate" in reasons["LPS"]


def no_room_for_sums(*_: Any) -> Any:
    return torch.empty(2**50)  # torch's own error


def no_room_on_the_gpu(*_: Any) -> Any:
    raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")


def no_room_for_python(*_: Any) -> Any:
    raise MemoryError


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (no_room_for_sums, "not enough memory: "),
        (no_room_for_python, "not enough memory: no more is known"),
        (no_room_on_the_gpu, "not enough GPU memory; --not_on_device keeps whole volumes off the GPU"),
    ],
)
def test_no_memory_in_the_sliding_window(
    model: Path, patients: Path, tmp_path: Path, comnet: Any, monkeypatch: pytest.MonkeyPatch, fault: Any, reason: str
) -> None:
    whole, calls = SlidingWindow.logits, []

    def second_fails(self: SlidingWindow, *arguments: Any) -> Any:
        calls.append(self)
        return fault() if len(calls) == 2 else whole(self, *arguments)

    monkeypatch.setattr(SlidingWindow, "logits", second_fails)
    code, said, wrong = comnet("predict", "-i", patients, "-o", tmp_path, "-m", model, *FAST)
    assert (code, wrong.count("\n")) == (1, 1)
    assert said.startswith("predicted 2 of 3 cases")
    reasons = json.loads((tmp_path / "failures.json").read_text())
    assert list(reasons) == ["OBLIQUE"]
    assert reasons["OBLIQUE"].startswith(reason)
    assert sorted(path.name for path in tmp_path.glob("*.nii.gz")) == ["LPS.nii.gz", "RAS.nii.gz"]


def test_a_cut_image_is_refused_and_costs_only_its_patient(
    model: Path, patients: Path, tmp_path: Path, comnet: Any
) -> None:
    """nnU-Net's reader would silently fill the missing end with zeros."""
    images = tmp_path / "images"
    shutil.copytree(patients, images)
    scan = images / "OBLIQUE_0002.nii.gz"
    scan.write_bytes(scan.read_bytes()[:-2000])
    code, said, _ = comnet("predict", "-i", images, "-o", tmp_path / "out", "-m", model, *FAST)
    assert code == 1
    assert said.startswith("predicted 2 of 3 cases")
    reasons = json.loads((tmp_path / "out" / "failures.json").read_text())
    assert set(reasons) == {"OBLIQUE"}
    assert str(scan) in reasons["OBLIQUE"]
