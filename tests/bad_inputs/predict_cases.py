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


def spoilt(spoil: files.Spoil, channel: int = 1) -> Callable[[Path], None]:
    return lambda here: spoil(patient(here) / f"BAD_{channel:04d}.nii.gz")


def all_spoilt(spoil: files.Spoil) -> Callable[[Path], None]:
    def make(here: Path) -> None:
        for path in sorted(patient(here).iterdir()):
            spoil(path)

    return make


def failing(title: str, make: Callable[[Path], None], says: str, **more: Any) -> BadInput:
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


def _only(content: str, name: str) -> Callable[[Path], None]:
    def make(here: Path) -> None:
        patient(here)
        (here / name).write_text(content)

    return make


def _text_images(here: Path) -> None:
    (here / "images").mkdir()
    (here / "images" / "readme.txt").write_text("no image")


def spoilt_model(spoil: Callable[[Path], None]) -> Callable[[Path], None]:
    def make(here: Path) -> None:
        patient(here)
        shutil.copytree(shared(here, "model"), here / "model")
        spoil(here / "model")

    return make


def _json(name: str, change: Callable[[Any], Any]) -> Callable[[Path], None]:
    def spoil(model: Path) -> None:
        content = json.loads((model / name).read_text())
        changed = change(content)
        (model / name).write_text(json.dumps(content if changed is None else changed))

    return spoil


def _write(name: str, content: str) -> Callable[[Path], None]:
    return lambda model: (model / name).write_text(content) and None


