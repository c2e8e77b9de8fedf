"""Bad inputs of `comnet predict`: images that fail alone, models and options that end the run before it begins."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.bad_inputs import files
from tests.bad_inputs.case import BadInput, shared
from tests.inference.conftest import write_patient

CALL = "comnet predict -i <HERE>/images -o <HERE>/out -m <MODEL> -f 0 --disable_tta -device cpu"
OWN_MODEL = CALL.replace("<MODEL>", "<HERE>/model")
RECORDS = ("out/dataset.json", "out/plans.json", "out/comnet_run.json", "out/volumes.csv", "out/failures.json")
FAILED = "comnet: error: 1 of 1 cases failed (all reasons in <HERE>/out/failures.json): BAD: "


def patient(here: Path) -> Path:
    (here / "images").mkdir()
    write_patient(here / "images", "BAD", "LPS", 1)
    return here / "images"


def spoilt(spoil: files.Spoil, channel: int = 1) -> Callable[[Path], object]:
    return lambda here: spoil(patient(here) / f"BAD_{channel:04d}.nii.gz")


def all_spoilt(spoil: files.Spoil) -> Callable[[Path], object]:
    def make(here: Path) -> None:
        for path in sorted(patient(here).iterdir()):
            spoil(path)

    return make


def failing(title: str, make: Callable[[Path], object], says: str, **more: Any) -> BadInput:
    """A patient with a defect; only the records are written."""
    return BadInput(title, CALL, (FAILED + says,), make, makes=RECORDS, **more)


def refused(title: str, words: str, says: str, make: Callable[[Path], object] = patient, **more: Any) -> BadInput:
    def made(here: Path) -> None:
        make(here)

    return BadInput(title, words, (f"comnet: error: {says}",), made, **more)


def _beside_a_good_one(here: Path) -> None:
    files.cut(patient(here) / "BAD_0001.nii.gz")
    write_patient(here / "images", "GOOD", "RAS", 2)


def _without_a_channel(here: Path) -> None:
    (patient(here) / "BAD_0003.nii.gz").unlink()


def _with_a_channel_too_many(here: Path) -> None:
    images = patient(here)
    (images / "BAD_0004.nii.gz").write_bytes((images / "BAD_0003.nii.gz").read_bytes())


def _only(content: str, name: str) -> Callable[[Path], object]:
    def make(here: Path) -> None:
        patient(here)
        (here / name).write_text(content)

    return make


def _text_images(here: Path) -> None:
    (here / "images").mkdir()
    (here / "images" / "readme.txt").write_text("no image")


def spoilt_model(spoil: Callable[[Path], object]) -> Callable[[Path], object]:
    def make(here: Path) -> None:
        patient(here)
        shutil.copytree(shared(here, "model"), here / "model")
        spoil(here / "model")

    return make


def _json(name: str, change: Callable[[Any], Any]) -> Callable[[Path], object]:
    def spoil(model: Path) -> None:
        content = json.loads((model / name).read_text())
        change(content)
        (model / name).write_text(json.dumps(content))

    return spoil


def _write(name: str, content: str) -> Callable[[Path], object]:
    return lambda model: (model / name).write_text(content)


def _checkpoint(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], object]:
    def spoil(model: Path) -> None:
        path = model / "fold_0" / "checkpoint_final.pth"
        content = torch.load(path, weights_only=False)
        change(content)
        torch.save(content, path)

    return spoil


def _other_shapes(content: dict[str, Any]) -> None:
    content["network_weights"] = {name: value[:2] for name, value in content["network_weights"].items()}


def _broken_strengths(here: Path) -> None:
    patient(here)
    shutil.copytree(shared(here, "refined"), here / "model")
    (here / "model" / "calibration.json").write_text("{")


def _plain_labels(description: Any) -> None:
    description["labels"] = {"background": 0, "necrosis": 1, "enhancing tumor": 2}
    del description["regions_class_order"]


SPOILT_MODELS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a checkpoint cut in half": (lambda model: files.cut(model / "fold_0/checkpoint_final.pth"),
        "<HERE>/model/fold_0/checkpoint_final.pth cannot be loaded: it is cut, damaged or no checkpoint; copy it "
        "again, or train that fold again"),
    "a checkpoint of zero bytes": (lambda model: files.empty(model / "fold_0/checkpoint_final.pth"),
        "<HERE>/model/fold_0/checkpoint_final.pth cannot be loaded: it is cut, damaged or no checkpoint; copy it "
        "again, or train that fold again"),
    "a checkpoint that is text": (_write("fold_0/checkpoint_final.pth", "weights"),
        "<HERE>/model/fold_0/checkpoint_final.pth cannot be loaded: it is cut, damaged or no checkpoint; copy it "
        "again, or train that fold again"),
    "a checkpoint of another network": (_checkpoint(_other_shapes), "the model in <HERE>/model cannot be loaded: the "
        "checkpoint is another network's: 'bottleneck.0.conv1.bias' is (2,) in it, (64,) in the plans' network; "
        "use the plans.json that was saved with the checkpoint"),
    "a checkpoint without weights": (_checkpoint(lambda content: content.pop("network_weights")),
        "<HERE>/model/fold_0/checkpoint_final.pth cannot be loaded: it is no checkpoint of nnU-Net's, which has "
        "network_weights; copy it again, or train that fold again"),
    "a checkpoint of an unknown trainer": (
        _checkpoint(lambda content: content.update(trainer_name="nnUNetTrainerMine")),
        "the model in <HERE>/model cannot be loaded: Could not find requested nnunet trainer nnUNetTrainerMine "
        "in <...>"),
    "plans that are not JSON": (_write("plans.json", "{"), "<HERE>/model/plans.json cannot be read as JSON: "
        "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
    "plans that are a list": (_write("plans.json", "[]"), "<HERE>/model/plans.json: Input should be an object with "
        "named fields; restore it from the model's source"),
    "plans without configurations": (_json("plans.json", lambda plans: plans.pop("configurations")),
        "<HERE>/model/plans.json: configurations: Field required; restore it from the model's source"),
    "plans of stage 1 without patch size": (_json("plans.json",
        lambda plans: plans["configurations"]["3d_fullres"].pop("patch_size")),
        "the model in <HERE>/model cannot be loaded: KeyError: 'patch_size'"),
    "plans of 2D": (
        _json("plans.json", lambda plans: plans["configurations"]["3d_fullres"].update(patch_size=[32, 32])),
        "the model in <HERE>/model is 2D or a cascade; predict with nnUNetv2_predict"),
    "plans of a network that is not there": (
        _json("plans.json", lambda plans: plans["configurations"]["3d_fullres"]["architecture"].update(
            network_class_name="nnunetv2_comnet.networks.absent")), "<HERE>/model/plans.json is refused: it has "
                "nnunetv2_comnet.networks.absent called, which is no network or layer of torch.nn, "
                "dynamic_network_architectures, nnunetv2_comnet.networks; if you trust the model, "
                "nnUNetv2_predict loads it"),
    "dataset.json that is not JSON": (_write("dataset.json", "regions"), "<HERE>/model/dataset.json cannot be read "
        "as JSON: Expecting value: line 1 column 1 (char 0)"),
    "dataset.json that is a list": (_write("dataset.json", "[]"), "<HERE>/model/dataset.json is not a description of "
        "a dataset; restore the one that was trained with"),
    "dataset.json without labels": (_json("dataset.json", lambda content: content.pop("labels")),
        "<HERE>/model/dataset.json must name the labels, each a number from 1 to 255 or a list of such numbers; "
        "restore the one that was trained with"),
    "dataset.json without channels": (_json("dataset.json", lambda content: content.pop("channel_names")),
        '<HERE>/model/dataset.json must name the channels, {"0": "T1n", "1": ...}; restore the one that was '
        'trained with'),
    "dataset.json with channels in words": (
        _json("dataset.json", lambda content: content.update(channel_names={"first": "T1n"})),
            '<HERE>/model/dataset.json must name the channels, {"0": "T1n", "1": ...}; restore the one that was '
            'trained with'),
    "dataset.json with labels in words": (
        _json("dataset.json", lambda content: content.update(labels={"background": 0, "whole tumor": ["one", "two"]})),
            "<HERE>/model/dataset.json must name the labels, each a number from 1 to 255 or a list of such "
            "numbers; restore the one that was trained with"),
    "dataset.json without a file ending": (_json("dataset.json", lambda content: content.pop("file_ending")),
        '<HERE>/model/dataset.json must name the file_ending, e.g. ".nii.gz"; restore the one that was trained '
        'with'),
    "a model of labels": (_json("dataset.json", _plain_labels), "the model in <HERE>/model predicts labels, not "
        "overlapping regions; predict with nnUNetv2_predict"),
}  # fmt: skip

PATIENTS = (
    failing(
        "a bit turned over in a compressed image",
        spoilt(files.damaged_gzip),
        "<HERE>/images/BAD_0001.nii.gz cannot be read: its gzip stream is damaged; copy or make it again",
    ),
    failing(
        "an image cut in half",
        spoilt(files.cut),
        "<HERE>/images/BAD_0001.nii.gz cannot be read: its gzip stream is cut off; copy or make it again",
    ),
    failing(
        "half of the voxels missing",
        spoilt(files.cut_inside),
        "<HERE>/images/BAD_0001.nii.gz cannot be read: it ends after 34672 of 68992 bytes; copy or make it again",
    ),
    failing(
        "an image of zero bytes",
        spoilt(files.empty),
        "<HERE>/images/BAD_0001.nii.gz cannot be read: it is empty; copy or make it again",
    ),
    failing(
        "a text file named .nii.gz",
        spoilt(files.text),
        "<HERE>/images/BAD_0001.nii.gz cannot be read: it is not gzipped; copy or make it again",
        shell=True,
    ),
    failing(
        "an image with two axes",
        all_spoilt(files.with_voxels(lambda data: data[..., 10])),
        "<HERE>/images/BAD_0000.nii.gz cannot be read: it has 2 axes where 3 are expected; copy or make it again",
    ),
    failing(
        "four axes with five volumes",
        spoilt(files.with_voxels(lambda data: np.stack([data] * 5, -1))),
        "<HERE>/images/BAD_0001.nii.gz cannot be read: it has 4 axes where 3 are expected; copy or make it again",
    ),
    failing(
        "a header that claims 32767 x 32767 x 32767 voxels",
        spoilt(files.with_header(files.DIM, "4h", 3, 32767, 32767, 32767)),
        "<HERE>/images/BAD_0001.nii.gz cannot be read: its header claims 32767 x 32767 x 32767 voxels, more than the "
        "536870912 that are read; copy or make it again",
    ),
    failing(
        "a header that claims 640 x 640 x 640 voxels",
        spoilt(files.with_header(files.DIM, "4h", 3, 640, 640, 640)),
        "<HERE>/images/BAD_0001.nii.gz cannot be read: its header claims 1048576352 bytes, more than its <...> bytes "
        "can hold; copy or make it again",
    ),
    failing(
        "colours instead of numbers",
        spoilt(files.with_header(files.DATATYPE, "hh", 128, 24)),
        "<HERE>/images/BAD_0001.nii.gz cannot be read: it holds colours, bits or complex numbers, not one real "
        "number per voxel; copy or make it again",
    ),
    failing(
        "complex numbers",
        spoilt(files.with_voxels(lambda data: data.astype(np.complex64))),
        "<HERE>/images/BAD_0001.nii.gz cannot be read: it holds colours, bits or complex numbers, not one real "
        "number per voxel; copy or make it again",
    ),
    failing(
        "a voxel that is NaN",
        spoilt(files.one_voxel(np.nan)),
        "<HERE>/images/BAD_0001.nii.gz cannot be read: it has 1 voxels that are NaN or infinite; copy or make it again",
    ),
    failing(
        "a voxel that is infinite",
        spoilt(files.one_voxel(np.inf)),
        "<HERE>/images/BAD_0001.nii.gz cannot be read: it has 1 voxels that are NaN or infinite; copy or make it again",
    ),
    failing("images of zeros", all_spoilt(files.with_voxels(np.zeros_like)), "all voxels of all images are 0"),
    failing(
        "a channel of another size",
        spoilt(files.with_voxels(lambda data: data[:-1])),
        "the images cannot be read together: ERROR! Not all input images have the same shape! Shapes: [(1, 22, 26, "
        "30), (1, 22, 26, 29), (1, 22, 26, 30), (1, 22, 26, 30)]",
    ),
    failing(
        "a singular affine",
        all_spoilt(files.with_affine(files.flat)),
        "<HERE>/images/BAD_0000.nii.gz cannot be read: its affine is singular; copy or make it again",
    ),
    failing(
        "voxels of 0 mm",
        all_spoilt(files.with_header(files.PIXDIM + 4, "3f", 0, 0, 0)),
        "<HERE>/images/BAD_0000.nii.gz cannot be read: its voxels measure 0 x 0 x 0 mm; each must be above 0; copy "
        "or make it again",
    ),
    failing(
        "voxels of 1.9 m, as if metres were millimetres",
        all_spoilt(files.with_affine(lambda affine: affine @ np.diag([1e3, 1e3, 1e3, 1]))),
        "the images measure 57200 x 59800 x 57000 mm, which cannot be a head: is their spacing in millimetres?",
    ),
    failing(
        "voxels of 2 micrometres",
        all_spoilt(files.with_affine(lambda affine: affine @ np.diag([1e-3, 1e-3, 1e-3, 1]))),
        "the images measure 0.0572 x 0.0598 x 0.057 mm, which cannot be a head: is their spacing in millimetres?",
    ),
    failing(
        "a channel missing",
        _without_a_channel,
        "expected 4 channels (T1n, T1c, T2w, FLAIR), got 3; missing: _0003 (FLAIR); the model was not trained with "
        "modality dropout (comnet plan --modality-dropout), so it needs every image",
    ),
    failing(
        "a channel too many",
        _with_a_channel_too_many,
        "expected 4 channels (T1n, T1c, T2w, FLAIR), got 5; not of this model: _0004",
    ),
    failing(
        "a channel that is a folder",
        spoilt(files.folder),
        "expected 4 channels (T1n, T1c, T2w, FLAIR), got 3; missing: _0001 (T1c); the model was not trained with "
        "modality dropout (comnet plan --modality-dropout), so it needs every image",
    ),
    failing(
        "a channel that is a FIFO",
        spoilt(files.pipe),
        "expected 4 channels (T1n, T1c, T2w, FLAIR), got 3; missing: _0001 (T1c); the model was not trained with "
        "modality dropout (comnet plan --modality-dropout), so it needs every image",
    ),
    BadInput(
        "a bad patient beside a good one",
        CALL,
        (
            "comnet: error: 1 of 2 cases failed (all reasons in <HERE>/out/failures.json): BAD: "
            "<HERE>/images/BAD_0001.nii.gz cannot be read: its gzip stream is cut off; copy or make it again",
        ),
        _beside_a_good_one,
        makes=(*RECORDS, "out/GOOD.nii.gz"),
    ),
)

COMMANDS = (
    refused(
        "a folder without images",
        CALL,
        "<HERE>/images holds no case: expected files NAME_0000.nii.gz to NAME_0003.nii.gz, one per channel (T1n, "
        "T1c, T2w, FLAIR)",
        _text_images,
        shell=True,
    ),
    refused(
        "no such folder",
        "comnet predict -i <HERE>/absent -o <HERE>/out -m <MODEL>",
        "<HERE>/absent is not a folder; it must hold the patients' images",
    ),
    refused(
        "images in a file",
        "comnet predict -i <HERE>/file -o <HERE>/out -m <MODEL>",
        "<HERE>/file is not a folder; it must hold the patients' images",
        _only("", "file"),
    ),
    refused(
        "output into the images",
        "comnet predict -i <HERE>/images -o <HERE>/images -m <MODEL>",
        "<HERE>/images holds the images: choose another folder for the results",
    ),
    refused(
        "output into the images, by a detour",
        "comnet predict -i <HERE>/images -o <HERE>/images/../images -m <MODEL>",
        "<HERE>/images/../images holds the images: choose another folder for the results",
    ),
    refused(
        "output into the model",
        OWN_MODEL.replace("/out", "/model"),
        "<HERE>/model holds the model: choose another folder for the results",
        spoilt_model(lambda model: None),
    ),
    refused(
        "output is a file",
        "comnet predict -i <HERE>/images -o <HERE>/out -m <MODEL>",
        "<HERE>/out is a file, not a folder for the results",
        _only("", "out"),
    ),
    refused(
        "no such model",
        "comnet predict -i <HERE>/images -o <HERE>/out -m <HERE>/absent",
        "<HERE>/absent is not a trained model: it does not exist",
    ),
    refused(
        "a model that is an empty folder",
        "comnet predict -i <HERE>/images -o <HERE>/out -m <HERE>/results",
        "<HERE>/results is not a trained model: it has no plans.json",
    ),
    refused(
        "a fold that was not trained",
        CALL + " -f 4",
        "<MODEL> holds no fold 4 with checkpoint_final.pth; there are: 0, 1",
    ),
    refused("a fold in words", CALL + " -f one", "'one' is not a fold; name folds by number, or 'all'"),
    refused(
        "a checkpoint that is not there",
        CALL + " -chk checkpoint_best.pth",
        "<MODEL> holds no fold with checkpoint_best.pth; checkpoints there: checkpoint_final.pth",
    ),
    refused(
        "a checkpoint outside the fold",
        CALL + " -chk ../../dataset.json",
        "<MODEL> holds no fold with ../../dataset.json; checkpoints there: checkpoint_final.pth",
    ),
    refused(
        "neither model nor dataset",
        "comnet predict -i <HERE>/images -o <HERE>/out",
        "name the model either by -d (and -tr, -p, -c) or by its folder, -m",
    ),
    refused(
        "unknown dataset",
        "comnet predict -i <HERE>/images -o <HERE>/out -d 777",
        "<HERE>/results holds no dataset 777; there are: none",
    ),
    refused(
        "nnUNet_results not set",
        "comnet predict -i <HERE>/images -o <HERE>/out -d 501",
        "environment variable nnUNet_results is not set; export nnUNet_results=/a/folder of yours",
        env={"nnUNet_results": None},
    ),
    refused(
        "nnUNet_results names a file",
        "comnet predict -i <HERE>/images -o <HERE>/out -d 501",
        "nnUNet_results names <HERE>/file, which is not a folder; create it: mkdir -p <HERE>/file",
        _only("", "file"),
        env={"nnUNet_results": "<HERE>/file"},
    ),
    refused(
        "thresholds that are not JSON",
        CALL + " --thresholds <HERE>/t.json",
        "<HERE>/t.json cannot be read as JSON: Expecting value: line 1 column 1 (char 0)",
        _only("ET: 0.5", "t.json"),
    ),
    refused(
        "a threshold of 1.5",
        CALL + " --thresholds <HERE>/t.json",
        "threshold of 'ET' must lie between 0 and 1, got 1.5",
        _only('{"ET": 1.5}', "t.json"),
    ),
    refused(
        "a threshold of NaN",
        CALL + " --thresholds <HERE>/t.json",
        '<HERE>/t.json must hold a threshold per region, e.g. {"whole tumor": 0.5}',
        _only('{"ET": NaN}', "t.json"),
    ),
    refused(
        "a threshold of 10 to the 400",
        CALL + " --thresholds <HERE>/t.json",
        '<HERE>/t.json must hold a threshold per region, e.g. {"whole tumor": 0.5}',
        _only('{"ET": 1' + "0" * 400 + "}", "t.json"),
    ),
    refused(
        "thresholds nested 100000 deep",
        CALL + " --thresholds <HERE>/t.json",
        "<HERE>/t.json cannot be read as JSON: it is nested too deeply",
        _only("[" * 100_000, "t.json"),
    ),
    refused(
        "a threshold of an unknown region",
        CALL + " --thresholds <HERE>/t.json",
        "there is no region 'oedema'; there are: whole tumor (WT), tumor core (TC), enhancing tumor (ET)",
        _only('{"oedema": 0.5}', "t.json"),
    ),
    refused(
        "a strength without a number",
        CALL + " --strength ET",
        "'ET' is not a strength; write REGION=NUMBER, e.g. ET=0.5",
    ),
    refused(
        "a strength, and no refiner",
        CALL + " --strength ET=1",
        "a strength was given, but nothing is refined: leave one of the two out",
    ),
    refused(
        "a strength of 2",
        "comnet predict -i <HERE>/images -o <HERE>/out -m <REFINED> --strength ET=2",
        "strength of 'ET' must be from 0 to 1, got 2.0",
    ),
    refused(
        "a strength of an unknown region",
        "comnet predict -i <HERE>/images -o <HERE>/out -m <REFINED> --strength oedema=1",
        "there is no region 'oedema'; there are: whole tumor (WT), tumor core (TC), enhancing tumor (ET)",
    ),
    refused("a map that there is not", CALL + " --spread", "nothing is refined, so there is no spread map"),
    refused("a step of 0", CALL + " -step_size 0", "the step size must lie in (0, 1], got 0.0"),
    refused(
        "a step in words",
        CALL + " -step_size half",
        "Invalid value for '-step_size': <...>; see comnet predict --help",
        code=2,
    ),
    refused("part 3 of 2", CALL + " -num_parts 2 -part_id 3", "part 3 of 2 does not exist: parts are numbered from 0"),
    refused("no such device", CALL + " -device tpu", "unknown device 'tpu'; there are: auto, cpu, cuda, mps"),
    refused(
        "rules that are not JSON",
        CALL + " --postprocessing <HERE>/rules.json",
        "<HERE>/rules.json cannot be read as JSON: Expecting property name enclosed in double quotes: line 1 column "
        "2 (char 1)",
        _only("{", "rules.json"),
    ),
    refused(
        "rules that are a list",
        CALL + " --postprocessing <HERE>/rules.json",
        '<HERE>/rules.json holds no rules; expected {"rules": [{"rule": "fill-holes", ...}, ...]}',
        _only("[]", "rules.json"),
    ),
    refused(
        "an unknown rule",
        CALL + " --postprocessing <HERE>/rules.json",
        "<HERE>/rules.json: there is no rule 'smooth'; there are: thresholds, drop-unlikely-components, "
        "drop-small-components, drop-small-total, fill-holes",
        _only('{"rules": [{"rule": "smooth"}]}', "rules.json"),
    ),
    refused(
        "a rule of an unknown region",
        CALL + " --postprocessing <HERE>/rules.json",
        "there is no region 'oedema'; there are: whole tumor (WT), tumor core (TC), enhancing tumor (ET)",
        _only('{"rules": [{"rule": "fill-holes", "region": "oedema"}]}', "rules.json"),
    ),
)
GOOD = (
    BadInput(
        "four axes with one volume",
        CALL,
        (),
        spoilt(files.with_voxels(lambda data: data[..., None])),
        0,
        makes=(*RECORDS, "out/BAD.nii.gz"),
    ),
    BadInput(
        "a folder's name with spaces and other letters",
        "comnet predict -i '<HERE>/Bilder für Ätna 東京' -o '<HERE>/out put' -m <MODEL> -f 0 --disable_tta -device cpu",
        (),
        lambda here: patient(here).rename(here / "Bilder für Ätna 東京"),
        0,
        makes=("out put/*",),
    ),
)
STRENGTHS = (
    refused(
        "a strengths file that is not JSON",
        OWN_MODEL,
        "<HERE>/model/calibration.json cannot be read as JSON: Expecting property name enclosed in double quotes: "
        "line 1 column 2 (char 1)",
        _broken_strengths,
        makes=RECORDS,
    ),
)
MODELS = tuple(refused(title, OWN_MODEL, says, spoilt_model(spoil)) for title, (spoil, says) in SPOILT_MODELS.items())
CASES = (*PATIENTS, *COMMANDS, *MODELS, *STRENGTHS, *GOOD)
