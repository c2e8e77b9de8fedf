"""Stage 2's trainer on a small dataset: who serves whom, frozen weights, resume, self-contained checkpoints."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class

from nnunetv2_comnet.crossval import serve
from nnunetv2_comnet.errors import DataError
from nnunetv2_comnet.plans import PLANS_NAME
from nnunetv2_comnet.trainers.corrdiff import (
    nnUNetTrainerCoMNeTCorrDiff,
    nnUNetTrainerCoMNeTCorrDiffInFold,
    nnUNetTrainerCoMNeTCorrDiffNoise,
    nnUNetTrainerCoMNeTDeterministic,
)
from nnunetv2_comnet.trainers.mednext import nnUNetTrainerCoMNeT
from tests.conftest import DATASET
from tests.trainers.small_training import KilledError, killed_in, make_trainer, plans_of, weights_of

STAGE_1 = f"nnUNetTrainerCoMNeT__{PLANS_NAME}__3d_fullres"
SMALL = {
    "refiner_max_epochs": 3,
    "refiner_codes_epochs": 1,
    "refiner_channels": 4,
    "refiner_autoencoder_channels": 8,
    "refiner_codebook_size": 8,
    "refiner_num_inference_steps": 2,
}


def make(blobs: Path, kind: type, fold: int | str = 0, **overrides: Any) -> Any:
    return make_trainer(blobs, kind, plans_of(blobs, **{**SMALL, **overrides}), fold)


@pytest.fixture(scope="module")
def five_folds(blobs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five folds of stage 1 with weights of their own, as if trained."""
    folder = tmp_path_factory.mktemp("stage_1")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("nnUNet_results", str(tmp_path_factory.mktemp("logs")))
        for fold in range(5):
            trainer = make(blobs, nnUNetTrainerCoMNeT, fold)
            trainer.initialize()
            trainer.save_checkpoint(str(folder / f"fold_{fold}" / "checkpoint_final.pth"))
    (folder / "plans.json").write_text(json.dumps(plans_of(blobs, **SMALL)))
    return folder


@pytest.fixture
def stage_1(five_folds: Path, tmp_path: Path) -> Path:
    os.environ["nnUNet_results"] = str(tmp_path)
    return Path(shutil.copytree(five_folds, tmp_path / DATASET / STAGE_1))


def splits_of(blobs: Path) -> list[dict[str, list[str]]]:
    splits: list[dict[str, list[str]]] = json.loads((blobs / "splits_final.json").read_text())
    return splits


def out_of_fold(trainer: Any) -> dict[str, Any]:
    written: dict[str, Any] = json.loads((Path(trainer.output_folder) / "out_of_fold.json").read_text())
    return written


def test_every_case_is_served_by_the_model_that_held_it_out(blobs: Path, stage_1: Path) -> None:
    trainer = make(blobs, nnUNetTrainerCoMNeTCorrDiff, 1)
    trainer.on_train_start()
    said = out_of_fold(trainer)
    assert said["in_fold"] == []
    assert said["warning"] == ""
    data = str(blobs / f"{PLANS_NAME}_3d_fullres")
    served = {}
    for fold, split in enumerate(splits_of(blobs)):
        checkpoint = torch.load(stage_1 / f"fold_{fold}" / "checkpoint_final.pth", weights_only=False)
        network = make(blobs, nnUNetTrainerCoMNeT, fold)
        network.initialize()
        network.network.load_state_dict(checkpoint["network_weights"])
        network.network.deep_supervision = False
        for case in split["val"]:
            image, _, _, _ = infer_dataset_class(data)(data, [case]).load_case(case)
            patch = torch.from_numpy(np.array(image[:, :32, :32, :32]))[None]
            with torch.no_grad():
                expected = network.network.eval()(patch)
            assert torch.equal(trainer.fold_models.logits(patch, [case]), expected), case
            served[case] = fold
    assert said["served_by"] == served
    assert len(served) == 6


