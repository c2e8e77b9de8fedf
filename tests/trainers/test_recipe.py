"""The trainer on a small preprocessed dataset: accumulation, selection, early stop, resume, what it refuses."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nnunetv2_comnet.settings import make_settings
from nnunetv2_comnet.trainers.mednext import nnUNetTrainerCoMNeT
from tests.trainers.small_training import KilledError, killed_in, make_in, plans_of, weights_of


class ScriptedScores(nnUNetTrainerCoMNeT):
    """The trainer with its validation scores given, so that selection and patience can be worked by hand."""

    scores: tuple[float, ...] = ()

    def on_validation_epoch_end(self, val_outputs: list[dict[str, Any]]) -> None:
        super().on_validation_epoch_end(val_outputs)
        values = self.logger.get_checkpoint()
        values["mean_fg_dice"][-1] = self.scores[self.current_epoch]


def make(blobs: Path, results: Path, kind: type = nnUNetTrainerCoMNeT, **overrides: Any) -> Any:
    """A trainer of fold 0 that writes under `results`."""
    return make_in(results, blobs, kind, plans_of(blobs, **{"max_epochs": 4, **overrides}))


def logged(trainer: Any) -> dict[str, list]:
    values = trainer.logger.get_checkpoint()
    return {name: [np.asarray(v).tolist() for v in row] for name, row in values.items() if "timestamps" not in name}


@pytest.mark.parametrize("dropout", [pytest.param(0.0, marks=pytest.mark.chain), 0.5])
def test_a_killed_training_resumes_bit_for_bit(blobs: Path, tmp_path: Path, dropout: float) -> None:
    whole = make(blobs, tmp_path / "whole", modality_dropout=dropout)
    whole.run_training()

    with pytest.raises(KilledError):
        make(blobs, tmp_path / "killed", killed_in(2, nnUNetTrainerCoMNeT), modality_dropout=dropout).run_training()
    resumed = make(blobs, tmp_path / "killed", modality_dropout=dropout)
    resumed.load_checkpoint(str(tmp_path / "killed" / "fold_0" / "checkpoint_latest.pth"))
    assert resumed.current_epoch == 2
    resumed.run_training()

    for name, value in weights_of(whole).items():
        assert torch.equal(value, weights_of(resumed)[name]), name
    assert logged(whole) == logged(resumed)
    finals = [
        torch.load(tmp_path / which / "fold_0" / "checkpoint_final.pth", weights_only=False)["optimizer_state"]["state"]
        for which in ("whole", "killed")
    ]
    for key, state in finals[0].items():
        assert torch.equal(state["exp_avg_sq"], finals[1][key]["exp_avg_sq"])


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(blobs: Path, tmp_path: Path) -> None:
    first, same, other = (make(blobs, tmp_path / name, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    for trainer in (first, same, other):
        trainer.initialize()
    name = "stem.weight"
    assert torch.equal(weights_of(first)[name], weights_of(same)[name])
    assert not torch.equal(weights_of(first)[name], weights_of(other)[name])


def test_two_accumulated_patches_step_like_a_batch_of_two(blobs: Path, tmp_path: Path) -> None:
    trainer = make(blobs, tmp_path / "r", max_gradient_norm=1e-3)
    trainer.initialize()
    trainer.dataloader_train, _ = trainer.get_dataloaders()
    batches = [next(trainer.dataloader_train) for _ in range(2)]
    trainer.on_train_epoch_start = lambda: None  # type: ignore[method-assign]
    trainer.lr_scheduler.step(0)
    before = weights_of(trainer)
    twin = make(blobs, tmp_path / "t")
    twin.initialize()
    twin.network.load_state_dict(before)

    for batch in batches:
        trainer.train_step(batch)

    # By hand: the mean loss of both patches, gradients clipped to norm 1e-3, one AdamW step.
    losses = [twin.loss(twin.network(batch["data"]), batch["target"]) for batch in batches]
    (sum(losses) / 2).backward()
    trained = [p for p in twin.network.parameters() if p.requires_grad]
    norm = torch.sqrt(sum(p.grad.square().sum() for p in trained))
    rate = 3e-3  # the demo's peak: its one warm-up epoch is this one
    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(rate)
    for name, parameter in twin.network.named_parameters():
        if not parameter.requires_grad:
            continue
        gradient = parameter.grad * min(1.0, 1e-3 / (float(norm) + 1e-6))
        expected = before[name] * (1 - rate * 1e-5) - rate * gradient / (gradient.abs() + 1e-8)
        assert torch.allclose(weights_of(trainer)[name], expected, atol=2e-4), name


def test_the_optimiser_waits_for_the_whole_batch(blobs: Path, tmp_path: Path) -> None:
    trainer = make(blobs, tmp_path)
    trainer.initialize()
    assert (trainer.batch_size, trainer.accumulation, trainer.num_iterations_per_epoch) == (1, 2, 4)
    trainer.dataloader_train, _ = trainer.get_dataloaders()
    before = weights_of(trainer)["stem.weight"]
    trainer.train_step(next(trainer.dataloader_train))
    assert torch.equal(weights_of(trainer)["stem.weight"], before)
    trainer.train_step(next(trainer.dataloader_train))
    assert not torch.equal(weights_of(trainer)["stem.weight"], before)


def test_the_best_epoch_becomes_final_and_patience_ends_the_training(blobs: Path, tmp_path: Path) -> None:
    ScriptedScores.scores = (0.2, 0.6, 0.5, 0.6, 0.9)
    trainer = make(blobs, tmp_path, ScriptedScores, max_epochs=5, patience=2, steps_per_epoch=1)
    weights: dict[int, dict[str, torch.Tensor]] = {}
    keep = trainer.on_epoch_end

    def remember() -> None:
        weights[trainer.current_epoch] = weights_of(trainer)
        keep()

    trainer.on_epoch_end = remember  # type: ignore[method-assign]
    trainer.run_training()

    assert sorted(weights) == [0, 1, 2, 3]  # 0.6 in epoch 1 is not beaten in 2 and 3; the 0.9 of epoch 4 never comes
    final = torch.load(tmp_path / "fold_0" / "checkpoint_final.pth", weights_only=False)["network_weights"]
    assert torch.equal(final["stem.weight"], weights[1]["stem.weight"])
    assert not torch.equal(final["stem.weight"], weights[3]["stem.weight"])
    assert (tmp_path / "fold_0" / "progress.png").stat().st_size > 10_000
    assert not (tmp_path / "fold_0" / "checkpoint_latest.pth").exists()

    # `--c` on a finished training trains no further.
    again = make(blobs, tmp_path, ScriptedScores, max_epochs=5, patience=2)
    again.load_checkpoint(str(tmp_path / "fold_0" / "checkpoint_final.pth"))
    again.run_training()
    assert torch.equal(weights_of(again)["stem.weight"], weights[1]["stem.weight"])


def test_five_heads_are_trained_each_with_its_own_weight(blobs: Path, tmp_path: Path) -> None:
    trainer = make(blobs, tmp_path)
    trainer.initialize()
    batch = next(trainer.get_dataloaders()[0])
    assert [tuple(target.shape[2:]) for target in batch["target"]] == [(s, s, s) for s in (32, 16, 8, 4, 2)]
    trainer.network.zero_grad()
    trainer.loss(trainer.network(batch["data"]), batch["target"]).backward()
    for head in range(5):
        gradient = getattr(trainer.network, f"out_{head}").conv_out.weight.grad
        assert gradient.abs().max() > 0, head
    assert trainer.loss.weights == pytest.approx([w / 31 for w in (16, 8, 4, 2, 1)])


def test_a_failed_write_keeps_the_previous_checkpoint(blobs: Path, tmp_path: Path, monkeypatch: Any) -> None:
    trainer = make(blobs, tmp_path)
    trainer.initialize()
    target = tmp_path / "fold_0" / "checkpoint_latest.pth"
    trainer.save_checkpoint(str(target))
    whole = target.read_bytes()

    def full(checkpoint: Any, filename: str) -> None:
        Path(filename).write_bytes(b"half a checkpoint")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(SystemExit, match=r"checkpoint_latest\.pth"):
        trainer.save_checkpoint(str(target))
    assert target.read_bytes() == whole


def test_a_checkpoint_of_another_network_is_refused_in_one_line(blobs: Path, tmp_path: Path) -> None:
    small = make(blobs, tmp_path / "small")
    small.initialize()
    small.save_checkpoint(str(tmp_path / "other.pth"))
    larger = make(blobs, tmp_path / "larger", base_channels=8)
    with pytest.raises(SystemExit) as caught:
        larger.load_checkpoint(str(tmp_path / "other.pth"))
    message = str(caught.value)
    assert "other.pth" in message
    assert "\n" not in message
    (tmp_path / "broken.pth").write_bytes(b"not a checkpoint")
    with pytest.raises(SystemExit, match=r"broken\.pth"):
        larger.load_checkpoint(str(tmp_path / "broken.pth"))


def test_settings_that_the_hardware_does_not_have_are_refused(blobs: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="float16"):
        make(blobs, tmp_path, precision="float16")


def test_only_other_settings_of_another_fold_are_warned_of(blobs: Path, tmp_path: Path) -> None:
    first = make(blobs, tmp_path)
    saved = {**first.plans_manager.plans, "comnet": dict(first.plans_manager.plans["comnet"])}
    refiner = dict(saved["comnet"]["refiner"])
    refiner["sampling_steps"] = refiner.pop("num_inference_steps")  # as it was called before
    for patience, warned in ((first.settings.patience, False), (7, True)):
        saved["comnet"] |= {"refiner": refiner, "patience": patience}
        (tmp_path / "plans.json").write_text(json.dumps(saved))
        trainer = make(blobs, tmp_path)
        trainer.on_train_start()
        said = Path(trainer.log_file).read_text()
        assert ("trained with other settings (patience)" in said) == ("other settings" in said) == warned


def test_stock_plans_get_the_paper_preset_on_their_own_axes() -> None:
    from nnunetv2_comnet.plans import apply_settings

    stock: dict[str, Any] = {
        "plans_name": "nnUNetPlans",
        "transpose_forward": [2, 0, 1],  # the third image axis (L-R) comes first
        "configurations": {
            "3d_fullres": {
                "patch_size": [128, 128, 128],
                "batch_size": 2,
                "median_image_size_in_voxels": [140.0, 138.0, 170.0],
                "spacing": [1.0, 1.0, 1.0],
                "data_identifier": "nnUNetPlans_3d_fullres",
                "normalization_schemes": ["ZScoreNormalization"] * 4,
                "architecture": {"network_class_name": "some.UNet", "arch_kwargs": {}, "_kw_requires_import": []},
            }
        },
    }
    settings, said = apply_settings(stock, "3d_fullres")
    entry = stock["configurations"]["3d_fullres"]
    assert settings == make_settings("paper")
    assert "'paper' preset was applied" in said
    assert entry["patch_size"] == [128, 112, 160]  # L-R, S-I, A-P
    assert entry["batch_size"] == 1
    assert entry["architecture"]["network_class_name"] == "nnunetv2_comnet.networks.mednext_from_plans"
    assert entry["data_identifier"] == "nnUNetPlans_3d_fullres"
    assert stock["comnet"]["preset"] == "paper"


@pytest.mark.chain
def test_plans_of_the_stock_planner_train_the_papers_network(blobs: Path, run: Any, tmp_path: Path) -> None:
    # nnU-Net's own planner hands this number to torch.set_num_threads, which refuses our 0.
    workers = {"nnUNet_n_proc_DA": "1"}
    stock = run("nnUNetv2_plan_and_preprocess", "-d", "501", "-c", "3d_fullres", "-np", "1", env=workers)
    assert stock.returncode == 0, stock.stderr[-2000:]
    plans = json.loads((blobs / "nnUNetPlans.json").read_text())
    normalised = plans["configurations"]["3d_fullres"]["use_mask_for_norm"]
    plans["continue_training"] = False
    os.environ["nnUNet_results"] = str(tmp_path)
    trainer = nnUNetTrainerCoMNeT(
        plans, "3d_fullres", 0, json.loads((blobs / "dataset.json").read_text()), torch.device("cpu")
    )
    trainer.initialize()
    assert sum(parameter.numel() for parameter in trainer.network.parameters()) == 10_562_799
    assert trainer.configuration_manager.patch_size == [48, 48, 48]  # 112 x 160 x 128 fitted to the small images
    assert trainer.configuration_manager.use_mask_for_norm == normalised  # preprocessing has happened: untouched
    trainer.dataloader_train, _ = trainer.get_dataloaders()
    trainer.on_train_epoch_start()
    before = weights_of(trainer)["stem.weight"]
    losses = [trainer.train_step(next(trainer.dataloader_train))["loss"] for _ in range(trainer.accumulation)]
    assert np.isfinite(losses).all()
    assert not torch.equal(weights_of(trainer)["stem.weight"], before)
