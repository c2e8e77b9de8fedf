"""The refinement study's script from beginning to end, with a training too short to learn much."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
import surface_distance

from nnunetv2_comnet.inference.predictor import CoMNeTPredictor
from study.settings import (
    BEFORE,
    ENSEMBLE,
    FIRST,
    FULL_STRENGTH,
    GATE,
    MAIN,
    ONE,
    ONE_CROSS,
    QUICK,
    ROW_NAMES,
)

ROOT = Path(__file__).parents[2]
MODELS = Path("results", "Dataset501_UTSWGlioma")
MEMBERS = {"WT": (1, 2, 3), "TC": (1, 3), "ET": (3,)}  # labels of the converted masks, in the model's order

TRAININGS = 2 * len(QUICK.folds) + 3  # stage 1 and the default on every fold, three variants on the first

pytestmark = pytest.mark.long


def run_study(folder: Path, script: str = "study.run") -> str:
    words = [sys.executable, "-m", script, str(folder), "--quick"]
    ran = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=1200)
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-3000:]
    return ran.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the quick study leaves. COMNET_STUDY_FOLDER names one of an earlier run, to look at the tests alone."""
    if "COMNET_STUDY_FOLDER" in os.environ:
        return Path(os.environ["COMNET_STUDY_FOLDER"])
    out = tmp_path_factory.mktemp("study") / "study output"
    run_study(out)
    return out


@pytest.fixture(scope="module")
def report(folder: Path) -> dict[str, Any]:
    written: dict[str, Any] = json.loads((folder / "refinement_study.json").read_text())
    return written


def truth_of(folder: Path, case: str) -> dict[str, np.ndarray]:
    path = folder / "raw" / "Dataset502_HeldOut" / "labelsTr" / f"{case}.nii.gz"
    labels = SimpleITK.GetArrayFromImage(SimpleITK.DICOMOrient(SimpleITK.ReadImage(str(path)), "RAS"))
    return {region: np.isin(labels, members) for region, members in MEMBERS.items()}


def predicted(folder: Path, case: str, trainer: str, **options: Any) -> dict[str, np.ndarray]:
    """Masks by the package's own predictor, from the images."""
    from nnunetv2_comnet.inference.options import Options

    model = folder / MODELS / f"{trainer}__nnUNetCoMNeTPlans__3d_fullres"
    predictor = CoMNeTPredictor(model, QUICK.folds, options=Options(**options), device="cpu")
    images = [folder / "raw" / "Dataset502_HeldOut" / "imagesTr" / f"{case}_{i:04d}.nii.gz" for i in range(4)]
    probabilities = predictor.predict(images).probabilities
    return {region: probabilities[index] > 0.5 for index, region in enumerate(MEMBERS)}


def plain_dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def plain_hd95_mm(a: np.ndarray, b: np.ndarray, spacing: float) -> float:
    """The 95th percentile over the surfaces' areas, the larger of the two directions, by surface-distance itself."""
    distances = surface_distance.compute_surface_distances(a, b, (spacing,) * 3)
    return float(surface_distance.compute_robust_hausdorff(distances, 95))


def rows_of(page: str, header: str) -> dict[str, list[str]]:
    """The rows of the Markdown table whose first column is headed so."""
    lines = page.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith(f"| {header} |"))
    rows = {}
    for line in lines[first + 2 :]:
        if not line.startswith("|"):
            break
        name, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        rows[name] = cells
    return rows


def test_the_page_has_every_row_and_says_what_the_intervals_support(folder: Path, report: dict[str, Any]) -> None:
    page = (folder / "refinement_study.md").read_text()
    means = rows_of(page, "Dice")
    assert list(means) == list(ROW_NAMES.values())
    assert {len(cells) for cells in means.values()} == {5}
    references = {ROW_NAMES[key] for key in (ENSEMBLE, FIRST, BEFORE)}
    assert {name for name, cells in means.items() if cells[-1] == "reference"} == references
    for header in ("Difference of Dice", "HD95, mm", "Difference of HD95, mm"):
        assert set(rows_of(page, header)) >= set(ROW_NAMES.values()) - references
    assert page.count("Refined by fold changed the") == page.count("Refined crosswise changed the") == 4
    assert report["hardware"]["cores"] == os.cpu_count()
    for said in ("95 % interval", "2 patients", report["hardware"]["processor"], "seed", "torch", "minutes"):
        assert said in page, said
    assert report["settings"]["max_epochs"] == 1
    assert len(report["seconds_of_folds"]) == TRAININGS
    assert (folder / "refinement_study.png").stat().st_size > 10_000


