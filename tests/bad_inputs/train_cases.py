"""Bad inputs of stock `nnUNetv2_train` with our trainers: our hooks end it in one line, before anything is trained."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tests.bad_inputs import files
from tests.bad_inputs.case import BadInput, shared

DATASET, PLANS = "Dataset501_Blobs", "nnUNetCoMNeTPlans"
TRAIN = f"nnUNetv2_train {DATASET} 3d_fullres 0 -tr nnUNetTrainerCoMNeT -p {PLANS} -device cpu"
REFINE = TRAIN.replace("CoMNeT -p", "CoMNeTCorrDiff -p")
STAGE_1 = f"results/{DATASET}/nnUNetTrainerCoMNeT__{PLANS}__3d_fullres"
STAGE_2 = f"results/{DATASET}/nnUNetTrainerCoMNeTCorrDiff__{PLANS}__3d_fullres"
LOGS = ("results/*/*/fold_*/training_log_*.txt", "results/*/*/fold_*/debug.json", "results/*/*/plans.json",
        "results/*/*/dataset.json", "results/*/*/dataset_fingerprint.json", "preprocessed/*/splits_final.json")  # fmt: skip
Json = Callable[[Any], Any]


def preprocessed(here: Path) -> Path:
    """The preprocessed dataset; its files of data are links."""
    folder = here / "preprocessed" / DATASET
    source = shared(here, "blobs")
    folder.mkdir()
    for path in source.iterdir():
        if path.is_dir():
            (folder / path.name).mkdir()
            for one in path.iterdir():
                (folder / path.name / one.name).symlink_to(one)
        else:
            shutil.copy(path, folder)
    return folder


def with_json(name: str, change: Json) -> Callable[[Path], None]:
    def make(here: Path) -> None:
        path = preprocessed(here) / name
        content = json.loads(path.read_text())
        changed = change(content)
        path.write_text(json.dumps(content if changed is None else changed))

    return make


def with_splits(splits: Any) -> Callable[[Path], None]:
    return lambda here: (preprocessed(here) / "splits_final.json").write_text(json.dumps(splits)) and None


def section(**changed: Any) -> Callable[[Path], None]:
    """Other values in the plans' `comnet` section."""
    return with_json(f"{PLANS}.json", lambda plans: plans["comnet"].update(changed))


def configuration(**changed: Any) -> Callable[[Path], None]:
    return with_json(f"{PLANS}.json", lambda plans: plans["configurations"]["3d_fullres"].update(changed))


def stage_1(here: Path) -> Path:
    """Two folds of stage 1 in the results, by the plans that the refiner will train with."""
    folder = preprocessed(here)
    model = here / STAGE_1
    shutil.copytree(shared(here, "model"), model)
    shutil.copy(model / "plans.json", folder / f"{PLANS}.json")
    (folder / "splits_final.json").write_text(json.dumps(SPLITS))
    return model


def with_stage_1(spoil: Callable[[Path], object]) -> Callable[[Path], None]:
    return lambda here: spoil(stage_1(here)) and None


def refused(title: str, words: str, says: str, make: Callable[[Path], object], **more: Any) -> BadInput:
    more.setdefault("makes", LOGS)
    return BadInput(title, words, (f"comnet: error: {says}",), lambda here: make(here) and None, **more)


def _checkpoint(model: Path, fold: int, change: Callable[[dict[str, Any]], Any]) -> None:
    path = model / f"fold_{fold}" / "checkpoint_final.pth"
    content = torch.load(path, weights_only=False)
    change(content)
    torch.save(content, path)


def _other_weights(content: dict[str, Any]) -> None:
    content["network_weights"] = {name: value[:2] for name, value in content["network_weights"].items()}


def _plans_of_stage_1(change: Json) -> Callable[[Path], None]:
    def make(here: Path) -> None:
        model = stage_1(here)
        content = json.loads((model / "plans.json").read_text())
        change(content)
        (model / "plans.json").write_text(json.dumps(content))

    return make


def _another_split(here: Path) -> None:
    model = stage_1(here)
    (model / "fold_1" / "validation").mkdir()
    (model / "fold_1" / "validation" / "BLOB000.nii.gz").write_bytes(b"")


def _without_data(here: Path) -> None:
    shutil.rmtree(next(preprocessed(here).glob("*3d_fullres")))


def _without_a_case(here: Path) -> None:
    for path in next(preprocessed(here).glob("*3d_fullres")).glob("BLOB003*"):
        path.unlink()


def _broken_data(here: Path) -> None:
    for path in next(preprocessed(here).glob("*3d_fullres")).glob("BLOB00*.b2nd"):
        path.unlink()
        path.write_bytes(b"no data")


def _broken_properties(here: Path) -> None:
    for path in next(preprocessed(here).glob("*3d_fullres")).glob("BLOB00*.pkl"):
        path.unlink()
        path.write_bytes(b"no pickle")