def test_in_training_each_patch_asks_its_own_model(blobs: Path, stage_1: Path) -> None:
    trainer = make(blobs, nnUNetTrainerCoMNeTCorrDiff, 0)
    trainer.on_train_start()
    asked: list[int] = []
    for fold, network in trainer.fold_models.networks.items():
        network.register_forward_hook(lambda *_, fold=fold: asked.append(fold))
    held_out = {case: fold for fold, split in enumerate(splits_of(blobs)) for case in split["val"]}
    trainer.on_train_epoch_start()
    expected = []
    for _ in range(6):
        batch = next(trainer.dataloader_train)
        expected += [held_out[case] for case in batch["keys"]]
        trainer.train_step(batch)
    assert asked == expected
    assert set(asked) == {1, 2, 3, 4}  # fold 0 held its own cases out of this training
    asked.clear()
    trainer.on_validation_epoch_start()
    with torch.no_grad():
        for _ in range(2):
            trainer.validation_step(next(trainer.dataloader_val))
    assert set(asked) == {0}


def test_the_base_stays_as_it_was(blobs: Path, stage_1: Path) -> None:
    trainer = make(blobs, nnUNetTrainerCoMNeTCorrDiff, 0)
    trainer.run_training()
    checkpoint = torch.load(stage_1 / "fold_0" / "checkpoint_final.pth", weights_only=False)["network_weights"]
    after = weights_of(trainer)
    for name, value in checkpoint.items():
        assert torch.equal(after["coarse." + name], value), name
    assert not torch.equal(after["refiner.condition.stem.weight"], after["average.condition.stem.weight"])
    trained = {id(p) for group in trainer.optimizer.param_groups for p in group["params"]}
    assert trained.isdisjoint(id(p) for p in trainer.network.coarse.parameters())
    log = next(Path(trainer.output_folder).glob("training_log_*.txt")).read_text()
    for said in ("refiner losses: diffusion", "codebook perplexity", "6 of 6 cases by the stage 1 model that did not"):
        assert said in log, said


@pytest.mark.chain
@pytest.mark.parametrize("keep", [False, True])
def test_a_killed_training_resumes_bit_for_bit(blobs: Path, stage_1: Path, keep: bool) -> None:
    whole = make(blobs, nnUNetTrainerCoMNeTCorrDiff, refiner_keep_patches=keep)
    whole.run_training()
    killed = make(blobs, killed_in(2, nnUNetTrainerCoMNeTCorrDiff), refiner_keep_patches=keep)
    with pytest.raises(KilledError):
        killed.run_training()
    resumed = make(blobs, nnUNetTrainerCoMNeTCorrDiff, refiner_keep_patches=keep)
    resumed.load_checkpoint(str(Path(killed.output_folder) / "checkpoint_latest.pth"))
    assert resumed.current_epoch == 2
    resumed.output_folder = killed.output_folder
    resumed.run_training()
    expected = weights_of(whole)
    for name, value in weights_of(resumed).items():
        assert torch.equal(value, expected[name]), name


def test_kept_patches_are_made_and_mapped_once(blobs: Path, stage_1: Path) -> None:
    trainer = make(blobs, nnUNetTrainerCoMNeTCorrDiff, refiner_keep_patches=True, refiner_steps_per_epoch=3)
    trainer.on_train_start()
    assert trainer.num_iterations_per_epoch == 3 * 2
    asked: list[int] = []
    for network in trainer.fold_models.networks.values():
        network.register_forward_hook(lambda *_: asked.append(1))
    epochs = []
    for _ in range(2):
        trainer.on_train_epoch_start()
        batches = [next(trainer.dataloader_train) for _ in range(6)]
        epochs.append([batch["data"].clone() for batch in batches])
        for batch in batches:
            trainer.train_step(batch)
        trainer.current_epoch += 1
    assert all(torch.equal(first, second) for first, second in zip(*epochs, strict=True))
    assert len({batch.sum().item() for batch in epochs[0]}) == 6
    assert len(asked) == 6


def test_a_checkpoint_predicts_where_stage_1_is_no_more(blobs: Path, stage_1: Path) -> None:
    trainer = make(blobs, nnUNetTrainerCoMNeTCorrDiff)
    trainer.run_training()
    image = torch.randn(1, 4, 32, 32, 32, generator=torch.Generator().manual_seed(0))
    trainer.network.eval()
    expected = trainer.network(image)
    shutil.rmtree(stage_1)
    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(trainer.output_folder_base, (0,), "checkpoint_final.pth")
    predictor.network.eval()
    assert torch.equal(predictor.network(image), expected)


