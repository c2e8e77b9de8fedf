"""What a kill leaves at its worst moments, and how the same command goes on."""

import json
from pathlib import Path
from typing import Any

import pytest
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunetv2_comnet.dataset_conversion.convert import ConversionOptions, convert_dataset
from nnunetv2_comnet.plans import prepare_dataset
from tests.dataset_conversion.tiny_patients import write_utsw
from tests.inference.conftest import build_trainer


class Killed(BaseException):
    """Nothing catches it."""


@pytest.mark.parametrize("number", range(1, 11))
def test_a_conversion_killed_while_it_makes_its_folders_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    write_utsw(tmp_path / "in", "BT0001")
    options = ConversionOptions(layout="utsw", source=tmp_path / "in", dataset_id=501, out=tmp_path / "out", folds=2)
    whole, calls = Path.mkdir, []

    def mkdir(self: Path, *arguments: Any, **keywords: Any) -> None:
        calls.append(self)
        if len(calls) == number:
            raise Killed
        whole(self, *arguments, **keywords)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with pytest.raises(Killed):
        convert_dataset(options)
    assert [case.case for case in convert_dataset(options).converted] == ["BT0001"]


def test_a_plans_file_that_nnunet_left_half_written_is_written_again(blobs: Path, tmp_path: Path) -> None:
    trainer = build_trainer(blobs, tmp_path / "results", 0)
    plans = tmp_path / "results" / "plans.json"
    text = plans.read_text()
    plans.write_text(text[: len(text) // 2])
    trainer.on_train_start()
    assert json.loads(plans.read_text())["comnet"]["base_channels"] == 4


def test_the_splits_are_nnunets_own_written_whole(blobs: Path, tmp_path: Path) -> None:
    trainer, path = build_trainer(blobs, tmp_path / "results", 0), blobs / "splits_final.json"
    path.unlink(missing_ok=True)
    expected = nnUNetTrainer.do_split(trainer)
    stock = json.loads(path.read_text())
    path.unlink()
    assert trainer.do_split() == expected
    assert json.loads(path.read_text()) == stock


def test_a_finished_training_leaves_nothing_of_the_unfinished(blobs: Path, tmp_path: Path) -> None:
    """Killed between checkpoint_final.pth and the removal of checkpoint_latest.pth, or within a write."""
    trainer = build_trainer(blobs, tmp_path / "results", 0)
    fold = tmp_path / "results" / "fold_0"
    for name in ("checkpoint_final.pth", "checkpoint_latest.pth"):
        trainer.save_checkpoint(str(fold / name))
    (fold / ".partial-abc").mkdir()
    (fold / ".partial-abc" / "checkpoint_final.pth").write_bytes(b"half")
    trainer.load_checkpoint(str(fold / "checkpoint_final.pth"))
    trainer.run_training()
    assert sorted(path.name for path in fold.iterdir() if "log" not in path.name) == ["checkpoint_final.pth"]


def test_a_fingerprint_that_nnunet_left_half_written_is_made_again(blobs: Path) -> None:
    path = blobs / "dataset_fingerprint.json"
    text = path.read_text()
    path.write_text(text[: len(text) // 2])
    (blobs / ".partial-abc").mkdir()
    prepare_dataset(501, 1)
    assert json.loads(path.read_text()) == json.loads(text)
    assert not (blobs / ".partial-abc").exists()