def test_a_cell_of_the_reference_is_what_prediction_and_plain_formulas_give(
    folder: Path, report: dict[str, Any]
) -> None:
    of_cases = {}
    for patient in report["patients"]:
        truth, masks = truth_of(folder, patient["case"]), predicted(folder, patient["case"], "nnUNetTrainerCoMNeT")
        of_cases[patient["case"]] = plain_dice(truth["WT"], masks["WT"])
        scores = patient["rows"][ENSEMBLE]["WT"]
        assert scores["dice"] == pytest.approx(of_cases[patient["case"]], abs=1e-9)
        assert scores["hd95_mm"] == pytest.approx(plain_hd95_mm(truth["WT"], masks["WT"], 5.0), abs=1e-3)
        wrong = int((truth["WT"] != masks["WT"]).sum())
        assert patient["errors"]["WT"]["wrong"] == wrong
    mean = np.mean(list(of_cases.values()))
    assert 0.01 < mean < 0.99, "a cell that is nearly 0 or 1 would test nothing"
    cell = rows_of((folder / "refinement_study.md").read_text(), "Dice")[ROW_NAMES[ENSEMBLE]][2]
    assert float(cell) == pytest.approx(mean, abs=5.1e-5)


def test_a_refined_cell_and_its_difference_are_what_prediction_gives(folder: Path, report: dict[str, Any]) -> None:
    changes = []
    for patient in report["patients"]:
        truth = truth_of(folder, patient["case"])["WT"]
        masks = predicted(
            folder, patient["case"], "nnUNetTrainerCoMNeTCorrDiff", strengths={"ET": 1.0, "TC": 1.0, "WT": 1.0}
        )
        assert patient["rows"][FULL_STRENGTH]["WT"]["dice"] == pytest.approx(plain_dice(truth, masks["WT"]), abs=2e-3)
        changes.append(patient["rows"][FULL_STRENGTH]["WT"]["dice"] - patient["rows"][ENSEMBLE]["WT"]["dice"])
    found = report["rows"][FULL_STRENGTH]["difference"]["dice"]["WT"]
    assert found["mean"] == pytest.approx(np.mean(changes), abs=1e-12)
    assert (found["low"], found["high"]) == pytest.approx((min(changes), max(changes)), abs=1e-12)  # two patients


def test_a_variant_is_compared_with_the_map_that_it_corrects(folder: Path, report: dict[str, Any]) -> None:
    for key, reference, fold in ((ONE, FIRST, 0), (ONE_CROSS, BEFORE, QUICK.folds[-1])):
        alone = [patient["rows"][reference]["WT"]["dice"] for patient in report["patients"]]
        refined = [patient["rows"][key]["WT"]["dice"] for patient in report["patients"]]
        found = report["rows"][key]["difference"]["dice"]["WT"]["mean"]
        assert found == pytest.approx(np.mean(refined) - np.mean(alone), abs=1e-12)
        model = folder / MODELS / "nnUNetTrainerCoMNeT__nnUNetCoMNeTPlans__3d_fullres"
        case = report["patients"][0]["case"]
        images = [folder / "raw" / "Dataset502_HeldOut" / "imagesTr" / f"{case}_{i:04d}.nii.gz" for i in range(4)]
        mask = CoMNeTPredictor(model, [fold], device="cpu").predict(images).probabilities[0] > 0.5
        assert alone[0] == pytest.approx(plain_dice(truth_of(folder, case)["WT"], mask), abs=1e-9)


def test_oracles_bound_what_a_refiner_can_do(report: dict[str, Any]) -> None:
    rows = report["rows"]
    for region in MEMBERS:
        assert rows[GATE]["mean"]["dice"][region] >= rows[ENSEMBLE]["mean"]["dice"][region]
        assert 0 <= report["gate"][region]["share"] <= 1
    strengths = report["calibration"]["nnUNetTrainerCoMNeTCorrDiff"]
    for region, choice in strengths.items():
        if choice["strength"] == 0:
            assert rows[MAIN]["difference"]["dice"][region] == {"mean": 0, "low": 0, "high": 0}


def test_a_second_run_redoes_nothing(folder: Path) -> None:
    checkpoints = sorted(folder.glob("results/*/*/fold_*/checkpoint_final.pth"))
    assert len(checkpoints) == TRAININGS
    files = [*checkpoints, *folder.glob("coarse/*.npz"), *folder.glob("scores/*.json")]
    before = {path: path.stat().st_mtime_ns for path in files}
    run_study(folder)
    assert {path: path.stat().st_mtime_ns for path in files} == before


def test_fewer_steps_are_scored_on_the_studys_own_models(folder: Path, report: dict[str, Any]) -> None:
    checkpoints = {path: path.stat().st_mtime_ns for path in folder.glob("results/*/*/fold_*/checkpoint_final.pth")}
    run_study(folder, "study.reverse_steps")
    assert {path: path.stat().st_mtime_ns for path in checkpoints} == checkpoints
    rows = rows_of((folder / "reverse_steps.md").read_text(), "reverse steps")
    assert list(rows) == ["none", "25", "8", "4", "1"]
    for steps, key in (("none", FIRST), ("1", "first_one_step")):
        expected = [report["rows"][key]["mean"]["dice"][region] for region in MEMBERS][::-1]
        assert [float(cell) for cell in rows[steps][:3]] == pytest.approx(expected, abs=5.1e-5)
    seconds = [float(cells[-1]) for name, cells in rows.items() if name != "none"]
    assert min(seconds) > 0
