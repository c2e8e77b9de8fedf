"""comnet cv-report as users call it."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from cv_setup import CORRDIFF, DATASET, MEDNEXT, SEGRESNET, Setup, mask, write

ENSEMBLE = "nnUNetResEncUNetMPlans"


@pytest.mark.chain
def test_the_papers_table_from_one_command(run: Any, setup: Setup) -> None:
    for trainer in (SEGRESNET, MEDNEXT, CORRDIFF):
        setup.add(trainer)
    setup.add("nnUNetTrainer", plans=ENSEMBLE, A=(5, 5, 10))
    answer = run(
        "comnet", "cv-report", "-d", "501", "--models", SEGRESNET, MEDNEXT, CORRDIFF,
        f"nnU-Net=nnUNetTrainer:{ENSEMBLE}", "--metrics", "hd95_mm", "nsd_1mm", "--jobs", "2", env=setup.environment,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    assert "| SegResNet | 0.5833 ± 0.1179 | 0.7500 ± 0.1179 | 0.7976 ± 0.1852 | 0.7103 ± 0.0617 |" in answer.stdout
    # CoMNeT's B is (5, 5, 10): Dice 2/3, its fold (1 + 2/3) / 2 = 0.8333, the other 1; sd 0.1667 / 1.4142.
    assert "| CoMNeT | 0.9167 ± 0.1179 |" in answer.stdout
    assert "## NSD at 1 mm" in answer.stdout
    assert "ANOTHER DATA SET" in answer.stdout
    out = setup.results / "cv_report"
    assert answer.stdout.endswith(f"wrote {out}: table.md, table.tex, table.csv, figures/, models/, cv_report.json\n")
    names = {"dice_per_fold", "dice_per_region", "dice_against_volume"}
    names |= {f"slices_{model}" for model in ("SegResNet", "MedNeXt", "CoMNeT", "nnU-Net")}
    assert {path.name for path in (out / "figures").iterdir()} == {f"{n}.{e}" for n in names for e in ("png", "pdf")}
    written = json.loads((out / "cv_report.json").read_text())
    assert written["models"]["nnU-Net"]["plans"] == ENSEMBLE
    assert any("No reliability diagram" in note for note in written["notes"])


def test_without_models_those_of_the_paper_that_are_trained(run: Any, setup: Setup, tmp_path: Path) -> None:
    setup.add(MEDNEXT)
    environment = {**setup.environment, "nnUNet_raw": None}
    answer = run("comnet", "cv-report", "-d", "501", "-o", str(tmp_path / "out"), env=environment)
    assert answer.returncode == 0, answer.stderr
    assert "| MedNeXt | 1.0000" in answer.stdout
    assert "SegResNet" not in answer.stdout
    assert "no image of channel FLAIR" in answer.stdout  # nnUNet_raw is not known: no slices
    assert not list((tmp_path / "out" / "figures").glob("slices*"))
    assert "**" not in answer.stdout.split("### The paper's figures")[0]


def test_generated_patients_are_marked(run: Any, setup: Setup, tmp_path: Path) -> None:
    patients = tmp_path / "patients"
    assert run("comnet", "phantom", str(patients), "--cases", "1", "--spacing", "6").returncode == 0
    environment = {**setup.environment, "nnUNet_raw": str(tmp_path / "converted")}
    answer = run("comnet", "convert", "utsw", str(patients), "-d", "502", "--folds", "2", env=environment)
    assert answer.returncode == 0, answer.stderr
    converted = json.loads((tmp_path / "converted" / "Dataset502_UTSWGlioma" / "dataset.json").read_text())
    assert converted["generated_by"] == "comnet phantom, layout utsw, seed 0, 6.0 mm"
    assert "no real person's" in converted["description"]
    notes = {name: converted[name] for name in ("converted_by", "generated_by")}
    path = setup.preprocessed / "dataset.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **notes}))
    setup.add(MEDNEXT)
    answer = run("comnet", "cv-report", "-d", "501", env=setup.environment)
    assert "**ANOTHER DATA SET: generated patients, not the paper's UTSW-Glioma." in answer.stdout


def test_a_mistake_gets_one_line_and_nothing_is_written(run: Any, setup: Setup) -> None:
    """Others are in the corpus of bad inputs."""
    setup.add(MEDNEXT)
    before = sorted(setup.root.rglob("*"))
    for words in (["--models", "nnUNetTrainerNone"], ["--models", MEDNEXT, "--metrics", "volume_truth_mm3"]):
        answer = run("comnet", "cv-report", "-d", "501", *words, env=setup.environment)
        assert answer.returncode == 1
        assert answer.stderr.startswith("comnet: error: ")
        assert answer.stderr.count("\n") == 1
        assert words[-1] in answer.stderr
        assert sorted(setup.root.rglob("*")) == before


def test_a_leak_gets_one_line_and_nothing_is_written(run: Any, setup: Setup) -> None:
    write(setup.add(MEDNEXT) / "fold_1" / "validation" / "A.nii.gz", mask())
    answer = run("comnet", "cv-report", "-d", "501", "--allow-missing", env=setup.environment)
    assert answer.returncode == 1
    assert answer.stderr.count("\n") == 1
    assert "splits_final.json" in answer.stderr
    assert not (setup.results / "cv_report").exists()


def test_a_dataset_of_another_file_ending_is_refused(run: Any, setup: Setup) -> None:
    setup.add(MEDNEXT)
    path = setup.preprocessed / "dataset.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "file_ending": ".nrrd"}))
    answer = run("comnet", "cv-report", "-d", "501", env=setup.environment)
    assert answer.returncode == 1
    assert ".nrrd" in answer.stderr


def test_calibrated_strengths_and_fold_all_are_told(run: Any, setup: Setup) -> None:
    folder = setup.add(CORRDIFF)
    log = folder / "fold_0" / "training_log_2026_1_1_00_00_00.txt"
    log.write_text("calibrated strengths: {'whole tumor': 0.5}\npredicting A\n")
    (folder / "fold_all" / "validation").mkdir(parents=True)
    answer = run("comnet", "cv-report", "-d", "501", env=setup.environment)
    assert answer.returncode == 0, answer.stderr
    assert "calibration.json" in answer.stdout
    assert "fold_all" in answer.stdout
    later = folder / "fold_0" / "training_log_2026_1_2_00_00_00.txt"
    later.write_text("predicting A\n")  # validated again, at full strength
    os.utime(log, (1, 1))
    answer = run("comnet", "cv-report", "-d", "501", env=setup.environment)
    assert "calibration.json" not in answer.stdout


def test_masks_of_labelstr_serve_where_nothing_was_preprocessed(run: Any, setup: Setup) -> None:
    setup.add(MEDNEXT)
    (setup.preprocessed / "gt_segmentations").rename(setup.raw / "labelsTr")
    assert run("comnet", "cv-report", "-d", DATASET[7:10], env=setup.environment).returncode == 0
    (setup.raw / "labelsTr").rename(setup.raw / "elsewhere")
    answer = run("comnet", "cv-report", "-d", "501", env=setup.environment)
    assert "gt_segmentations" in answer.stderr
