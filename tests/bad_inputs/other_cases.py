"""Bad inputs of the smaller commands: compare, cv-report, calibrate, fit-postprocessing, report, phantom."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.bad_inputs import evaluate_cases, files
from tests.bad_inputs.case import BadInput, nothing, shared
from tests.bad_inputs.train_cases import DATASET, STAGE_1, STAGE_2, preprocessed

TRAINER = "-tr nnUNetTrainerCoMNeT"
CASES_ = [f"BLOB{number:03d}" for number in range(6)]
SPLITS = [{"train": CASES_[3:], "val": CASES_[:3]}, {"train": CASES_[:3], "val": CASES_[3:]}]


def refused(title: str, words: str, says: str, make: Callable[[Path], object] = nothing, **more: Any) -> BadInput:
    return BadInput(title, words, (f"comnet: error: {says}",), lambda here: make(here), **more)


def scored(here: Path) -> Path:
    """Two folders of the same two predictions, `masks` and `others`, and the truth."""
    masks = evaluate_cases.two(here)
    shutil.copytree(masks, here / "others")
    return masks


def _with(name: str, content: str) -> Callable[[Path], object]:
    def make(here: Path) -> None:
        scored(here)
        (here / name).parent.mkdir(exist_ok=True)
        (here / name).write_text(content)

    return make


def _disjoint(here: Path) -> None:
    scored(here)
    for path in list((here / "others").iterdir()):
        path.rename(here / "others" / f"other_{path.name}")


EVALUATION = {
    "format": 1, "protocol": "legacy", "reference": "truth", "prediction": "masks", "regions": ["ET"], "extra": [],
    "information": {}, "cases": {"A": {"state": "scored", "note": "", "regions": {"ET": {"dice": 0.5}}}},
}  # fmt: skip
COMPARE = "comnet compare a=<HERE>/masks b=<HERE>/others -ref <HERE>/truth --protocol legacy"
COMPARING = (
    refused("one model", "comnet compare a=<HERE>/masks -ref <HERE>/truth --protocol legacy", "?1", scored, shell=True),
    refused("a model without a name", "comnet compare <HERE>/masks <HERE>/others -ref <HERE>/truth", "?2", scored),
    refused("two models of one name", COMPARE.replace("b=", "a="), "?3", scored),
    refused("one folder under two names", COMPARE.replace("others", "masks"), "?4", scored),
    refused("a folder that is not there", COMPARE.replace("others", "absent"), "?5", scored),
    refused("a folder without predictions", COMPARE.replace("<HERE>/others", "<HERE>/raw"), "?6", scored),
    refused("no protocol", COMPARE.replace(" --protocol legacy", ""), "?7", scored),
    refused("unknown protocol", COMPARE.replace("legacy", "brats"), "?8", scored),
    refused("unknown metric", COMPARE + " --metrics dise", "?9", scored),
    refused("a metric that the protocol has not", COMPARE + " --metrics lesion_dice", "?10", scored),
    refused("against a model that there is not", COMPARE + " --against c", "?11", scored),
    refused("output is a file", COMPARE + " -o <HERE>/file", "?12", _with("file", "")),
    refused("an evaluation that is not JSON", COMPARE, "?13", _with("others/evaluation.json", "{")),
    refused("an evaluation of another format", COMPARE, "?14", _with("others/evaluation.json", '{"format": 9}')),
    refused("an evaluation that is damaged", COMPARE, "?15", _with("others/evaluation.json", json.dumps({**EVALUATION, "cases": {"A": 1}}))),
    refused("an evaluation with scores in words", COMPARE, "?16", _with("others/evaluation.json", json.dumps({**EVALUATION, "cases": {"A": {"state": "scored", "note": "", "regions": {"ET": {"dice": "good"}}}}}))),
    refused("an evaluation whose cases are a list", COMPARE, "?17", _with("others/evaluation.json", json.dumps({**EVALUATION, "cases": []}))),
)  # fmt: skip


def model_of(results: str) -> Callable[[Path], Path]:
    def make(here: Path) -> Path:
        folder = preprocessed(here)
        (folder / "splits_final.json").write_text(json.dumps(SPLITS))
        shutil.copytree(shared(here, "model" if results == STAGE_1 else "refined"), here / results)
        return here / results

    return make


def with_validation(here: Path) -> Path:
    """Stage 1, and its held-out predictions: the truth itself."""
    model = model_of(STAGE_1)(here)
    for fold, split in enumerate(SPLITS):
        (model / f"fold_{fold}" / "validation").mkdir()
        for case in split["val"]:
            truth = here / "preprocessed" / DATASET / "gt_segmentations" / f"{case}.nii.gz"
            shutil.copy(truth, model / f"fold_{fold}" / "validation")
    return model


def spoilt(spoil: Callable[[Path, Path], object]) -> Callable[[Path], object]:
    """spoil gets the model's folder and the preprocessed one."""

    def make(here: Path) -> None:
        spoil(with_validation(here), here / "preprocessed" / DATASET)

    return make


