"""Bad inputs of `comnet plan`, and of stock `nnUNetv2_train` with our trainers."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.bad_inputs import files
from tests.bad_inputs.case import BadInput, nothing
from tests.dataset_conversion.tiny_patients import make_patient, save

DATASET, PLANS = "Dataset501_Tiny", "nnUNetCoMNeTPlans"
PLAN = "comnet plan -d 501 --preset demo --jobs 1"
DESCRIPTION = {
    "channel_names": {"0": "T1n", "1": "T1c", "2": "T2w", "3": "FLAIR"},
    "labels": {"background": 0, "whole tumor": [1, 2, 3], "tumor core": [1, 3], "enhancing tumor": [3]},
    "regions_class_order": [2, 1, 3],
    "numTraining": 2,
    "file_ending": ".nii.gz",
    "overwrite_image_reader_writer": "SimpleITKIOWithReorient",
}


def dataset(here: Path, **changed: Any) -> Path:
    """Two good cases in nnU-Net's raw format; None takes a key out of dataset.json."""
    folder = here / "raw" / DATASET
    for seed, case in enumerate(("A", "B")):
        patient = make_patient(seed)
        for number, channel in enumerate(patient.channels.values()):
            save(folder / "imagesTr" / f"{case}_{number:04d}.nii.gz", channel)
        save(folder / "labelsTr" / f"{case}.nii.gz", patient.mask)
    content = {key: value for key, value in {**DESCRIPTION, **changed}.items() if value is not None}
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


def described(**changed: Any) -> Callable[[Path], None]:
    return lambda here: dataset(here, **changed) and None


def spoilt(name: str, spoil: files.Spoil) -> Callable[[Path], None]:
    return lambda here: spoil(dataset(here) / name)


def refused(title: str, words: str, says: str, make: Callable[[Path], None] = nothing, **more: Any) -> BadInput:
    return BadInput(title, words, (f"comnet: error: {says}",), make, **more)


def _twice(here: Path) -> None:
    shutil.copytree(dataset(here), here / "raw" / "Dataset501_Again")


def _file(here: Path) -> None:
    (here / "file").write_text("")


PLANNING = (
    refused("unknown dataset", PLAN, "?", shell=True),
    refused("dataset id 0", "comnet plan -d 0", "?", code=2),
    refused("two datasets of one id", PLAN, "?", _twice),
    refused("nnUNet_raw not set", PLAN, "?", env={"nnUNet_raw": None}),
    refused("nnUNet_raw names a file", PLAN, "?", _file, env={"nnUNet_raw": "<HERE>/file"}),
    refused("nnUNet_preprocessed not set", PLAN, "?", described(), env={"nnUNet_preprocessed": None}),
    refused("dataset.json missing", PLAN, "?", spoilt("dataset.json", Path.unlink)),
    refused("dataset.json that is not JSON", PLAN, "?", spoilt("dataset.json", lambda path: path.write_text("{") and None)),
    refused("dataset.json that is a list", PLAN, "?", spoilt("dataset.json", lambda path: path.write_text("[]") and None)),
    refused("dataset.json without channels", PLAN, "?", described(channel_names=None)),
    refused("dataset.json without labels", PLAN, "?", described(labels=None)),
    refused("dataset.json without regions", PLAN, "?",
            described(labels={"background": 0, "necrosis": 1, "oedema": 2, "enhancing tumor": 3}, regions_class_order=None)),
    refused("regions without their order", PLAN, "?", described(regions_class_order=None)),
    refused("an order of two for three regions", PLAN, "?", described(regions_class_order=[2, 1])),
    refused("dataset.json without a file ending", PLAN, "?", described(file_ending=None)),
    refused("another number of channels than images", PLAN, "?", described(channel_names={"0": "T1n", "1": "T1c"})),
    refused("another number of cases than said", PLAN, "?", described(numTraining=0)),
    refused("an image missing", PLAN, "?", spoilt("imagesTr/B_0002.nii.gz", Path.unlink)),
    refused("a mask of zero bytes", PLAN, "?", spoilt("labelsTr/B.nii.gz", files.empty)),
    refused("a mask missing", PLAN, "?", spoilt("labelsTr/B.nii.gz", Path.unlink)),
    refused("an image that is text", PLAN, "?", spoilt("imagesTr/B_0002.nii.gz", files.text)),
    refused("unknown preset", "comnet plan -d 501 --preset papr", "?"),
    refused("a patch that 16 does not divide", PLAN + " --patch-size 100 112 96", "?"),
    refused("a patch of 16", PLAN + " --patch-size 16 16 16", "?"),
    refused("a patch of two sides", PLAN + " --patch-size 32 32", "?", code=2),
    refused("0 channels", PLAN + " --base-channels 0", "?"),
    refused("a batch that does not divide", PLAN + " --batch-size 2 --effective-batch-size 3", "?"),
    refused("a learning rate of 0", PLAN + " --learning-rate 0", "?"),
    refused("a learning rate of NaN", PLAN + " --learning-rate nan", "?"),
    refused("a learning rate without end", PLAN + " --learning-rate inf", "?"),
    refused("an unknown precision", PLAN + " --precision half", "?"),
    refused("a range upside down", PLAN + " --gamma 1.5 0.7", "?"),
    refused("a temperature of NaN", PLAN + " --refiner-temperature nan nan", "?"),
    refused("an option that there is not", PLAN + " --patchsize 32", "?", code=2),
)  # fmt: skip
CASES = PLANNING
