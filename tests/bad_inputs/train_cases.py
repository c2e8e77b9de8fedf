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
DATA = f"{PLANS}_3d_fullres"
TRAIN = f"nnUNetv2_train {DATASET} 3d_fullres 0 -tr nnUNetTrainerCoMNeT -p {PLANS} -device cpu"
REFINE = TRAIN.replace("CoMNeT -p", "CoMNeTCorrDiff -p")
STAGE_1 = f"results/{DATASET}/nnUNetTrainerCoMNeT__{PLANS}__3d_fullres"
STAGE_2 = f"results/{DATASET}/nnUNetTrainerCoMNeTCorrDiff__{PLANS}__3d_fullres"
LOGS = ("results/*/*/fold_*/training_log_*.txt", "results/*/*/fold_*/debug.json", "results/*/*/plans.json",
        "results/*/*/dataset.json", "results/*/*/dataset_fingerprint.json",
            "preprocessed/*/splits_final.json")  # fmt: skip
Json = Callable[[Any], object]


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
        elif path.name != "splits_final.json":  # which other tests may have made
            shutil.copy(path, folder)
    return folder


def with_json(name: str, change: Json) -> Callable[[Path], object]:
    def make(here: Path) -> None:
        path = preprocessed(here) / name
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return make


def with_splits(splits: Any) -> Callable[[Path], object]:
    return lambda here: (preprocessed(here) / "splits_final.json").write_text(json.dumps(splits))


def section(**changed: Any) -> Callable[[Path], object]:
    """Other values in the plans' `comnet` section."""
    return with_json(f"{PLANS}.json", lambda plans: plans["comnet"].update(changed))


def configuration(**changed: Any) -> Callable[[Path], object]:
    return with_json(f"{PLANS}.json", lambda plans: plans["configurations"]["3d_fullres"].update(changed))


def stage_1(here: Path) -> Path:
    """Two folds of stage 1 in the results, by the plans that the refiner will train with."""
    folder = preprocessed(here)
    model = here / STAGE_1
    shutil.copytree(shared(here, "model"), model)
    shutil.copy(model / "plans.json", folder / f"{PLANS}.json")
    (folder / "splits_final.json").write_text(json.dumps(SPLITS))
    return model


