"""comnet fit-postprocessing as users call it, on nnU-Net's folders, and its pickle through the stock command."""

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from nnunetv2_comnet.label_schemes import BRATS_123
from nnunetv2_comnet.postprocessing.predictions import MaskReader
from nnunetv2_comnet.postprocessing.rule_file import FILE, read_rule_file
from nnunetv2_comnet.postprocessing.rule_list import apply_rules
from nnunetv2_comnet.postprocessing.volume import Volume
from tests.postprocessing.ascii_volumes import REGIONS
from tests.postprocessing.held_out_cases import tumour, with_specks

DATASET = "Dataset542_Specks"
MODEL = "nnUNetTrainerCoMNeT__nnUNetCoMNeTPlans__3d_fullres"
FOLDS = (0, 1, 2)
AFFINES = [np.diag([1.0, 1.0, 1.0, 1.0]), np.diag([-1.0, -1.0, 1.0, 1.0]), np.diag([1.0, -1.0, -1.0, 1.0])]


def save(labels: np.ndarray, path: Path, number: int) -> None:
    """Patients lie differently; the array's axes in the file are (x, y, z)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(labels.transpose(2, 1, 0).astype(np.uint8), AFFINES[number % 3]), path)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment variables of a model with three folds, two cases each: false specks of 5 voxels, and a hole."""
    root = tmp_path_factory.mktemp("specks")
    model, preprocessed = root / "results" / DATASET / MODEL, root / "preprocessed" / DATASET
    names = [f"SPECK{number:02d}" for number in range(6)]
    splits = []
    for fold in FOLDS:
        held = names[2 * fold : 2 * fold + 2]
        splits.append({"train": [name for name in names if name not in held], "val": held})
        for name in held:
            number = names.index(name)
            truth = tumour()
            prediction = with_specks(truth, [5] * (1 + number % 2))
            prediction[4, 4, 4 : 5 + number % 2] = 0  # in the oedema: a hole of one voxel or two
            save(truth, preprocessed / "gt_segmentations" / f"{name}.nii.gz", number)
            save(prediction, model / f"fold_{fold}" / "validation" / f"{name}.nii.gz", number)
    dataset = {
        "channel_names": {"0": "T1n"},
        "labels": BRATS_123.dataset_json_labels(),
        "regions_class_order": list(BRATS_123.regions_class_order),
        "file_ending": ".nii.gz",
    }
    (model / "dataset.json").write_text(json.dumps(dataset))
    (model / "plans.json").write_text(json.dumps({"image_reader_writer": "SimpleITKIOWithReorient"}))
    (preprocessed / "splits_final.json").write_text(json.dumps(splits))
    return {"nnUNet_results": str(root / "results"), "nnUNet_preprocessed": str(root / "preprocessed")}


