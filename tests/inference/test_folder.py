"""A folder of patients through the command line: what is written, going on, bad patients, parts."""

import csv
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from nnunetv2.ensembling.ensemble import merge_files
from nnunetv2.postprocessing.remove_connected_components import remove_all_but_largest_component_from_segmentation

from nnunetv2_comnet.files import sha256
from nnunetv2_comnet.inference.folder import FolderRun, predict_folder
from nnunetv2_comnet.inference.options import Options
from nnunetv2_comnet.inference.predictor import CoMNeTPredictor
from tests.inference.conftest import FOLDS, write_patient

CASES = ("LPS", "OBLIQUE", "RAS")
FAST = ("-device", "cpu", "--disable_tta", "--steps", "2")
REGIONS = ("WT", "TC", "ET")


def stamps(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.nii.gz")}


def rows(path: Path) -> dict[str, dict[str, str]]:
    with open(path, newline="") as stream:
        return {row["case"]: row for row in csv.DictReader(stream)}


def test_everything_that_can_be_asked_for(refined_model: Path, patients: Path, tmp_path: Path, comnet: Any) -> None:
    out = tmp_path / "out"
    maps = ("--probability-maps", "--entropy", "--disagreement", "--spread", "--correction", "--save_probabilities")
    code, said, wrong = comnet(
        "predict", "-i", patients, "-o", out, "-m", refined_model, "-f", 0, 1, *FAST, *maps, "--samples", 2
    )
    assert (code, wrong) == (0, "")
    assert said == f"predicted 3 of 3 cases; masks are in {out}\n"
    assert sorted(path.name for path in out.glob("*.nii.gz")) == [f"{case}.nii.gz" for case in CASES]
    for kind in ("probabilities", "entropy", "disagreement", "spread", "correction"):
        names = sorted(path.name for path in (out / kind).iterdir())
        assert names == sorted(f"{case}_{region}.nii.gz" for case in CASES for region in REGIONS)
    assert sorted(path.name for path in out.iterdir() if path.is_file() and ".nii" not in path.name) == sorted(
        ["dataset.json", "plans.json", "volumes.csv", "comnet_run.json"]
        + [f"{case}.{ending}" for case in CASES for ending in ("npz", "pkl")]
    )
    for case in CASES:
        _check_case(out, case, patients)
    record = json.loads((out / "comnet_run.json").read_text())
    assert {name: entry["state"] for name, entry in record["cases"].items()} == dict.fromkeys(CASES, "done")
    assert record["strengths"] == {"whole tumor": 1.0, "tumor core": 1.0, "enhancing tumor": 1.0}
    assert record["checkpoints"] == {
        f"fold_{fold}/checkpoint_final.pth": sha256(refined_model / f"fold_{fold}" / "checkpoint_final.pth")
        for fold in FOLDS
    }
    assert (record["options"]["refine"], record["options"]["steps"], record["device"]) == ("fold", 2, "cpu")
    assert set(record["versions"]) == {"nnunetv2-comnet", "nnunetv2", "torch", "python"}


def _check_case(out: Path, case: str, patients: Path) -> None:
    mask = np.asarray(nibabel.load(out / f"{case}.nii.gz").dataobj)
    affine = nibabel.load(patients / f"{case}_0000.nii.gz").affine
    loaded = {}
    for kind in ("probabilities", "entropy", "disagreement", "spread", "correction"):
        for region in REGIONS:
            image = nibabel.load(out / kind / f"{case}_{region}.nii.gz")
            assert np.allclose(image.affine, affine, atol=1e-4)
            loaded[kind, region] = np.asarray(image.dataobj)
        assert any(loaded[kind, region].any() for region in REGIONS), kind
    for region, labels in (("WT", (1, 2, 3)), ("TC", (1, 3)), ("ET", (3,))):
        p = loaded["probabilities", region]
        assert np.array_equal(p, p.astype(np.float16))
        if region == "ET":  # painted last, so that nothing covers it
            assert np.array_equal(p > 0.5, mask == 3)
        row = rows(out / "volumes.csv")[case]
        volume = np.isin(mask, labels).sum() * 1.9 * 2.3 * 2.6
        assert float(row[f"{region}_mm3"]) == pytest.approx(volume, rel=1e-4, abs=0.1)
        assert float(row[f"{region}_ml"]) == pytest.approx(volume / 1000, rel=1e-4, abs=1e-4)


@pytest.mark.chain
def test_npz_and_folder_serve_stock_commands(
    model: Path, patients: Path, tmp_path: Path, comnet: Any, run: Any, nnunet_folders: Path
) -> None:
    """The masks of nnU-Net's ensembling of two folders, and of its postprocessing, are those of one command of ours."""
    for fold in FOLDS:
        words = ("-i", patients, "-o", tmp_path / f"{fold}", "-m", model, "-f", fold, *FAST[:3], "--save_probabilities")
        assert comnet("predict", *words)[0] == 0
    both = tmp_path / "both"
    assert comnet("predict", "-i", patients, "-o", both, "-m", model, *FAST[:3])[0] == 0
    predictor = CoMNeTPredictor(model, device="cpu")
    for case in CASES:
        files = [str(tmp_path / f"{fold}" / f"{case}.npz") for fold in FOLDS]
        merge_files(files, str(tmp_path / case), ".nii.gz", predictor.writer, predictor.label_manager, False)
        assert np.array_equal(voxels(tmp_path / f"{case}.nii.gz"), voxels(both / f"{case}.nii.gz"))

    rules = tmp_path / "postprocessing.pkl"
    keywords = [{"labels_or_regions": [(1, 2, 3)]}, {"labels_or_regions": [1]}]
    rules.write_bytes(pickle.dumps(([remove_all_but_largest_component_from_segmentation] * 2, keywords)))
    ours = tmp_path / "ours"
    words = ("-i", patients, "-o", ours, "-m", model, *FAST[:3], "--postprocessing", rules)
    assert comnet("predict", *words)[0] == 0
    stock = run(
        "nnUNetv2_apply_postprocessing", "-i", str(both), "-o", str(tmp_path / "theirs"), "-pp_pkl_file", str(rules),
        "-np", "1",
    )  # fmt: skip
    assert stock.returncode == 0, stock.stderr[-2000:]
    changed = 0
    for case in CASES:
        theirs = voxels(tmp_path / "theirs" / f"{case}.nii.gz")
        assert np.array_equal(voxels(ours / f"{case}.nii.gz"), theirs)
        changed += int((voxels(both / f"{case}.nii.gz") != theirs).sum())
    assert changed > 0


def voxels(path: Path) -> np.ndarray:
    return np.asarray(nibabel.load(path).dataobj)


def test_going_on_redoes_nothing_that_is_whole(model: Path, patients: Path, tmp_path: Path, comnet: Any) -> None:
    out = tmp_path / "out"
    first = tmp_path / "first"
    first.mkdir()
    for path in patients.glob("LPS_*"):
        shutil.copy(path, first)
    words = ("-o", out, "-m", model, *FAST[:3], "--entropy", "--continue_prediction")
    assert comnet("predict", "-i", first, *words)[0] == 0
    before, row = stamps(out), rows(out / "volumes.csv")
    assert set(row) == {"LPS"}
    code, said, _ = comnet("predict", "-i", patients, *words)
    assert code == 0
    assert said == f"predicted 2 of 3 cases, 1 were there already; masks are in {out}\n"
    assert {path: stamp for path, stamp in stamps(out).items() if path in before} == before
    assert rows(out / "volumes.csv")["LPS"] == row["LPS"]
    assert set(rows(out / "volumes.csv")) == set(CASES)
    assert set(json.loads((out / "comnet_run.json").read_text())["cases"]) == set(CASES)

    # Without going on, rows of masks that this run does not touch stay all the same.
    assert comnet("predict", "-i", first, "-o", out, "-m", model, *FAST[:3])[0] == 0
    assert set(rows(out / "volumes.csv")) == set(CASES)
    assert comnet("predict", "-i", patients, *words)[0] == 0

    # A case with a missing file is done again; a lost table is written again from the masks.
    (out / "entropy" / "RAS_ET.nii.gz").unlink()
    table = (out / "volumes.csv").read_text()
    (out / "volumes.csv").unlink()
    assert "predicted 1 of 3 cases" in comnet("predict", "-i", patients, *words)[1]
    assert (out / "volumes.csv").read_text() == table

    # Going on with other options would mix two kinds of masks in one folder.
    code, _, wrong = comnet("predict", "-i", patients, *words, "--nested")
    assert code == 1
    assert "is of a run with another 'options'" in wrong
    assert wrong.count("\n") == 1


def test_a_bad_patient_does_not_stop_the_others(model: Path, patients: Path, tmp_path: Path, comnet: Any) -> None:
    images, out = tmp_path / "images", tmp_path / "out"
    shutil.copytree(patients, images)
    shutil.copytree(patients, tmp_path / "copy")
    (images / "RAS_0002.nii.gz").unlink()
    (images / "LPS_0001.nii.gz").write_bytes(b"not an image")
    for number in range(4):
        shutil.copy(patients / f"LPS_{number:04d}.nii.gz", images / f"SHAPES_{number:04d}.nii.gz")
    nibabel.save(nibabel.Nifti1Image(np.ones((5, 5, 5), np.float32), np.eye(4)), images / "SHAPES_0003.nii.gz")
    for path in write_patient(images, "EMPTY", "LPS", 3):
        nibabel.save(nibabel.Nifti1Image(np.zeros((9, 9, 9), np.float32), np.eye(4)), path)
    # A mask of an earlier run must not pass for this one's.
    out.mkdir()
    shutil.copy(images / "RAS_0000.nii.gz", out / "RAS.nii.gz")

    code, said, wrong = comnet("predict", "-i", images, "-o", out, "-m", model, *FAST[:3], "--probability-maps")
    assert code == 1
    assert said == f"predicted 1 of 5 cases; masks are in {out}\n"
    assert wrong.startswith("comnet: error: 4 of 5 cases failed")
    assert wrong.count("\n") == 1
    reasons = json.loads((out / "failures.json").read_text())
    assert reasons["RAS"].startswith("expected 4 channels (T1n, T1c, T2w, FLAIR), got 3; missing: _0002 (T2w); ")
    assert "cannot be read: " in reasons["LPS"]
    assert "not all input images have the same shape" in reasons["SHAPES"].lower()
    assert reasons["EMPTY"] == "all voxels of all images are 0"
    assert sorted(path.name for path in out.glob("*.nii.gz")) == ["OBLIQUE.nii.gz"]
    assert len(list((out / "probabilities").iterdir())) == 3
    assert set(rows(out / "volumes.csv")) == {"OBLIQUE"}
    assert not list(out.rglob(".partial*"))

    # Mended, the same command goes on, and the failures are forgotten.
    shutil.rmtree(images)
    shutil.copytree(tmp_path / "copy", images)
    words = ("predict", "-i", images, "-o", out, "-m", model, *FAST[:3], "--probability-maps", "--continue_prediction")
    code, said, _ = comnet(*words)
    assert code == 0
    assert "predicted 2 of 3 cases, 1 were there already" in said
    assert not (out / "failures.json").exists()


def files_of(folder: Path) -> dict[str, bytes]:
    """The content of all files of a run but its record, which holds seconds; of an npz what it holds."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file() and path.name != "comnet_run.json":
            content = np.load(path)["probabilities"].tobytes() if path.suffix == ".npz" else path.read_bytes()
            found[str(path.relative_to(folder))] = content
    return found


def test_overlapping_stages_write_the_same_files(refined_model: Path, patients: Path, tmp_path: Path) -> None:
    """Three patients and one that cannot be read, in threads and without."""
    images = tmp_path / "images"
    shutil.copytree(patients, images)
    for number in range(4):
        (images / f"MISSING_{number:04d}.nii.gz").write_bytes(b"not an image")
    options = Options(use_mirroring=False, steps=2, samples=2)
    found, results = [], []
    for overlap in (False, True):
        predictor = CoMNeTPredictor(refined_model, options=options, device="cpu")
        maps = ("probabilities", "disagreement", "spread", "correction")
        run = FolderRun(images, tmp_path / f"{overlap}", maps, stock_probabilities=True, overlap=overlap)
        results.append(predict_folder(predictor, run))
        found.append(files_of(run.target))
    assert [result.predicted for result in results] == [CASES] * 2
    assert [set(result.failed) for result in results] == [{"MISSING"}] * 2
    assert len(found[0]) > 3 * (1 + 4 * 3 + 2)
    assert found[0].keys() == found[1].keys()
    assert [name for name in found[0] if found[0][name] != found[1][name]] == []


def test_maps_that_are_not_written_are_not_made(refined_model: Path, patients: Path) -> None:
    predictor = CoMNeTPredictor(refined_model, options=Options(use_mirroring=False, steps=2), device="cpu")
    patient = predictor.prepare(sorted(patients.glob("LPS_*")))
    lean = predictor.finish(predictor.compute(patient, wanted=("spread",)))
    assert (lean.disagreement, lean.correction) == (None, None)
    assert lean.spread is not None
    whole = predictor.finish(predictor.compute(patient))
    assert whole.disagreement is not None
    assert whole.correction is not None
    assert np.array_equal(lean.probabilities, whole.probabilities)


@pytest.mark.parametrize("overlap", [False, True])
def test_an_interrupted_run_leaves_whole_cases_and_goes_on(
    model: Path, patients: Path, tmp_path: Path, comnet: Any, monkeypatch: pytest.MonkeyPatch, overlap: bool
) -> None:
    whole = CoMNeTPredictor.compute
    calls: list[Any] = []

    def interrupted(self: CoMNeTPredictor, *arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole(self, *arguments)

    words = ("predict", "-i", patients, "-o", tmp_path, "-m", model, *FAST[:3], "--entropy")
    monkeypatch.setattr(CoMNeTPredictor, "compute", interrupted)
    monkeypatch.setattr(CoMNeTPredictor, "overlaps", overlap)
    code, _, wrong = comnet(*words)
    assert (code, wrong.count("\n")) == (130, 1)
    assert "--continue_prediction to go on" in wrong
    assert [path.name for path in tmp_path.glob("*.nii.gz")] == ["LPS.nii.gz"]
    assert set(rows(tmp_path / "volumes.csv")) == {"LPS"}
    assert "predicted 2 of 3 cases, 1 were there already" in comnet(*words, "--continue_prediction")[1]
    assert len(calls) == 4


def test_parts_share_a_folder(model: Path, patients: Path, tmp_path: Path, comnet: Any) -> None:
    words = ("predict", "-i", patients, "-o", tmp_path, "-m", model, *FAST[:3], "-num_parts", 2)
    assert "predicted 2 of 2" in comnet(*words, "-part_id", 0)[1]
    assert "predicted 1 of 1" in comnet(*words, "-part_id", 1)[1]
    assert sorted(path.name for path in tmp_path.glob("*.nii.gz")) == [f"{case}.nii.gz" for case in CASES]
    assert set(rows(tmp_path / "volumes_part0of2.csv")) == {"LPS", "RAS"}
    assert set(rows(tmp_path / "volumes_part1of2.csv")) == {"OBLIQUE"}
    # One command over all joins the tables and computes nothing.
    _, said, _ = comnet(*words[:-2], "--continue_prediction")
    assert "predicted 0 of 3 cases, 3 were there already" in said
    assert set(rows(tmp_path / "volumes.csv")) == set(CASES)
