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


def described(**changed: Any) -> Callable[[Path], object]:
    return lambda here: dataset(here, **changed)


def spoilt(name: str, spoil: files.Spoil) -> Callable[[Path], object]:
    return lambda here: spoil(dataset(here) / name)


def refused(title: str, words: str, says: str, make: Callable[[Path], object] = nothing, **more: Any) -> BadInput:
    return BadInput(title, words, (f"comnet: error: {says}",), make, **more)


def _twice(here: Path) -> None:
    shutil.copytree(dataset(here), here / "raw" / "Dataset501_Again")


def _file(here: Path) -> None:
    (here / "file").write_text("")


PLANNING = (
    refused("unknown dataset", PLAN, "there is no dataset 501 in nnUNet_raw; convert one first (comnet convert "
        "--help)", shell=True),
    refused("dataset id 0", "comnet plan -d 0", "Invalid value for '-d' / '--dataset': 0 is not a dataset id; use a "
        "number from 1 to 999; see comnet plan --help", code=2),
    refused("two datasets of one id", PLAN, "nnUNet_raw holds more than one dataset 501: Dataset501_Again, "
        "Dataset501_Tiny; keep one of that id", _twice),
    refused("nnUNet_raw not set", PLAN, "environment variable nnUNet_raw is not set; export nnUNet_raw=/a/folder of "
        "yours", env={"nnUNet_raw": None}),
    refused("nnUNet_raw names a file", PLAN, "nnUNet_raw names <HERE>/file, which is not a folder; create it: mkdir "
        "-p <HERE>/file", _file, env={"nnUNet_raw": "<HERE>/file"}),
    refused("nnUNet_preprocessed not set", PLAN, "environment variable nnUNet_preprocessed is not set; export "
        "nnUNet_preprocessed=/a/folder of yours", described(), env={"nnUNet_preprocessed": None}),
    refused("nnUNet_preprocessed names nothing", PLAN, "nnUNet_preprocessed names <HERE>/absent, which is not a "
        "folder; create it: mkdir -p <HERE>/absent", described(),
        env={"nnUNet_preprocessed": "<HERE>/absent"}),
    refused("dataset.json missing", PLAN, "<HERE>/raw/Dataset501_Tiny/dataset.json does not exist", spoilt(
        "dataset.json", Path.unlink)),
    refused("dataset.json that is not JSON", PLAN, "<HERE>/raw/Dataset501_Tiny/dataset.json cannot be read as JSON: "
        "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)", spoilt("dataset.json",
        lambda path: path.write_text("{"))),
    refused("dataset.json that is a list", PLAN, "<HERE>/raw/Dataset501_Tiny/dataset.json is not a description of a "
        "dataset; comnet convert writes one that fits", spoilt("dataset.json", lambda path: path.write_text("[]"))),
    refused("dataset.json without channels", PLAN, '<HERE>/raw/Dataset501_Tiny/dataset.json must name the channels, '
        '{"0": "T1n", "1": ...}; comnet convert writes one that fits', described(channel_names=None)),
    refused("dataset.json without labels", PLAN, '<HERE>/raw/Dataset501_Tiny/dataset.json must name the labels, each '
        'a number from 1 to 255 or a list of such numbers; comnet convert writes one that fits',
        described(labels=None)),
    refused("dataset.json without regions", PLAN, "<HERE>/raw/Dataset501_Tiny/dataset.json has labels, not regions "
        "of several labels, which our trainers segment; comnet convert writes one that fits",
            described(labels={"background": 0, "necrosis": 1, "oedema": 2, "enhancing tumor": 3},
                regions_class_order=None)),
    refused("regions without their order", PLAN, "<HERE>/raw/Dataset501_Tiny/dataset.json must have "
        "regions_class_order, a label for each of 3 regions; comnet convert writes one that fits", described(
        regions_class_order=None)),
    refused("an order of two for three regions", PLAN, "<HERE>/raw/Dataset501_Tiny/dataset.json must have "
        "regions_class_order, a label for each of 3 regions; comnet convert writes one that fits", described(
        regions_class_order=[2, 1])),
    refused("dataset.json without a file ending", PLAN, '<HERE>/raw/Dataset501_Tiny/dataset.json must name the '
        'file_ending, e.g. ".nii.gz"; comnet convert writes one that fits', described(file_ending=None)),
    refused("another number of channels than images", PLAN, "<HERE>/raw/Dataset501_Tiny/imagesTr/A_0002.nii.gz is no "
        "channel of <HERE>/raw/Dataset501_Tiny/dataset.json, which names 2; comnet convert writes one that fits",
        described(channel_names={"0": "T1n", "1": "T1c"})),
    refused("another number of cases than said", PLAN, "<HERE>/raw/Dataset501_Tiny/dataset.json says numTraining 0, "
        "where labelsTr holds 2 masks; convert the dataset again", described(numTraining=0)),
    refused("an image missing", PLAN, "<HERE>/raw/Dataset501_Tiny/imagesTr/B_0002.nii.gz does not exist; convert the "
        "dataset again", spoilt("imagesTr/B_0002.nii.gz", Path.unlink)),
    refused("a mask of zero bytes", PLAN, "<HERE>/raw/Dataset501_Tiny/labelsTr/B.nii.gz cannot be read: it is empty; "
        "copy or make it again", spoilt("labelsTr/B.nii.gz", files.empty)),
    refused("a mask missing", PLAN, "<HERE>/raw/Dataset501_Tiny/dataset.json says numTraining 2, where labelsTr "
        "holds 1 masks; convert the dataset again", spoilt("labelsTr/B.nii.gz", Path.unlink)),
    refused("an image that is text", PLAN, "<HERE>/raw/Dataset501_Tiny/imagesTr/B_0002.nii.gz cannot be read: it is "
        "not gzipped; copy or make it again", spoilt("imagesTr/B_0002.nii.gz", files.text)),
    refused("unknown preset", "comnet plan -d 501 --preset papr", "unknown preset 'papr'; there are: paper, demo"),
    refused("a patch that 16 does not divide", PLAN + " --patch-size 100 112 96",
        "settings: patch_size [100, 112, 96]: every side must be a multiple of 16, at least 32"),
    refused("a patch of 16", PLAN + " --patch-size 16 16 16", "settings: patch_size [16, 16, 16]: every side must be "
        "a multiple of 16, at least 32"),
    refused("a patch of two sides", PLAN + " --patch-size 32 32", "Option '--patch-size' requires 3 arguments<...>",
        code=2),
    refused("an unknown size", PLAN + " --network-size XL", "settings: network_size = 'XL': input should be 'S', 'B', "
        "'M' or 'L'"),
    refused("a probability above 1", PLAN + " --modality-dropout 1.5", "settings: modality_dropout = 1.5: input "
        "should be less than or equal to 1"),
    refused("0 channels", PLAN + " --base-channels 0", "settings: base_channels = 0: input should be greater than or "
        "equal to 4"),
    refused("a batch that does not divide", PLAN + " --batch-size 2 --effective-batch-size 3",
        "settings: effective_batch_size 3 must be a multiple of batch_size 2"),
    refused("a learning rate of 0", PLAN + " --learning-rate 0", "settings: learning_rate = 0.0: input should be "
        "greater than 0"),
    refused("a learning rate of NaN", PLAN + " --learning-rate nan", "settings: learning_rate = nan: input should be "
        "a finite number"),
    refused("a learning rate without end", PLAN + " --learning-rate inf", "settings: learning_rate = inf: input "
        "should be a finite number"),
    refused("an unknown precision", PLAN + " --precision half", "settings: precision = 'half': input should be "
        "'auto', 'float32', 'float16' or 'bfloat16'"),
    refused("a range upside down", PLAN + " --gamma 1.5 0.7", "settings: gamma (1.5, 0.7) must be two values in "
        "rising order, none negative"),
    refused("a temperature of NaN", PLAN + " --refiner-temperature nan nan", "settings: refiner.temperature.0 = nan: "
        "input should be a finite number; refiner.temperature.1 = nan: input should be a finite number"),
    refused("an option that there is not", PLAN + " --patchsize 32",
        "No such option: --patchsize<...>; see comnet plan --help", code=2),
)  # fmt: skip
CASES = PLANNING
