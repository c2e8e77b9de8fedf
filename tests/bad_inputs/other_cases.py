"""Bad inputs of the smaller commands: compare, cv-report, calibrate, fit-postprocessing, report, phantom."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.bad_inputs import evaluate_cases, files
from tests.bad_inputs.case import BadInput, nothing, shared
from tests.bad_inputs.train_cases import DATA, DATASET, STAGE_1, STAGE_2, preprocessed

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
    refused("one model", "comnet compare a=<HERE>/masks -ref <HERE>/truth --protocol legacy",
        "a comparison needs two models or more; name another one, NAME=DIR", scored, shell=True),
    refused("a model without a name", "comnet compare <HERE>/masks <HERE>/others -ref <HERE>/truth",
        "'<HERE>/masks' is not NAME=DIR; write e.g. coarse=/path/to/predictions (a name of letters, digits, . _ "
        "+ -)", scored),
    refused("two models of one name", COMPARE.replace("b=", "a="),
        "two models are named 'a'; give them different names", scored),
    refused("one folder under two names", COMPARE.replace("others", "masks"),
        "'a' and 'b' name the same folder <HERE>/masks; nothing would differ", scored),
    refused("a folder that is not there", COMPARE.replace("others", "absent"),
        "<HERE>/absent of model 'b' is not a folder; name the folder of its predictions or scores", scored),
    refused("a folder without predictions", COMPARE.replace("<HERE>/others", "<HERE>/raw"),
        "<HERE>/raw of model 'b' has neither evaluation.json nor predictions (*.nii.gz)", scored),
    refused("no protocol", COMPARE.replace(" --protocol legacy", ""), "no model's folder holds an evaluation that "
        "would say the protocol; name it with --protocol", scored),
    refused("unknown protocol", COMPARE.replace("legacy", "brats"), "unknown protocol 'brats'; there are: legacy, "
        "brats2023, brats2023:ssa, brats2023:ped, brats2023:men, brats2023:met, brats2024, brats2024:ssa, "
        "brats2024:ped, brats2024:men, brats2024:met, brats2026, brats2026:goat, brats2026:men, brats2026:ped, "
        "brats2026:met", scored),
    refused("unknown metric", COMPARE + " --metrics dise", "unknown metric 'dise'; there are: dice, iou, hd95_mm, "
        "assd_mm, nsd_0.5mm, nsd_1mm, nsd_2mm, precision, sensitivity, lesion_dice, lesion_hd95_mm, "
        "lesion_nsd_0.5mm, lesion_nsd_1mm, lesion_f1, lesion_tp, lesion_fp, lesion_fn, ece_brain, ece_tumour, "
        "brier", scored),
    refused("a metric that the protocol has not", COMPARE + " --metrics lesion_dice",
        "protocol legacy has no lesion-wise metrics; leave them out or name another", scored),
    refused("against a model that there is not", COMPARE + " --against c",
        "there is no model 'c' to compare with; there are: a, b", scored),
    refused("output is a file", COMPARE + " -o <HERE>/file", "the output <HERE>/file is not a folder; choose another",
        _with("file", "")),
    refused("an evaluation that is not JSON", COMPARE, "<HERE>/others/evaluation.json cannot be read as JSON: "
        "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)", _with("others/evaluation.json",
        "{")),
    refused("an evaluation of another format", COMPARE, "<HERE>/others/evaluation.json is not an evaluation of "
        "format 1; write it with `comnet evaluate`", _with("others/evaluation.json", '{"format": 9}')),
    refused("an evaluation that is damaged", COMPARE, "<HERE>/others/evaluation.json is damaged (TypeError(\"'int' "
        "object is not subscriptable\")); write it again with `comnet evaluate`", _with("others/evaluation.json",
        json.dumps({**EVALUATION, "cases": {"A": 1}}))),
    refused("an evaluation with scores in words", COMPARE, "<HERE>/others/evaluation.json is damaged "
        "(ValueError(\"could not convert string to float: 'good'\")); write it again with `comnet evaluate`", _with(
        "others/evaluation.json", json.dumps({**EVALUATION, "cases": {"A": {"state": "scored", "note": "",
        "regions": {"ET": {"dice": "good"}}}}}))),
    refused("an evaluation whose cases are a list", COMPARE, "<HERE>/others/evaluation.json is damaged "
        "(AttributeError(\"'list' object has no attribute 'items'\")); write it again with `comnet evaluate`", _with(
        "others/evaluation.json", json.dumps({**EVALUATION, "cases": []}))),
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
    refused("unknown dataset", "comnet cv-report -d 777", "<HERE>/results holds no dataset 777; there are: none",
        shell=True),
    refused("no model trained", "comnet cv-report -d 501", "<HERE>/results/Dataset501_Blobs holds no model "
        "nnUNetTrainerSegResNet__nnUNetCoMNeTPlans__3d_fullres; there are: none",
        lambda here: (here / "results" / DATASET).mkdir()),
    refused("a model that is none", "comnet cv-report -d 501 --models A:B:C:D",
        "'A:B:C:D' is not a model; write TRAINER, TRAINER:PLANS or TRAINER:PLANS:CONFIGURATION, with NAME= in "
        "front where you want another name", with_validation),
    refused("nnUNet_results not set", CV, "environment variable nnUNet_results is not set; export "
        "nnUNet_results=/a/folder of yours", env={"nnUNet_results": None}),
    refused("nothing preprocessed", CV, "<HERE>/preprocessed/Dataset501_Blobs/dataset.json does not exist; plan the "
        "dataset first (comnet plan)", spoilt(lambda model, data: shutil.rmtree(data))),
    refused("no splits", CV, "<HERE>/preprocessed/Dataset501_Blobs/splits_final.json does not exist, so the "
        "cases that a fold held out are not known; training makes it", spoilt(lambda model,
        data: (data / "splits_final.json").unlink())),
    refused("splits that are a number", CV, "<HERE>/preprocessed/Dataset501_Blobs/splits_final.json is not nnU-Net's "
        "list of folds with 'train' and 'val'; restore it", _splits(5)),
    refused("splits of numbers", CV, "<HERE>/preprocessed/Dataset501_Blobs/splits_final.json is not nnU-Net's list "
        "of folds with 'train' and 'val'; restore it", _splits([{"train": 1, "val": 2}])),
    refused("a case in train and val", CV, "<HERE>/preprocessed/Dataset501_Blobs/splits_final.json: fold 0 trains on "
        "BLOB000 and validates on it: nothing was held out", _splits([{"train": CASES_, "val": CASES_[:1]}])),
    refused("a case held out twice", CV, "<HERE>/preprocessed/Dataset501_Blobs/splits_final.json holds BLOB000 out "
        "in folds 0 and 1; it must be in one", _splits([SPLITS[0], SPLITS[0]])),
    refused("another split than the folds were trained with", CV, "MedNeXt: "
        "<HERE>/results/Dataset501_Blobs/nnUNetTrainerCoMNeT__nnUNetCoMNeTPlans__3d_fullres/fold_0/validation "
        "holds 3 case(s) that are not held out, first BLOB000: fold 0 trained on it, says splits_final.json; "
        "restore the split that the fold was trained with, or train it again", _splits(SPLITS[::-1])),
    refused("a held-out prediction missing", CV, "MedNeXt: fold 1 has no prediction of 1 held-out case(s): "
        "BLOB004; predict them: "
        "nnUNetv2_train Dataset501_Blobs 3d_fullres 1 -tr nnUNetTrainerCoMNeT -p nnUNetCoMNeTPlans --val; "
        "--allow-missing goes on without", spoilt(lambda model,
        data: (model / "fold_1/validation/BLOB004.nii.gz").unlink())),
    refused("held-out predictions all missing", CV, "MedNeXt: fold 0 has no held-out predictions; make them: "
        "nnUNetv2_train Dataset501_Blobs 3d_fullres 0 -tr nnUNetTrainerCoMNeT -p nnUNetCoMNeTPlans (and 1 more)",
        spoilt(lambda model, data: [shutil.rmtree(model / f"fold_{fold}/validation") for fold in (0, 1)])),
    refused("a held-out prediction cut in half", CV, "MedNeXt: BLOB004 of "
        "<HERE>/results/Dataset501_Blobs/nnUNetTrainerCoMNeT__nnUNetCoMNeTPlans__3d_fullres/fold_1/validation "
        "cannot be scored (unreadable-prediction): BLOB004.nii.gz cannot be read: its gzip stream is cut off; "
        "copy or make it again; scored as missing", spoilt(lambda model,
        data: files.cut(model / "fold_1/validation/BLOB004.nii.gz"))),
    refused("a dataset of labels", CV, "<HERE>/preprocessed/Dataset501_Blobs/dataset.json has labels, not regions of "
        "several labels, which our trainers segment; restore it, or plan the dataset again", spoilt(lambda model,
        data: (data / "dataset.json").write_text('{"labels": {"background": 0, "tumour": 1}}'))),
    refused("dataset.json that is a list", CV, "<HERE>/preprocessed/Dataset501_Blobs/dataset.json is not a "
        "description of a dataset; restore it, or plan the dataset again", spoilt(lambda model,
        data: (data / "dataset.json").write_text("[]"))),
    refused("unknown protocol", CV + " --protocol brats", "unknown protocol 'brats'; there are: legacy, brats2023, "
        "brats2023:ssa, brats2023:ped, brats2023:men, brats2023:met, brats2024, brats2024:ssa, brats2024:ped, "
        "brats2024:men, brats2024:met, brats2026, brats2026:goat, brats2026:men, brats2026:ped, brats2026:met",
        with_validation),
    refused("unknown metric", CV + " --metrics dise", "unknown metric 'dise'; there are: dice, iou, hd95_mm, "
        "assd_mm, nsd_0.5mm, nsd_1mm, nsd_2mm, precision, sensitivity, lesion_dice, lesion_hd95_mm, "
        "lesion_nsd_0.5mm, lesion_nsd_1mm, lesion_f1, lesion_tp, lesion_fp, lesion_fn, ece_brain, ece_tumour, "
        "brier", with_validation),
    refused("unknown kind of data", CV + " --data mri", "unknown kind of data 'mri'; there are: auto, utsw, "
        "generated, other", with_validation),
    refused("output is a file", CV.replace("report -d", "report -d").replace("<HERE>/report", "<HERE>/file"),
        "the output <HERE>/file is not a folder; choose another",
        lambda here: with_validation(here) and (here / "file").write_text("")),
)  # fmt: skip

CALIBRATE = "comnet calibrate -d 501 -device cpu --disable_tta"
CALIBRATING = (
    refused("unknown dataset", "comnet calibrate -d 777", "<HERE>/results holds no dataset 777; there are: none",
        shell=True),
    refused("a model without a refiner", f"{CALIBRATE} {TRAINER}", "the model in "
        "<HERE>/results/Dataset501_Blobs/nnUNetTrainerCoMNeT__nnUNetCoMNeTPlans__3d_fullres has no refiner", model_of(
        STAGE_1)),
    refused("no splits", CALIBRATE, "<HERE>/preprocessed/Dataset501_Blobs/splits_final.json does not exist",
        lambda here: model_of(STAGE_2)(here) and (here / "preprocessed" / DATASET / "splits_final.json").unlink()),
    refused("splits without val", CALIBRATE, "<HERE>/preprocessed/Dataset501_Blobs/splits_final.json is not "
        "nnU-Net's list of folds with 'train' and 'val'; restore it",
        lambda here: model_of(STAGE_2)(here) and (here / "preprocessed" / DATASET / "splits_final.json").write_text(
        '[{"train": []}, {"train": []}]')),
    refused("fewer splits than folds", CALIBRATE,
        "<HERE>/results/Dataset501_Blobs/nnUNetTrainerCoMNeTCorrDiff__nnUNetCoMNeTPlans__3d_fullres has fold 1, "
        "but splits_final.json has 0 folds",
        lambda here: model_of(STAGE_2)(here) and (here / "preprocessed" / DATASET / "splits_final.json").write_text(
        "[]")),
    refused("one fold", CALIBRATE, "strengths need the held-out cases of two folds or more; train more folds",
        lambda here: shutil.rmtree(model_of(STAGE_2)(here) / "fold_1") or True),
    refused("no data of a held-out case", CALIBRATE, "case BLOB000 cannot be read from "
        "<HERE>/preprocessed/Dataset501_Blobs/nnUNetCoMNeTPlans_3d_fullres; preprocess the dataset again",
        lambda here: model_of(STAGE_2)(here) and [path.unlink() for path in (here / "preprocessed" / DATASET).glob(
        f"{DATA}/BLOB000*")], makes=()),
    refused("no truth of a held-out case", CALIBRATE,
        "<HERE>/preprocessed/Dataset501_Blobs/gt_segmentations/BLOB000.nii.gz does not exist: "
        "the truth of every held-out case is needed; preprocess again",
        lambda here: model_of(STAGE_2)(here)
        and (here / "preprocessed" / DATASET / "gt_segmentations/BLOB000.nii.gz").unlink()),
    refused("0 steps", CALIBRATE + " --steps 0", "steps must be 1 or more, got 0", model_of(STAGE_2)),
)  # fmt: skip

FIT = f"comnet fit-postprocessing -d 501 {TRAINER} --protocol brats2023 -o <HERE>/rules"
FITTING = (
    refused("unknown dataset", "comnet fit-postprocessing -d 777 --protocol brats2023",
        "<HERE>/results holds no dataset 777; there are: none", shell=True),
    refused("no held-out predictions", FIT,
        "<HERE>/results/Dataset501_Blobs/nnUNetTrainerCoMNeT__nnUNetCoMNeTPlans__3d_fullres holds no "
        "fold_*/validation: train the folds, or predict them with nnUNetv2_train DATASET CONFIGURATION FOLD -tr "
        "TRAINER -p PLANS --val", model_of(STAGE_1)),
    refused("one fold", FIT + " -f 0", "only fold 0 has predictions: rules are chosen on some folds and measured on "
        "another; train more", with_validation),
    refused("a fold that is not there", FIT + " -f 0 7",
        "<HERE>/results/Dataset501_Blobs/nnUNetTrainerCoMNeT__nnUNetCoMNeTPlans__3d_fullres holds no validation "
        "of fold 7; there are: 0, 1", with_validation),
    refused("a held-out prediction missing", FIT,
        "<HERE>/results/Dataset501_Blobs/nnUNetTrainerCoMNeT__nnUNetCoMNeTPlans__3d_fullres/fold_1/validation "
        "has 2 of 3 held-out cases (first missing: BLOB004); finish: nnUNetv2_train DATASET CONFIGURATION FOLD "
        "-tr TRAINER -p PLANS --val",
        spoilt(lambda model, data: (model / "fold_1/validation/BLOB004.nii.gz").unlink())),
    refused("a held-out prediction cut in half", FIT,
        "<HERE>/results/Dataset501_Blobs/nnUNetTrainerCoMNeT__nnUNetCoMNeTPlans__3d_fullres/fold_1/validation/"
        "BLOB004.nii.gz "
        "cannot be read: its gzip stream is cut off; copy or make it again", spoilt(lambda model, data: files.cut(
        model / "fold_1/validation/BLOB004.nii.gz"))),
    refused("a prediction of a case that was trained on", FIT,
        "<HERE>/results/Dataset501_Blobs/nnUNetTrainerCoMNeT__nnUNetCoMNeTPlans__3d_fullres/fold_0/validation "
        "holds 3 case(s) that are not held out, first BLOB000: fold 0 trained on it, says splits_final.json; "
        "restore the split that the fold was trained with, or train it again", _splits(SPLITS[::-1])),
    refused("splits that are a number", FIT, "<HERE>/preprocessed/Dataset501_Blobs/splits_final.json is not "
        "nnU-Net's list of folds with 'train' and 'val'; restore it", _splits(5)),
    refused("no truth", FIT, "<HERE>/preprocessed/Dataset501_Blobs/gt_segmentations/BLOB000.nii.gz does not exist: "
        "the truth of every held-out case is needed; preprocess again", spoilt(lambda model,
        data: (data / "gt_segmentations/BLOB000.nii.gz").unlink())),
    refused("no probabilities", FIT + " --with-probabilities",
        "<HERE>/results/Dataset501_Blobs/nnUNetTrainerCoMNeT__nnUNetCoMNeTPlans__3d_fullres/fold_0/validation/"
        "BLOB000.npz "
        "does not exist: rules on probabilities need it; write it with nnUNetv2_train DATASET CONFIGURATION FOLD "
        "-tr TRAINER -p PLANS --val --npz", with_validation),
    refused("unknown protocol", FIT.replace("brats2023", "brats"), "unknown protocol 'brats'; there are: legacy, "
        "brats2023, brats2023:ssa, brats2023:ped, brats2023:men, brats2023:met, brats2024, brats2024:ssa, "
        "brats2024:ped, brats2024:men, brats2024:met, brats2026, brats2026:goat, brats2026:men, brats2026:ped, "
        "brats2026:met", with_validation),
    refused("unknown metric", FIT + " --metric dise", "unknown metric 'dise'; there are: lesion_dice, dice, both",
        with_validation),
    refused("unknown preset", FIT + " --preset winner", "there is no preset 'winner'; there are: isensee2020, "
        "kaist2021, nvidia2021_paper, nvidia2021_code, nvidia2022_code, fakingit2023, fakingit2024, biomedmbz",
        with_validation),
    refused("unknown unit", FIT + " --unit ml", "unknown unit 'ml'; there are: voxels, mm3", with_validation),
    refused("a model whose dataset.json lacks the channels", FIT,
        '<HERE>/results/Dataset501_Blobs/nnUNetTrainerCoMNeT__nnUNetCoMNeTPlans__3d_fullres/dataset.json must '
        'name the channels, {"0": "T1n", "1": ...}; restore the one that was trained with', spoilt(lambda model,
        data: (model / "dataset.json").write_text('{"labels": {"background": 0, "tumour": 1}}'))),
    refused("output is a file", FIT.replace("<HERE>/rules", "<HERE>/file"),
        "the output <HERE>/file is not a folder; choose another",
        lambda here: with_validation(here) and (here / "file").write_text("")),
)  # fmt: skip

REPORT = "comnet report <HERE>/page.html -ref <HERE>/truth -pred <HERE>/masks"
REPORTING = (
    refused("nothing to report", "comnet report <HERE>/page.html", "there is no case to report; name folders with "
        "-pred, -ref or --evaluation, or give figures", shell=True),
    refused("a page that is no .html", "comnet report <HERE>/page.pdf -pred <HERE>/masks",
        "the page's name must end in .html: got <HERE>/page.pdf", scored),
    refused("a page that is a folder", REPORT, "<HERE>/page.html is a folder; name a file for the page",
        lambda here: scored(here) and (here / "page.html").mkdir()),
    refused("predictions that are not there", "comnet report <HERE>/page.html -pred <HERE>/absent",
        "<HERE>/absent is not a folder; give the one that holds the cases' files"),
    refused("a picture that is none", REPORT + " --figures <HERE>/truth/BAD.nii.gz",
        "<HERE>/truth/BAD.nii.gz is not a PNG picture; the page holds PNG only", scored),
    refused("a table that is none", REPORT + " --tables <HERE>/masks/GOOD.nii.gz",
        "<HERE>/masks/GOOD.nii.gz cannot be read as a CSV table: 'utf-8' codec can't decode byte 0x8b in "
        "position 1: invalid start byte", scored),
    refused("a record that is not JSON", REPORT + " --manifest <HERE>/run.json",
        "<HERE>/run.json cannot be read as JSON: Expecting property name enclosed in double quotes: line 1 "
        "column 2 (char 1)", _with("run.json", "{")),
    refused("an evaluation that is not JSON", REPORT, "<HERE>/masks/evaluation.json cannot be read as JSON: "
        "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)", _with("masks/evaluation.json",
        "{")),
    refused("a run's record that is not JSON", REPORT, "<HERE>/masks/comnet_run.json cannot be read as JSON: "
        "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)", _with("masks/comnet_run.json",
        "{")),
    refused("failures that are a number", REPORT, "<HERE>/masks/failures.json does not hold a reason per case; "
        "predict again, or take the file away", _with("masks/failures.json", "5")),
    refused("dataset.json with channels in words", REPORT, '<HERE>/masks/dataset.json must name the channels, {"0": '
        '"T1n", "1": ...}; name the regions in it as nnU-Net\'s dataset.json does', _with("masks/dataset.json",
        '{"labels": {"WT": [1, 2, 3]}, "channel_names": {"first": "T1"}}')),
    refused("a channel that there is not", REPORT + " --channels T9", "there is no channel 'T9'; there are: no images",
        scored),
    refused("-1 cases", REPORT + " --cases -1", "-1 cases cannot be shown; give 0 or more", scored),
    refused("0 processes", REPORT + " --jobs 0", "0 jobs cannot run; give --jobs 1 or more", scored),
    refused("a page of 0 MB", REPORT + " --max-mb 0", "0 MB hold no 2 cases beside the figures; allow more with "
        "--max-mb, or show fewer with --cases", scored),
    refused("a page of NaN MB", REPORT + " --max-mb nan", "a page of nan MB cannot be written; give a size from 0",
        scored),
)  # fmt: skip
PHANTOM = (
    refused("0 patients", "comnet phantom <HERE>/out --cases 0", "0 cases cannot be generated; give --cases 1 or more",
        shell=True),
    refused("unknown layout", "comnet phantom <HERE>/out --layout brats1999",
        "unknown layout 'brats1999'; choose one of utsw, brats2021, brats2023"),
    refused("voxels of 0 mm", "comnet phantom <HERE>/out --spacing 0", "spacing 0 mm cannot be used; give a voxel "
        "size from 0.5 to 8 mm"),
    refused("voxels of NaN mm", "comnet phantom <HERE>/out --spacing nan", "spacing nan mm cannot be used; give a "
        "voxel size from 0.5 to 8 mm"),
    refused("a seed below 0", "comnet phantom <HERE>/out --seed -1",
        "seed -1 cannot be used; give a whole number from 0"),
    refused("0 processes", "comnet phantom <HERE>/out --jobs 0", "0 jobs cannot run; give --jobs 1 or more"),
    refused("patients from number 0", "comnet phantom <HERE>/out --start 0",
        "cases 0 to 11 do not fit layout utsw, whose numbers go from 1 to 9999; change --start or --cases"),
    refused("more patients than numbers", "comnet phantom <HERE>/out --start 9999 --cases 5",
        "cases 9999 to 10003 do not fit layout utsw, whose numbers go from 1 to 9999; change --start or --cases"),
    refused("output is a file", "comnet phantom <HERE>/file", "<HERE>/file is a file; name a folder for the "
        "generated patients", lambda here: (here / "file").write_text("")),
    refused("a folder of somebody else's", "comnet phantom <HERE>/truth", "<HERE>/truth is not empty and holds no "
        "generated patients; choose a new folder", scored),
    refused("patients of another seed", "comnet phantom <HERE>/out --seed 2",
        "<HERE>/out holds generated patients of another layout, seed or spacing (see phantom.json); choose "
        "another folder", lambda here: (here / "out").mkdir() or (here / "out/phantom.json").write_text('{"seed": 1}')),
    refused("a marker that is not JSON", "comnet phantom <HERE>/out", "<HERE>/out/phantom.json cannot be read as "
        "JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
        lambda here: (here / "out").mkdir() or (here / "out/phantom.json").write_text("{")),
)  # fmt: skip
CASES = (*COMPARING, *CV_REPORT, *CALIBRATING, *FITTING, *REPORTING, *PHANTOM)