def _checkpoint(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def spoil(model: Path) -> None:
        path = model / "fold_0" / "checkpoint_final.pth"
        content = torch.load(path, weights_only=False)
        change(content)
        torch.save(content, path)

    return spoil


def _other_shapes(content: dict[str, Any]) -> None:
    content["network_weights"] = {name: value[:2] for name, value in content["network_weights"].items()}


def _plain_labels(description: Any) -> None:
    description["labels"] = {"background": 0, "necrosis": 1, "enhancing tumor": 2}
    del description["regions_class_order"]


SPOILT_MODELS: dict[str, tuple[Callable[[Path], None], str]] = {
    "a checkpoint cut in half": (lambda model: files.cut(model / "fold_0/checkpoint_final.pth"), "?1"),
    "a checkpoint of zero bytes": (lambda model: files.empty(model / "fold_0/checkpoint_final.pth"), "?2"),
    "a checkpoint that is text": (_write("fold_0/checkpoint_final.pth", "weights"), "?3"),
    "a checkpoint of another network": (_checkpoint(_other_shapes), "?4"),
    "a checkpoint without weights": (_checkpoint(lambda content: content.pop("network_weights")), "?5"),
    "a checkpoint of an unknown trainer": (_checkpoint(lambda content: content.update(trainer_name="nnUNetTrainerMine")), "?6"),
    "plans that are not JSON": (_write("plans.json", "{"), "?7"),
    "plans that are a list": (_write("plans.json", "[]"), "?8"),
    "plans without configurations": (_json("plans.json", lambda plans: plans.pop("configurations") and None), "?9"),
    "plans of stage 1 without patch size": (_json("plans.json", lambda plans: plans["configurations"]["3d_fullres"].pop("patch_size") and None), "?10"),
    "plans of 2D": (_json("plans.json", lambda plans: plans["configurations"]["3d_fullres"].update(patch_size=[32, 32])), "?11"),
    "plans of a network that is not there": (
        _json("plans.json", lambda plans: plans["configurations"]["3d_fullres"]["architecture"].update(
            network_class_name="nnunetv2_comnet.networks.absent")), "?12"),
    "dataset.json that is not JSON": (_write("dataset.json", "regions"), "?13"),
    "dataset.json that is a list": (_write("dataset.json", "[]"), "?14"),
    "dataset.json without labels": (_json("dataset.json", lambda content: content.pop("labels") and None), "?15"),
    "dataset.json without channels": (_json("dataset.json", lambda content: content.pop("channel_names") and None), "?16"),
    "dataset.json with channels in words": (
        _json("dataset.json", lambda content: content.update(channel_names={"first": "T1n"})), "?17"),
    "dataset.json with labels in words": (
        _json("dataset.json", lambda content: content.update(labels={"background": 0, "whole tumor": ["one", "two"]})), "?18"),
    "dataset.json without a file ending": (_json("dataset.json", lambda content: content.pop("file_ending") and None), "?19"),
    "a model of labels": (_json("dataset.json", _plain_labels), "?20"),
    "a calibration that is not JSON": (_write("calibration.json", "{"), "?21"),
}  # fmt: skip

PATIENTS = (
    failing("a bit turned over in a compressed image", spoilt(files.damaged_gzip), "?22"),
    failing("an image cut in half", spoilt(files.cut), "?23"),
    failing("half of the voxels missing", spoilt(files.cut_inside), "?24"),
    failing("an image of zero bytes", spoilt(files.empty), "?25"),
    failing("a text file named .nii.gz", spoilt(files.text), "?26", shell=True),
    failing("an image with two axes", all_spoilt(files.with_voxels(lambda data: data[..., 10])), "?27"),
    failing("four axes with five volumes", spoilt(files.with_voxels(lambda data: np.stack([data] * 5, -1))), "?28"),
    failing("a header that claims 32767 x 32767 x 32767 voxels",
            spoilt(files.with_header(files.DIM, "4h", 3, 32767, 32767, 32767)), "?29"),
    failing("a header that claims 640 x 640 x 640 voxels", spoilt(files.with_header(files.DIM, "4h", 3, 640, 640, 640)), "?30"),
    failing("colours instead of numbers", spoilt(files.with_header(files.DATATYPE, "hh", 128, 24)), "?31"),
    failing("complex numbers", spoilt(files.with_voxels(lambda data: data.astype(np.complex64))), "?32"),
    failing("a voxel that is NaN", spoilt(files.one_voxel(np.nan)), "?33"),
    failing("a voxel that is infinite", spoilt(files.one_voxel(np.inf)), "?34"),
    failing("images of zeros", all_spoilt(files.with_voxels(np.zeros_like)), "?35"),
    failing("a channel of another size", spoilt(files.with_voxels(lambda data: data[:-1])), "?36"),
    failing("a singular affine", all_spoilt(files.with_affine(files.flat)), "?37"),
    failing("voxels of 0 mm", all_spoilt(files.with_header(files.PIXDIM + 4, "3f", 0, 0, 0)), "?38"),
    failing("voxels of 1.9 m, as if metres were millimetres", all_spoilt(files.with_affine(lambda affine: affine @ np.diag([1e3, 1e3, 1e3, 1]))), "?39"),
    failing("voxels of 2 micrometres", all_spoilt(files.with_affine(lambda affine: affine @ np.diag([1e-3, 1e-3, 1e-3, 1]))), "?40"),
    failing("a channel missing", _without_a_channel, "?41"),
    failing("a channel too many", _with_a_channel_too_many, "?42"),
    failing("a channel that is a folder", spoilt(files.folder), "?43"),
    failing("a channel that is a FIFO", spoilt(files.pipe), "?44"),
    BadInput("a bad patient beside a good one", CALL, ("?45",), _beside_a_good_one, makes=(*RECORDS, "out/GOOD.nii.gz")),
)

COMMANDS = (
    refused("a folder without images", CALL, "?46", _text_images, shell=True),
    refused("no such folder", "comnet predict -i <HERE>/absent -o <HERE>/out -m <MODEL>", "?47"),
    refused("images in a file", "comnet predict -i <HERE>/file -o <HERE>/out -m <MODEL>", "?48", _only("", "file")),
    refused("output into the images", "comnet predict -i <HERE>/images -o <HERE>/images -m <MODEL>", "?49"),
    refused("output into the images, by a detour", "comnet predict -i <HERE>/images -o <HERE>/images/../images -m <MODEL>", "?50"),
    refused("output into the model", OWN_MODEL.replace("/out", "/model"), "?51", spoilt_model(lambda model: None)),
    refused("output is a file", "comnet predict -i <HERE>/images -o <HERE>/out -m <MODEL>", "?52", _only("", "out")),
    refused("no such model", "comnet predict -i <HERE>/images -o <HERE>/out -m <HERE>/absent", "?53"),
    refused("a model that is an empty folder", "comnet predict -i <HERE>/images -o <HERE>/out -m <HERE>/results", "?54"),
    refused("a fold that was not trained", CALL + " -f 4", "?55"),
    refused("a fold in words", CALL + " -f one", "?56"),
    refused("a checkpoint that is not there", CALL + " -chk checkpoint_best.pth", "?57"),
    refused("a checkpoint outside the fold", CALL + " -chk ../../dataset.json", "?58"),
    refused("neither model nor dataset", "comnet predict -i <HERE>/images -o <HERE>/out", "?59"),
    refused("unknown dataset", "comnet predict -i <HERE>/images -o <HERE>/out -d 777", "?60"),
    refused("nnUNet_results not set", "comnet predict -i <HERE>/images -o <HERE>/out -d 501", "?61", env={"nnUNet_results": None}),
    refused("nnUNet_results names a file", "comnet predict -i <HERE>/images -o <HERE>/out -d 501", "?62", _only("", "file"), env={"nnUNet_results": "<HERE>/file"}),
    refused("thresholds that are not JSON", CALL + " --thresholds <HERE>/t.json", "?63", _only("ET: 0.5", "t.json")),
    refused("a threshold of 1.5", CALL + " --thresholds <HERE>/t.json", "?64", _only('{"ET": 1.5}', "t.json")),
    refused("a threshold of NaN", CALL + " --thresholds <HERE>/t.json", "?65", _only('{"ET": NaN}', "t.json")),
    refused("a threshold of 10 to the 400", CALL + " --thresholds <HERE>/t.json", "?66", _only('{"ET": 1' + "0" * 400 + "}", "t.json")),
    refused("thresholds nested 100000 deep", CALL + " --thresholds <HERE>/t.json", "?67", _only("[" * 100_000, "t.json")),
    refused("a threshold of an unknown region", CALL + " --thresholds <HERE>/t.json", "?68", _only('{"oedema": 0.5}', "t.json")),
    refused("a strength without a number", CALL + " --strength ET", "?69"),
    refused("a strength, and no refiner", CALL + " --strength ET=1", "?70"),
    refused("a strength of 2", "comnet predict -i <HERE>/images -o <HERE>/out -m <REFINED> --strength ET=2", "?71"),
    refused("a strength of an unknown region", "comnet predict -i <HERE>/images -o <HERE>/out -m <REFINED> --strength oedema=1", "?72"),
    refused("a map that there is not", CALL + " --spread", "?73"),
    refused("a step of 0", CALL + " -step_size 0", "?74"),
    refused("a step in words", CALL + " -step_size half", "?75", code=2),
    refused("part 3 of 2", CALL + " -num_parts 2 -part_id 3", "?76"),
    refused("no such device", CALL + " -device tpu", "?77"),
    refused("rules that are not JSON", CALL + " --postprocessing <HERE>/rules.json", "?78", _only("{", "rules.json")),
    refused("rules that are a list", CALL + " --postprocessing <HERE>/rules.json", "?79", _only("[]", "rules.json")),
    refused("an unknown rule", CALL + " --postprocessing <HERE>/rules.json", "?80", _only('{"rules": [{"rule": "smooth"}]}', "rules.json")),
    refused("a rule of an unknown region", CALL + " --postprocessing <HERE>/rules.json", "?81",
            _only('{"rules": [{"rule": "fill-holes", "region": "oedema"}]}', "rules.json")),
)
GOOD = (
    BadInput("four axes with one volume", CALL, (), spoilt(files.with_voxels(lambda data: data[..., None])), 0, makes=(*RECORDS, "out/BAD.nii.gz")),
    BadInput("a folder's name with spaces and other letters",
             "comnet predict -i '<HERE>/Bilder für Ätna 東京' -o '<HERE>/out put' -m <MODEL> -f 0 --disable_tta -device cpu",
             (), lambda here: patient(here).rename(here / "Bilder für Ätna 東京") and None, 0, makes=("out put/*",)),
)
MODELS = tuple(refused(title, OWN_MODEL, says, spoilt_model(spoil)) for title, (spoil, says) in SPOILT_MODELS.items())
CASES = (*PATIENTS, *COMMANDS, *MODELS, *GOOD)