def _splits(splits: Any) -> Callable[[Path], object]:
    return spoilt(lambda model, data: (data / "splits_final.json").write_text(json.dumps(splits)))


CV = "comnet cv-report -d 501 --models nnUNetTrainerCoMNeT -o <HERE>/report"
CV_REPORT = (
    refused("unknown dataset", "comnet cv-report -d 777", "?18", shell=True),
    refused("no model trained", "comnet cv-report -d 501", "?19", lambda here: (here / "results" / DATASET).mkdir()),
    refused("a model that is none", "comnet cv-report -d 501 --models A:B:C:D", "?20", with_validation),
    refused("nnUNet_results not set", CV, "?21", env={"nnUNet_results": None}),
    refused("nothing preprocessed", CV, "?22", spoilt(lambda model, data: shutil.rmtree(data))),
    refused("no splits", CV, "?23", spoilt(lambda model, data: (data / "splits_final.json").unlink())),
    refused("splits that are a number", CV, "?24", _splits(5)),
    refused("splits of numbers", CV, "?25", _splits([{"train": 1, "val": 2}])),
    refused("a case in train and val", CV, "?26", _splits([{"train": CASES_, "val": CASES_[:1]}])),
    refused("a case held out twice", CV, "?27", _splits([SPLITS[0], SPLITS[0]])),
    refused("another split than the folds were trained with", CV, "?28", _splits(SPLITS[::-1])),
    refused("a held-out prediction missing", CV, "?29", spoilt(lambda model, data: (model / "fold_1/validation/BLOB004.nii.gz").unlink())),
    refused("held-out predictions all missing", CV, "?30", spoilt(lambda model, data: [shutil.rmtree(model / f"fold_{fold}/validation") for fold in (0, 1)])),
    refused("a held-out prediction cut in half", CV, "?31", spoilt(lambda model, data: files.cut(model / "fold_1/validation/BLOB004.nii.gz"))),
    refused("a dataset of labels", CV, "?32", spoilt(lambda model, data: (data / "dataset.json").write_text('{"labels": {"background": 0, "tumour": 1}}'))),
    refused("dataset.json that is a list", CV, "<HERE>/preprocessed/Dataset501_Blobs/dataset.json is not a description of a dataset; restore it, or plan the dataset again", spoilt(lambda model, data: (data / "dataset.json").write_text("[]"))),
    refused("unknown protocol", CV + " --protocol brats", "?34", with_validation),
    refused("unknown metric", CV + " --metrics dise", "?35", with_validation),
    refused("unknown kind of data", CV + " --data mri", "?36", with_validation),
    refused("output is a file", CV.replace("report -d", "report -d").replace("<HERE>/report", "<HERE>/file"), "?37", lambda here: with_validation(here) and (here / "file").write_text("")),
)  # fmt: skip

CALIBRATE = "comnet calibrate -d 501 -device cpu --disable_tta"
CALIBRATING = (
    refused("unknown dataset", "comnet calibrate -d 777", "?38", shell=True),
    refused("a model without a refiner", f"{CALIBRATE} {TRAINER}", "?39", model_of(STAGE_1)),
    refused("no splits", CALIBRATE, "?40", lambda here: model_of(STAGE_2)(here) and (here / "preprocessed" / DATASET / "splits_final.json").unlink()),
    refused("splits without val", CALIBRATE, "?41", lambda here: model_of(STAGE_2)(here) and (here / "preprocessed" / DATASET / "splits_final.json").write_text('[{"train": []}, {"train": []}]')),
    refused("fewer splits than folds", CALIBRATE, "?42", lambda here: model_of(STAGE_2)(here) and (here / "preprocessed" / DATASET / "splits_final.json").write_text("[]")),
    refused("one fold", CALIBRATE, "?43", lambda here: shutil.rmtree(model_of(STAGE_2)(here) / "fold_1") or True),
    refused("no data of a held-out case", CALIBRATE, "?44", lambda here: model_of(STAGE_2)(here) and [path.unlink() for path in (here / "preprocessed" / DATASET).glob("*3d_fullres/BLOB000*")], makes=()),
    refused("no truth of a held-out case", CALIBRATE, "?45", lambda here: model_of(STAGE_2)(here) and (here / "preprocessed" / DATASET / "gt_segmentations/BLOB000.nii.gz").unlink()),
    refused("0 steps", CALIBRATE + " --steps 0", "?46", model_of(STAGE_2)),
)  # fmt: skip