def files_of(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


WORDS = ("fit-postprocessing", "-d", "542", "-tr", "nnUNetTrainerCoMNeT", "--protocol", "brats2023", "--metric", "both")


@pytest.fixture(scope="module")
def fitted(run: Any, folders: dict[str, str]) -> tuple[Path, str]:
    """The model's folder after the command, and what it printed."""
    model = Path(folders["nnUNet_results"]) / DATASET / MODEL
    before = files_of(model)
    dry = run("comnet", *WORDS, "--dry-run", env=folders)
    assert dry.returncode == 0, dry.stderr
    assert files_of(model) == before
    answer = run("comnet", *WORDS, env=folders)
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr == ""  # no bar where nobody watches
    lines = answer.stdout.splitlines()
    assert dry.stdout.splitlines() == [*lines[:-1], "dry run: nothing was written"]
    return model, answer.stdout


def test_the_rules_that_help_are_kept_with_their_evidence(fitted: tuple[Path, str]) -> None:
    model, said = fitted
    content = json.loads((model / FILE).read_text())
    assert [(rule["rule"], rule["region"]) for rule in content["rules"]] == [
        ("drop-small-components", "WT"),
        ("fill-holes", "WT"),
    ]
    assert content["rules"][0]["min_voxels"] == 10
    assert content["rules"][1]["max_voxels"] == 10
    evidence = content["evidence"]
    assert (evidence["protocol"], evidence["metrics"]) == ("brats2023", ["lesion_dice", "dice"])
    assert (evidence["cases"], evidence["folds"]) == (6, {"0": 2, "1": 2, "2": 2})
    assert evidence["model"] == MODEL
    assert evidence["after"]["WT"] == {"lesion_dice": 1.0, "dice": 1.0}
    steps = {(step["rule"], step["region"]): step for step in evidence["steps"]}
    kept = steps["drop-small-components", "WT"]
    assert (kept["kept"], kept["chosen"], kept["cases_changed"]) == (True, 10, 6)
    assert kept["chosen_by_the_other_folds"] == {"0": 10, "1": 10, "2": 10}
    assert kept["nested_gain"]["low"] > 0
    assert list(kept["candidates"])[:3] == ["2", "5", "10"]
    assert steps["fill-holes", "ET"]["why"] == "changes no case"
    assert steps["fill-holes", "WT"]["candidates"].keys() == {"10", "100", "1000", "any size"}
    for line in ("6 held-out cases of folds 0, 1, 2", "1. drop WT components under 10 voxels (26-connected)"):
        assert line in said
    assert "2. fill holes of up to 10 voxels in WT" in said
    assert f"wrote {model / FILE} and {model / 'postprocessing.pkl'}" in said


@pytest.mark.chain
def test_the_stock_command_gives_the_same_label_maps(run: Any, fitted: tuple[Path, str], tmp_path: Path) -> None:
    model, _ = fitted
    rules = read_rule_file(model / FILE).rules
    reader = MaskReader("SimpleITKIOWithReorient")
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for path in model.glob("fold_*/validation/*.nii.gz"):
        shutil.copy(path, source)
    answer = run(
        "nnUNetv2_apply_postprocessing", "-i", str(source), "-o", str(target), "-np", "1",
        "-pp_pkl_file", str(model / "postprocessing.pkl"), "-plans_json", str(model / "plans.json"),
        "-dataset_json", str(model / "dataset.json"),
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    assert len(list(target.glob("*.nii.gz"))) == 6
    for path in source.glob("*.nii.gz"):
        labels, spacing = reader(path)
        ours = apply_rules(rules, Volume(labels, REGIONS, spacing)).labels
        theirs, _ = reader(target / path.name)
        assert np.array_equal(theirs, ours)
        assert not np.array_equal(theirs, labels)
        assert np.array_equal(nibabel.load(target / path.name).affine, nibabel.load(path).affine)


def test_rules_on_probabilities_go_into_the_json_alone(run: Any, folders: dict[str, str], tmp_path: Path) -> None:
    results = tmp_path / "results"
    shutil.copytree(folders["nnUNet_results"], results)
    model = results / DATASET / MODEL
    read = MaskReader("SimpleITKIOWithReorient")
    for path in model.glob("fold_*/validation/*.nii.gz"):
        labels, _ = read(path)
        truth, _ = read(Path(folders["nnUNet_preprocessed"]) / DATASET / "gt_segmentations" / path.name)
        maps = np.stack([np.isin(labels, members) * 0.9 for members in BRATS_123.regions.values()]).astype(np.float32)
        maps[:, truth == 0] *= 0.6  # the model is unsure of its specks: 0.54
        np.savez_compressed(path.with_name(path.name.replace(".nii.gz", ".npz")), probabilities=maps)
    env = {**folders, "nnUNet_results": str(results)}
    words = (*WORDS, "--with-probabilities", "--preset", "nvidia2021_code", "fakingit2024", "-f", "0", "1", "-o")
    answer = run("comnet", *words, str(tmp_path / "out"), env=env)
    assert answer.returncode == 0, answer.stderr
    assert "4 held-out cases of folds 0, 1" in answer.stdout
    assert "preset" in answer.stdout
    assert [rule.as_json()["min_voxels"] for rule in read_rule_file(tmp_path / "out" / FILE).rules] == [50]
    assert (tmp_path / "out" / "postprocessing.pkl").is_file()
    answer = run("comnet", *WORDS, "--with-probabilities", "--jobs", "2", "-o", str(tmp_path / "all"), env=env)
    assert answer.returncode == 0, answer.stderr
    rules = read_rule_file(tmp_path / "all" / FILE).rules
    assert any(rule.uses_probabilities for rule in rules)
    assert "no postprocessing.pkl: '" in answer.stdout
    assert "probabilities" in answer.stdout
    assert not (tmp_path / "all" / "postprocessing.pkl").exists()


@pytest.mark.parametrize(
    ("words", "said"), [(["-tr", "nnUNetTrainer"], MODEL), (["--preset", "nvidia2021_code"], "nvidia2021_code")]
)
def test_a_mistake_gets_one_line(run: Any, folders: dict[str, str], words: list[str], said: str) -> None:
    """Others are in the corpus of bad inputs."""
    answer = run("comnet", *WORDS, *words, env=folders)
    assert answer.returncode == 1
    assert answer.stderr.startswith("comnet: error: ")
    assert answer.stderr.count("\n") == 1
    assert said in answer.stderr


def damage_unknown(model: Path, preprocessed: Path) -> None:
    shutil.copy(model / "fold_0/validation/SPECK00.nii.gz", model / "fold_1/validation/OTHER.nii.gz")


def damage_splits(model: Path, preprocessed: Path) -> None:
    (preprocessed / "splits_final.json").write_text("[]")


def damage_labels(model: Path, preprocessed: Path) -> None:
    dataset = json.loads((model / "dataset.json").read_text())
    dataset["labels"] = {"background": 0, "necrosis": 1, "oedema": 2, "enhancing": 3}
    (model / "dataset.json").write_text(json.dumps(dataset))


@pytest.mark.parametrize(
    ("damage", "said"),
    [(damage_unknown, "OTHER"), (damage_splits, "splits_final.json"), (damage_labels, "WT, TC")],
)
def test_a_damaged_folder_gets_one_line(
    run: Any, folders: dict[str, str], tmp_path: Path, damage: Any, said: str
) -> None:
    env = {name: str(shutil.copytree(folder, tmp_path / name)) for name, folder in folders.items()}
    damage(Path(env["nnUNet_results"]) / DATASET / MODEL, Path(env["nnUNet_preprocessed"]) / DATASET)
    before = files_of(tmp_path)
    answer = run("comnet", *WORDS, env=env)
    assert answer.returncode == 1
    assert answer.stderr.count("\n") == 1
    assert said in answer.stderr
    assert files_of(tmp_path) == before


def test_the_command_has_help(run: Any) -> None:
    answer = run("comnet", "fit-postprocessing", "--help")
    assert answer.returncode == 0
    assert "--with-probabilities" in answer.stdout