def _checkpoint_to_continue(here: Path) -> None:
    preprocessed(here)
    folder = here / STAGE_1 / "fold_0"
    folder.mkdir(parents=True)
    (folder / "checkpoint_latest.pth").write_bytes(b"half a checkpoint")


CASES_ = [f"BLOB{number:03d}" for number in range(6)]
SPLITS = [{"train": CASES_[3:], "val": CASES_[:3]}, {"train": CASES_[:3], "val": CASES_[3:]}]
TRAINING = (
    refused("an unknown key in the plans' section", TRAIN, "?", section(learning_rat=1), shell=True),
    refused("a setting of the wrong type", TRAIN, "?", section(max_epochs="many")),
    refused("a patch that 16 does not divide, in the plans", TRAIN, "?", section(patch_size=[40, 48, 48])),
    refused("a patch in the configuration that 16 does not divide", TRAIN, "?", configuration(patch_size=[40, 44, 36])),
    refused("0 channels in the plans", TRAIN, "?", section(base_channels=0)),
    refused("a section that is a list", TRAIN, "?", with_json(f"{PLANS}.json", lambda plans: plans.update(comnet=[1]))),
    refused("a section that is nothing", TRAIN, "?", with_json(f"{PLANS}.json", lambda plans: plans.update(comnet=None))),
    refused("a configuration that there is not", TRAIN.replace("3d_fullres", "3d_lowres"), "?", preprocessed),
    refused("a configuration without a network", TRAIN, "?", with_json(f"{PLANS}.json", lambda plans: plans["configurations"]["3d_fullres"].pop("architecture") and None)),
    refused("another network in the plans than in their section", TRAIN, "?", with_json(f"{PLANS}.json", lambda plans: plans["configurations"]["3d_fullres"]["architecture"].update(network_class_name="torch.nn.Identity"))),
    refused("a network with another number of channels than its section says", TRAIN, "?", section(base_channels=8)),
    refused("a dataset of labels", TRAIN, "?", with_json("dataset.json", lambda content: content.update(labels={"background": 0, "necrosis": 1, "oedema": 2}) or (content.pop("regions_class_order") and None))),
    refused("no order of regions", TRAIN, "?", with_json("dataset.json", lambda content: content.pop("regions_class_order") and None)),
    refused("no preprocessed data", TRAIN, "?", _without_data),
    refused("a case without preprocessed data", TRAIN, "?", _without_a_case),
    refused("preprocessed data that are broken", TRAIN, "?", _broken_data),
    refused("properties that are broken", TRAIN, "?", _broken_properties),
    refused("splits that are not JSON", TRAIN, "?", lambda here: (preprocessed(here) / "splits_final.json").write_text("[{")),
    refused("splits that are a number", TRAIN, "?", with_splits(5)),
    refused("splits without val", TRAIN, "?", with_splits([{"train": CASES_}])),
    refused("a fold beyond the splits", TRAIN.replace(" 0 ", " 4 "), "?", with_splits(SPLITS)),
    refused("a case in train and val", TRAIN, "?", with_splits([{"train": CASES_, "val": CASES_[:1]}])),
    refused("a split of a case that there is not", TRAIN, "?", with_splits([{"train": ["BLOB009"], "val": CASES_[:1]}])),
    refused("a fold with nothing to train on", TRAIN, "?", with_splits([{"train": [], "val": CASES_}])),
    refused("a fold with nothing to validate on", TRAIN, "?", with_splits([{"train": CASES_, "val": []}])),
    refused("a checkpoint to continue from that is broken", TRAIN + " --c", "?", _checkpoint_to_continue),
    refused("stage 2 without stage 1", REFINE, "?", preprocessed),
    refused("stage 2, its fold of stage 1 missing", REFINE, "?", with_stage_1(lambda model: shutil.rmtree(model / "fold_0"))),
    refused("stage 2 on a stage 1 cut in half", REFINE, "?", with_stage_1(lambda model: files.cut(model / "fold_1/checkpoint_final.pth"))),
    refused("stage 2 on another network's stage 1", REFINE, "?", with_stage_1(lambda model: _checkpoint(model, 1, _other_weights))),
    refused("stage 2 on a stage 1 of other plans", REFINE, "?", _plans_of_stage_1(lambda plans: plans["configurations"]["3d_fullres"].update(spacing=[1, 1, 1]))),
    refused("stage 2 on a stage 1 whose plans are gone", REFINE, "?", with_stage_1(lambda model: (model / "plans.json").unlink())),
    refused("stage 2 on a stage 1 whose plans are a list", REFINE, "?", with_stage_1(lambda model: (model / "plans.json").write_text("[]"))),
    refused("stage 2 on a stage 1 of another split", REFINE, "?", _another_split),
    refused("stage 2 on splits that hold a case out twice", REFINE, "?", lambda here: (stage_1(here).parents[2] / f"preprocessed/{DATASET}/splits_final.json").write_text(json.dumps([SPLITS[0], {"train": CASES_[:3], "val": CASES_[2:]}]))),
)  # fmt: skip
CASES = TRAINING
