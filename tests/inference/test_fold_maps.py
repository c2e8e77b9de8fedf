"""The folds' weights are the checkpoints' own, one fold in memory at a time."""

import gc
import weakref
from pathlib import Path

import pytest
import torch

from nnunetv2_comnet.errors import DataError
from nnunetv2_comnet.inference.fold_maps import FoldWeights, read_ahead


def save(path: Path, **weights: float) -> Path:
    """A checkpoint like nnU-Net's: weights below `network_weights`, other things beside them."""
    torch.save(
        {
            "network_weights": {name.replace("__", "."): torch.full((3, 2), value) for name, value in weights.items()},
            "optimizer_state": {"state": {0: torch.zeros(6)}},
        },
        path,
    )
    return path


def test_each_fold_is_its_own_checkpoint(tmp_path: Path) -> None:
    paths = [save(tmp_path / f"{fold}.pth", coarse__a=fold, refiner__a=-fold) for fold in (1.0, 2.0, 3.0)]
    folds = FoldWeights(paths)
    assert len(folds) == 3
    assert [float(weights["coarse.a"][0, 0]) for weights in folds] == [1, 2, 3]
    assert [list(weights) for weights in folds.below("coarse.")] == [["a"]] * 3
    assert [float(weights["a"].sum()) for weights in folds[1:].below("refiner.")] == [-12, -18]


def test_no_fold_is_kept_when_the_next_is_asked_for(tmp_path: Path) -> None:
    folds = FoldWeights([save(tmp_path / f"{fold}.pth", a=fold) for fold in (1.0, 2.0)])
    first = weakref.ref(folds[0]["a"])
    gc.collect()
    assert first() is None


def test_reading_ahead_gives_the_same_weights_and_never_more_than_the_next(tmp_path: Path) -> None:
    paths = [save(tmp_path / f"{fold}.pth", coarse__a=fold) for fold in (1.0, 2.0, 3.0, 4.0)]
    folds = FoldWeights(paths).below("coarse.")
    read: list[int] = []

    class Watched(FoldWeights):
        def __getitem__(self, index):  # type: ignore[no-untyped-def,override]  # as its parent
            read.append(index)
            return super().__getitem__(index)

    seen, before = [], None
    for weights in read_ahead(Watched(folds.checkpoints, folds.prefix)):
        assert max(read, default=0) <= len(seen) + 1
        assert before is None or before() is None, "the fold before is still in memory"
        seen.append(float(weights["a"][0, 0]))
        before = weakref.ref(weights["a"])
        del weights
    assert seen == [1, 2, 3, 4]
    assert sorted(read) == [0, 1, 2, 3]


def test_reading_ahead_tells_of_a_broken_checkpoint_in_its_turn(tmp_path: Path) -> None:
    whole, broken = save(tmp_path / "whole.pth", a=1.0), tmp_path / "broken.pth"
    broken.write_bytes(whole.read_bytes()[:200])
    ahead = read_ahead(FoldWeights([whole, broken]))
    assert float(next(ahead)["a"][0, 0]) == 1
    with pytest.raises(DataError, match=r"broken\.pth"):
        next(ahead)


def test_a_broken_checkpoint_is_named(tmp_path: Path) -> None:
    whole = save(tmp_path / "whole.pth", a=1.0)
    broken = tmp_path / "broken.pth"
    broken.write_bytes(whole.read_bytes()[:200])
    with pytest.raises(DataError, match=r"^[^\n]*broken\.pth[^\n]*$"):
        FoldWeights([whole, broken])[1]
