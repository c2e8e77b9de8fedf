"""The baseline's trainer: its loss, that all else is nnUNetTrainerCoMNeT's, resume, stock prediction, refusals."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_comnet.settings import make_settings
from nnunetv2_comnet.trainers.mednext import nnUNetTrainerCoMNeT
from nnunetv2_comnet.trainers.segresnet import nnUNetTrainerSegResNet
from tests.trainers.small_training import KilledError, killed_in, make_in, plans_of, weights_of

SMALL = {
    "max_epochs": 3,
    "segresnet_init_filters": 8,
    "segresnet_blocks_down": (1, 1, 1, 1),
    "segresnet_dropout": 0.2,
}


def make(blobs: Path, results: Path, kind: type = nnUNetTrainerSegResNet, plans: Any = None) -> Any:
    return make_in(results, blobs, kind, plans or plans_of(blobs, **SMALL))


def test_the_loss_is_standard_dice_and_cross_entropy(blobs: Path, tmp_path: Path) -> None:
    trainer = make(blobs, tmp_path)
    trainer.initialize()
    batch = next(trainer.get_dataloaders()[0])
    logits, y = trainer.network(batch["data"]), batch["target"].float()
    # The formula as the method states it, eps 1e-5, without a word of our code.
    p = torch.sigmoid(logits)
    dice = [
        (2 * (p[0, r] * y[0, r]).sum() + 1e-5) / (p[0, r].sum() + y[0, r].sum() + 1e-5) for r in range(logits.shape[1])
    ]
    bce = -(y * F.logsigmoid(logits) + (1 - y) * F.logsigmoid(-logits)).mean()
    expected = 1 - sum(dice) / 3 + bce
    torch.testing.assert_close(trainer.loss(logits, batch["target"]), expected, atol=1e-5, rtol=0)
    assert y.sum() > 0


def test_all_but_network_and_loss_is_stage_1s(blobs: Path, tmp_path: Path) -> None:
    ours, theirs = (
        make(blobs, tmp_path / kind.__name__, kind) for kind in (nnUNetTrainerSegResNet, nnUNetTrainerCoMNeT)
    )
    for trainer in (ours, theirs):
        trainer.initialize()
    assert type(ours.optimizer) is type(theirs.optimizer)
    assert type(ours.lr_scheduler) is type(theirs.lr_scheduler)
    for trainer in (ours, theirs):
        assert trainer.optimizer.param_groups[0]["weight_decay"] == 1e-5
    rates = []
    for trainer in (ours, theirs):
        rates.append([])
        for epoch in range(3):
            trainer.lr_scheduler.step(epoch)
            rates[-1].append(trainer.optimizer.param_groups[0]["lr"])
    assert rates[0] == rates[1]
    # The demo's peak, reached in its one warm-up epoch; then half a cosine over the two epochs that are left.
    assert rates[0] == pytest.approx([3e-3, 3e-3, 1.5e-3])
    for name in ("num_epochs", "accumulation", "batch_size", "num_iterations_per_epoch", "precision", "seed"):
        assert getattr(ours, name) == getattr(theirs, name), name
    loaders = [trainer.get_dataloaders() for trainer in (ours, theirs)]
    for which in range(2):  # training, augmented; validation, plain
        for _ in range(3):
            a, b = (next(pair[which]) for pair in loaders)
            assert a["keys"] == b["keys"]
            assert torch.equal(a["data"], b["data"])
            assert torch.equal(a["target"], b["target"][0])  # the finest of five


@pytest.mark.chain
def test_a_killed_training_resumes_bit_for_bit_and_stock_prediction_finds_it(blobs: Path, tmp_path: Path) -> None:
    whole = make(blobs, tmp_path / "whole")
    whole.run_training()
    with pytest.raises(KilledError):
        make(blobs, tmp_path / "killed", killed_in(1, nnUNetTrainerSegResNet)).run_training()
    resumed = make(blobs, tmp_path / "killed")
    resumed.load_checkpoint(str(tmp_path / "killed" / "fold_0" / "checkpoint_latest.pth"))
    assert resumed.current_epoch == 1
    resumed.run_training()
    for name, value in weights_of(whole).items():
        assert torch.equal(value, weights_of(resumed)[name]), name

    # What stock nnU-Net makes of the folder: it finds the class through nnUNet_extTrainer and builds the network.
    saved = json.loads((tmp_path / "whole" / "plans.json").read_text())
    assert saved["comnet"]["segresnet"] == {
        "init_filters": 8,
        "blocks_down": [1, 1, 1, 1],
        "blocks_up": [1, 1, 1],
        "dropout": 0.2,
    }
    predictor = nnUNetPredictor(device=torch.device("cpu"), perform_everything_on_device=False)
    predictor.initialize_from_trained_model_folder(str(tmp_path / "whole"), (0,), "checkpoint_final.pth")
    predictor.network.load_state_dict(predictor.list_of_parameters[0])
    image = torch.randn(1, 4, 32, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(predictor.network.eval()(image), whole.network.eval()(image))


def test_plans_from_before_the_baseline_train_it_in_the_bundles_size(blobs: Path, tmp_path: Path) -> None:
    plans = plans_of(blobs, **SMALL)
    del plans["comnet"]["segresnet"]
    trainer = make(blobs, tmp_path, plans=plans)
    trainer.initialize()
    assert sum(parameter.numel() for parameter in trainer.network.parameters()) == 4_702_227
    assert trainer.plans_manager.plans["comnet"]["segresnet"]["init_filters"] == 16  # saved with the model


def test_weights_of_another_network_are_refused_in_one_line(blobs: Path, tmp_path: Path) -> None:
    mednext, ours = make(blobs, tmp_path / "a", nnUNetTrainerCoMNeT), make(blobs, tmp_path / "b")
    for trainer in (mednext, ours):
        trainer.initialize()
    with pytest.raises(SystemExit):
        ours.network.load_state_dict(mednext.network.state_dict())
    mednext.save_checkpoint(str(tmp_path / "other.pth"))
    with pytest.raises(SystemExit) as caught:
        make(blobs, tmp_path / "c").load_checkpoint(str(tmp_path / "other.pth"))
    assert "does not fit this trainer and its plans" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_patch_that_does_not_halve_three_times_is_refused(blobs: Path, tmp_path: Path) -> None:
    plans = plans_of(blobs, **SMALL)
    plans["configurations"]["3d_fullres"]["patch_size"] = [32, 36, 32]
    with pytest.raises(SystemExit, match=r"patch_size \[32, 36, 32\]"):
        make(blobs, tmp_path, plans=plans)
    manager = PlansManager(plans)  # prediction builds the network without a trainer
    with pytest.raises(SystemExit, match=r"\[32, 36, 32\]"):
        nnUNetTrainerSegResNet.build_network_architecture(manager, manager.get_configuration("3d_fullres"), 4, 3)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"segresnet_init_filters": 12}, "segresnet.init_filters"),
        ({"segresnet_blocks_up": (1, 0, 1)}, "blocks_up"),
        ({"segresnet_filters": 8}, "segresnet.filters"),
    ],
)
def test_sizes_are_checked_when_planned(wrong: dict, said: str) -> None:
    from nnunetv2_comnet.errors import ConfigurationError

    with pytest.raises(ConfigurationError) as caught:
        make_settings("paper", **wrong)
    assert said in str(caught.value)