def with_stage_1(spoil: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda here: spoil(stage_1(here))


def refused(title: str, words: str, says: str, make: Callable[[Path], object], **more: Any) -> BadInput:
    more.setdefault("makes", LOGS)
    return BadInput(title, words, (f"comnet: error: {says}",), lambda here: make(here), **more)


def _checkpoint(model: Path, fold: int, change: Callable[[dict[str, Any]], Any]) -> None:
    path = model / f"fold_{fold}" / "checkpoint_final.pth"
    content = torch.load(path, weights_only=False)
    change(content)
    torch.save(content, path)


def _other_weights(content: dict[str, Any]) -> None:
    content["network_weights"] = {name: value[:2] for name, value in content["network_weights"].items()}


def _plans_of_stage_1(change: Json) -> Callable[[Path], object]:
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
    shutil.rmtree(preprocessed(here) / DATA)


def _without_a_case(here: Path) -> None:
    folder = preprocessed(here)
    (folder / "splits_final.json").write_text(json.dumps(SPLITS))
    for path in folder.glob(f"{DATA}/BLOB003*"):
        path.unlink()


def _broken_data(here: Path) -> None:
    for path in (preprocessed(here) / DATA).glob("BLOB00*.b2nd"):
        path.unlink()
        path.write_bytes(b"no data")


def _broken_properties(here: Path) -> None:
    for path in (preprocessed(here) / DATA).glob("BLOB00*.pkl"):
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
    refused("an unknown key in the plans' section", TRAIN, "section 'comnet' of the plans: learning_rat = 1: extra "
        "inputs are not permitted", section(learning_rat=1), shell=True),
    refused("a setting of the wrong type", TRAIN, "section 'comnet' of the plans: max_epochs = 'many': input should "
        "be a valid integer, unable to parse string as an integer", section(max_epochs="many")),
    refused("a patch that 16 does not divide, in the plans", TRAIN, "section 'comnet' of the plans: patch_size [40, "
        "48, 48]: every side must be a multiple of 16, at least 32", section(patch_size=[40, 48, 48])),
    refused("a patch in the configuration that 16 does not divide", TRAIN, "patch_size [40, 44, 36] of the plans' "
        "configuration: every side must be a multiple of 16, at least 32", configuration(patch_size=[40, 44, 36])),
    refused("0 channels in the plans", TRAIN, "section 'comnet' of the plans: base_channels = 0: input should be "
        "greater than or equal to 4", section(base_channels=0)),
    refused("a section that is a list", TRAIN, "section 'comnet' of the plans must hold names with values, as "
        "`comnet plan` writes them", with_json(f"{PLANS}.json", lambda plans: plans.update(comnet=[1]))),
    refused("a section that is nothing", TRAIN, "section 'comnet' of the plans must hold names with values, as "
        "`comnet plan` writes them", with_json(f"{PLANS}.json", lambda plans: plans.update(comnet=None))),
    refused("a configuration that there is not", TRAIN.replace("3d_fullres", "3d_lowres"),
        "the plans have no configuration '3d_lowres'; there are: 3d_fullres", preprocessed),
    refused("a configuration without a network", TRAIN, "the plans are damaged (KeyError: 'UNet_class_name'): write "
        "them again with `comnet plan`", with_json(f"{PLANS}.json",
        lambda plans: plans["configurations"]["3d_fullres"].pop("architecture"))),
    refused("another network in the plans than in their section", TRAIN, "the plans name network torch.nn.Identity, "
        "their 'comnet' section another: write them again with `comnet plan`", with_json(f"{PLANS}.json",


        lambda plans: plans["configurations"]["3d_fullres"]["architecture"].update(
            network_class_name="torch.nn.Identity"))),
    refused("a network with another number of channels than its section says", TRAIN,
        "the plans' network and their 'comnet' section differ in base_channels: write them again with `comnet "
        "plan`", section(base_channels=8)),
    refused("a dataset of labels", TRAIN, "dataset.json has labels, not regions of several labels, which our "
        "trainers segment; comnet convert writes one that fits", with_json("dataset.json",
        lambda content: content.update(labels={"background": 0, "necrosis": 1, "oedema": 2}) or (content.pop(
        "regions_class_order")))),
    refused("no order of regions", TRAIN, "dataset.json must have regions_class_order, a label for each of 3 "
        "regions; comnet convert writes one that fits", with_json("dataset.json", lambda content: content.pop(
        "regions_class_order"))),
    refused("no preprocessed data", TRAIN, "<HERE>/preprocessed/Dataset501_Blobs/nnUNetCoMNeTPlans_3d_fullres holds "
        "no preprocessed case; run: nnUNetv2_preprocess -d 501 -plans_name nnUNetCoMNeTPlans -c 3d_fullres",
        _without_data),
    refused("a case without preprocessed data", TRAIN, "<HERE>/preprocessed/Dataset501_Blobs/splits_final.json: fold "
        "0 names BLOB003, which is not preprocessed; do that, or take it out", _without_a_case),
    refused("preprocessed data that are broken", TRAIN, "case BLOB000 cannot be read from "
        "<HERE>/preprocessed/Dataset501_Blobs/nnUNetCoMNeTPlans_3d_fullres; preprocess it again: "
        "nnUNetv2_preprocess -d 501 -plans_name nnUNetCoMNeTPlans -c 3d_fullres", _broken_data),
    refused("properties that are broken", TRAIN, "case BLOB000 cannot be read from "
        "<HERE>/preprocessed/Dataset501_Blobs/nnUNetCoMNeTPlans_3d_fullres; preprocess it again: "
        "nnUNetv2_preprocess -d 501 -plans_name nnUNetCoMNeTPlans -c 3d_fullres", _broken_properties),
    refused("splits that are not JSON", TRAIN, "<HERE>/preprocessed/Dataset501_Blobs/splits_final.json cannot be "
        "read as JSON: Expecting property name enclosed in double quotes: line 1 column 3 (char 2)", lambda here: (
        preprocessed(here) / "splits_final.json").write_text("[{")),
    refused("splits that are a number", TRAIN, "<HERE>/preprocessed/Dataset501_Blobs/splits_final.json is not "
        "nnU-Net's list of folds with 'train' and 'val'; restore it", with_splits(5)),
    refused("splits without val", TRAIN, "<HERE>/preprocessed/Dataset501_Blobs/splits_final.json is not nnU-Net's "
        "list of folds with 'train' and 'val'; restore it", with_splits([{"train": CASES_}])),
    refused("a fold beyond the splits", TRAIN.replace(" 0 ", " 4 "),
        "<HERE>/preprocessed/Dataset501_Blobs/splits_final.json has 2 folds, numbered from 0: there is no fold 4",
        with_splits(SPLITS)),
    refused("a case in train and val", TRAIN, "<HERE>/preprocessed/Dataset501_Blobs/splits_final.json: fold 0 trains "
        "on BLOB000 and validates on it; take it out of one", with_splits([{"train": CASES_, "val": CASES_[:1]}])),
    refused("a split of a case that there is not", TRAIN, "<HERE>/preprocessed/Dataset501_Blobs/splits_final.json: "
        "fold 0 names BLOB009, which is not preprocessed; do that, or take it out", with_splits([{"train": ["BLOB009"],
        "val": CASES_[:1]}])),
    refused("a fold with nothing to train on", TRAIN, "<HERE>/preprocessed/Dataset501_Blobs/splits_final.json: fold "
        "0 has no case in 'train'; give it some", with_splits([{"train": [], "val": CASES_}])),
    refused("a fold with nothing to validate on", TRAIN, "<HERE>/preprocessed/Dataset501_Blobs/splits_final.json: "
        "fold 0 has no case in 'val'; give it some", with_splits([{"train": CASES_, "val": []}])),
    refused("a checkpoint to continue from that is broken", TRAIN + " --c",
        "<HERE>/results/Dataset501_Blobs/nnUNetTrainerCoMNeT__nnUNetCoMNeTPlans__3d_fullres/fold_0/"
        "checkpoint_latest.pth "
        "cannot be loaded: it is cut, damaged or no checkpoint; copy it again, or train that fold again",
        _checkpoint_to_continue),
    refused("stage 2 without stage 1", REFINE, "stage 1 is missing checkpoint_final.pth of fold(s) 0, 1, 2, 3, 4 in "
        "<HERE>/results/Dataset501_Blobs/nnUNetTrainerCoMNeT__nnUNetCoMNeTPlans__3d_fullres; train: "
        "nnUNetv2_train Dataset501_Blobs 3d_fullres 0 -tr nnUNetTrainerCoMNeT -p nnUNetCoMNeTPlans; "
        "nnUNetv2_train Dataset501_Blobs 3d_fullres 1 -tr nnUNetTrainerCoMNeT -p nnUNetCoMNeTPlans; "
        "nnUNetv2_train Dataset501_Blobs 3d_fullres 2 -tr nnUNetTrainerCoMNeT -p nnUNetCoMNeTPlans; "
        "nnUNetv2_train Dataset501_Blobs 3d_fullres 3 -tr nnUNetTrainerCoMNeT -p nnUNetCoMNeTPlans; "
        "nnUNetv2_train Dataset501_Blobs 3d_fullres 4 -tr nnUNetTrainerCoMNeT -p nnUNetCoMNeTPlans", preprocessed),
    refused("stage 2, its fold of stage 1 missing", REFINE, "stage 1 is missing checkpoint_final.pth of fold(s) 0 in "
        "<HERE>/results/Dataset501_Blobs/nnUNetTrainerCoMNeT__nnUNetCoMNeTPlans__3d_fullres; train: "
        "nnUNetv2_train Dataset501_Blobs 3d_fullres 0 -tr nnUNetTrainerCoMNeT -p nnUNetCoMNeTPlans", with_stage_1(
        lambda model: shutil.rmtree(model / "fold_0"))),
    refused("stage 2 on a stage 1 cut in half", REFINE,
        "<HERE>/results/Dataset501_Blobs/nnUNetTrainerCoMNeT__nnUNetCoMNeTPlans__3d_fullres/fold_1/"
        "checkpoint_final.pth "
        "cannot be loaded: it is cut, damaged or no checkpoint; copy it again, or train that fold again",
        with_stage_1(lambda model: files.cut(model / "fold_1/checkpoint_final.pth"))),
    refused("stage 2 on another network's stage 1", REFINE,
        "<HERE>/results/Dataset501_Blobs/nnUNetTrainerCoMNeT__nnUNetCoMNeTPlans__3d_fullres/fold_1/"
        "checkpoint_final.pth: "
        "the checkpoint is another network's: 'bottleneck.0.conv1.bias' is (2,) in it, (64,) in the plans' "
        "network; use the plans.json that was saved with the checkpoint", with_stage_1(lambda model: _checkpoint(model,
        1, _other_weights))),
    refused("stage 2 on a stage 1 of other plans", REFINE, "the stage 1 checkpoints in "
        "<HERE>/results/Dataset501_Blobs/nnUNetTrainerCoMNeT__nnUNetCoMNeTPlans__3d_fullres were trained with "
        "other plans (spacing differ): train stage 1 again with these plans, or the refiner with those",
        _plans_of_stage_1(lambda plans: plans["configurations"]["3d_fullres"].update(spacing=[1, 1, 1]))),
    refused("stage 2 on a stage 1 whose plans are gone", REFINE,
        "<HERE>/results/Dataset501_Blobs/nnUNetTrainerCoMNeT__nnUNetCoMNeTPlans__3d_fullres/plans.json does not "
        "exist", with_stage_1(lambda model: (model / "plans.json").unlink())),
    refused("stage 2 on a stage 1 whose plans are a list", REFINE,
        "<HERE>/results/Dataset501_Blobs/nnUNetTrainerCoMNeT__nnUNetCoMNeTPlans__3d_fullres/plans.json: Input "
        "should be an object with named fields; restore it, or train stage 1 again",
        with_stage_1(lambda model: (model / "plans.json").write_text("[]"))),
    refused("stage 2 on a stage 1 of another split", REFINE,
        "<HERE>/results/Dataset501_Blobs/nnUNetTrainerCoMNeT__nnUNetCoMNeTPlans__3d_fullres/fold_1 was trained "
        "with another split (BLOB000 differs): its maps are not out-of-fold; restore splits_final.json, or train "
        "stage 1 again", _another_split),
    refused("stage 2 on splits that hold a case out twice", REFINE, "splits_final.json holds BLOB002 out in folds 0 "
        "and 1; it must be in one",





        lambda here: (stage_1(here).parents[2] / f"preprocessed/{DATASET}/splits_final.json").write_text(
                                 json.dumps([SPLITS[0],
        {"train": CASES_[:3], "val": CASES_[2:]}]))),
)  # fmt: skip
CASES = TRAINING