def test_without_stage_1_one_line_names_what_to_train(blobs: Path, tmp_path: Path) -> None:
    os.environ["nnUNet_results"] = str(tmp_path)
    trainer = make(blobs, nnUNetTrainerCoMNeTCorrDiff, 3)
    with pytest.raises(SystemExit) as caught:
        trainer.run_training()
    said = str(caught.value)
    assert said.startswith("comnet: error: ")
    assert f"nnUNetv2_train {DATASET} 3d_fullres 3 -tr nnUNetTrainerCoMNeT -p {PLANS_NAME}" in said
    assert "\n" not in said


def test_missing_folds_fall_back_to_the_own_model_and_say_so(blobs: Path, stage_1: Path) -> None:
    shutil.rmtree(stage_1 / "fold_2")
    trainer = make(blobs, nnUNetTrainerCoMNeTCorrDiff, 0)
    trainer.on_train_start()
    affected = splits_of(blobs)[2]["val"]
    said = out_of_fold(trainer)
    assert said["in_fold"] == affected
    assert all(said["served_by"][case] == 0 for case in affected)
    log = next(Path(trainer.output_folder).glob("training_log_*.txt")).read_text()
    assert "WARNING: " in log
    assert "2" in said["warning"]


def test_stage_1_of_other_plans_or_another_split_is_refused(blobs: Path, stage_1: Path) -> None:
    other = plans_of(blobs, **SMALL, base_channels=8)
    (stage_1 / "plans.json").write_text(json.dumps(other))
    with pytest.raises(SystemExit, match="architecture"):
        make(blobs, nnUNetTrainerCoMNeTCorrDiff).run_training()
    (stage_1 / "plans.json").write_text(json.dumps(plans_of(blobs, **SMALL)))
    with pytest.raises(SystemExit, match="modality_dropout"):
        make(blobs, nnUNetTrainerCoMNeTCorrDiff, modality_dropout=0.5).run_training()
    (stage_1 / "fold_1" / "validation").mkdir()
    (stage_1 / "fold_1" / "validation" / f"{splits_of(blobs)[0]['val'][0]}.nii.gz").touch()
    with pytest.raises(SystemExit, match="fold_1"):
        make(blobs, nnUNetTrainerCoMNeTCorrDiff).run_training()


def test_the_variants_differ_in_what_their_names_say(blobs: Path, stage_1: Path) -> None:
    for kind, name, value in (
        (nnUNetTrainerCoMNeTCorrDiffInFold, "coarse_maps", "in-fold"),
        (nnUNetTrainerCoMNeTCorrDiffNoise, "prediction_type", "epsilon"),
        (nnUNetTrainerCoMNeTDeterministic, "objective", "deterministic"),
    ):
        trainer = make(blobs, kind)
        trainer.on_train_start()
        saved = json.loads((Path(trainer.output_folder_base) / "plans.json").read_text())["comnet"]["refiner"]
        assert saved == {**plans_of(blobs, **SMALL)["comnet"]["refiner"], name: value}
        trainer.on_train_epoch_start()
        outputs = [trainer.train_step(next(trainer.dataloader_train)) for _ in range(2)]
        assert np.isfinite([output["loss"] for output in outputs]).all()
    in_fold = make(blobs, nnUNetTrainerCoMNeTCorrDiffInFold)
    in_fold.on_train_start()
    assert set(in_fold.fold_models.service.served_by.values()) == {0}


def test_assignment_by_hand() -> None:
    splits = [{"train": ["b", "c"], "val": ["a"]}, {"train": ["a", "c"], "val": ["b"]}, {"train": ["a"], "val": ["c"]}]
    all_there = serve(splits, [0, 1, 2], 0, coarse_maps="out-of-fold")
    assert (all_there.served_by, all_there.in_fold) == ({"a": 0, "b": 1, "c": 2}, [])
    one_missing = serve(splits, [0, 1], 0, coarse_maps="out-of-fold")
    assert (one_missing.served_by, one_missing.in_fold) == ({"a": 0, "b": 1, "c": 0}, ["c"])
    in_fold = serve(splits, [0, 1, 2], 0, coarse_maps="in-fold")
    assert in_fold.served_by == {"a": 0, "b": 0, "c": 0}
    assert in_fold.in_fold == ["b", "c"]
    with pytest.raises(DataError, match=" a "):
        serve([{"train": [], "val": ["a"]}, {"train": [], "val": ["a"]}], [0, 1], 0, coarse_maps="out-of-fold")