FIT = f"comnet fit-postprocessing -d 501 {TRAINER} --protocol brats2023 -o <HERE>/rules"
FITTING = (
    refused("unknown dataset", "comnet fit-postprocessing -d 777 --protocol brats2023", "?47", shell=True),
    refused("no held-out predictions", FIT, "?48", model_of(STAGE_1)),
    refused("one fold", FIT + " -f 0", "?49", with_validation),
    refused("a fold that is not there", FIT + " -f 0 7", "?50", with_validation),
    refused("a held-out prediction missing", FIT, "?51", spoilt(lambda model, data: (model / "fold_1/validation/BLOB004.nii.gz").unlink())),
    refused("a held-out prediction cut in half", FIT, "?52", spoilt(lambda model, data: files.cut(model / "fold_1/validation/BLOB004.nii.gz"))),
    refused("a prediction of a case that was trained on", FIT, "?53", _splits(SPLITS[::-1])),
    refused("splits that are a number", FIT, "?54", _splits(5)),
    refused("no truth", FIT, "?55", spoilt(lambda model, data: (data / "gt_segmentations/BLOB000.nii.gz").unlink())),
    refused("no probabilities", FIT + " --with-probabilities", "?56", with_validation),
    refused("unknown protocol", FIT.replace("brats2023", "brats"), "?57", with_validation),
    refused("unknown metric", FIT + " --metric dise", "?58", with_validation),
    refused("unknown preset", FIT + " --preset winner", "?59", with_validation),
    refused("unknown unit", FIT + " --unit ml", "?60", with_validation),
    refused("a model of labels", FIT, "?61", spoilt(lambda model, data: (model / "dataset.json").write_text('{"labels": {"background": 0, "tumour": 1}}'))),
    refused("output is a file", FIT.replace("<HERE>/rules", "<HERE>/file"), "?62", lambda here: with_validation(here) and (here / "file").write_text("")),
)  # fmt: skip

REPORT = "comnet report <HERE>/page.html -ref <HERE>/truth -pred <HERE>/masks"
REPORTING = (
    refused("nothing to report", "comnet report <HERE>/page.html", "?63", shell=True),
    refused("a page that is no .html", "comnet report <HERE>/page.pdf -pred <HERE>/masks", "?64", scored),
    refused("a page that is a folder", REPORT, "?65", lambda here: scored(here) and (here / "page.html").mkdir()),
    refused("predictions that are not there", "comnet report <HERE>/page.html -pred <HERE>/absent", "?66"),
    refused("a picture that is none", REPORT + " --figures <HERE>/truth/BAD.nii.gz", "?67", scored),
    refused("a table that is none", REPORT + " --tables <HERE>/masks/GOOD.nii.gz", "?68", scored),
    refused("a record that is not JSON", REPORT + " --manifest <HERE>/run.json", "?69", _with("run.json", "{")),
    refused("an evaluation that is not JSON", REPORT, "?70", _with("masks/evaluation.json", "{")),
    refused("a run's record that is not JSON", REPORT, "?71", _with("masks/comnet_run.json", "{")),
    refused("failures that are a number", REPORT, "?72", _with("masks/failures.json", "5")),
    refused("dataset.json with channels in words", REPORT, "?73", _with("masks/dataset.json", '{"labels": {"WT": [1, 2, 3]}, "channel_names": {"first": "T1"}}')),
    refused("a channel that there is not", REPORT + " --channels T9", "?74", scored),
    refused("-1 cases", REPORT + " --cases -1", "?75", scored),
    refused("0 processes", REPORT + " --jobs 0", "?76", scored),
    refused("a page of 0 MB", REPORT + " --max-mb 0", "?77", scored),
    refused("a page of NaN MB", REPORT + " --max-mb nan", "?78", scored),
)  # fmt: skip
PHANTOM = (
    refused("0 patients", "comnet phantom <HERE>/out --cases 0", "?79", shell=True),
    refused("unknown layout", "comnet phantom <HERE>/out --layout brats1999", "?80"),
    refused("voxels of 0 mm", "comnet phantom <HERE>/out --spacing 0", "?81"),
    refused("voxels of NaN mm", "comnet phantom <HERE>/out --spacing nan", "?82"),
    refused("a seed below 0", "comnet phantom <HERE>/out --seed -1", "?83"),
    refused("0 processes", "comnet phantom <HERE>/out --jobs 0", "?84"),
    refused("more patients than numbers", "comnet phantom <HERE>/out --start 9999 --cases 5", "?85"),
    refused("output is a file", "comnet phantom <HERE>/file", "?86", lambda here: (here / "file").write_text("")),
    refused("a folder of somebody else's", "comnet phantom <HERE>/truth", "?87", scored),
    refused("patients of another seed", "comnet phantom <HERE>/out --seed 2", "?88", lambda here: (here / "out").mkdir() or (here / "out/phantom.json").write_text('{"seed": 1}')),
    refused("a marker that is not JSON", "comnet phantom <HERE>/out", "?89", lambda here: (here / "out").mkdir() or (here / "out/phantom.json").write_text("{")),
)  # fmt: skip
CASES = (*COMPARING, *CV_REPORT, *CALIBRATING, *FITTING, *REPORTING, *PHANTOM)
