"""The workflow without running it: jobs and what each needs, by --dry-run; mistakes in the configuration; profiles."""

import importlib.util
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.workflow.study_runs import TINY_STUDY, WORKFLOW, snakemake

pytest.importorskip("snakemake", reason="Snakemake is not installed (it needs Python 3.11): pip install '.[workflow]'")
pytestmark = pytest.mark.long

STAGE_1, STAGE_2 = "nnUNetTrainerCoMNeT", "nnUNetTrainerCoMNeTCorrDiff"


def planned(directory: Path, *more: str, profile: str = "local") -> dict[str, set[str]]:
    """Output -> inputs of every job that a dry run prints."""
    answer = snakemake(directory, "--dry-run", *more, profile=profile)
    assert answer.returncode == 0, answer.stdout[-2000:] + answer.stderr[-2000:]
    jobs = {}
    for block in re.split(r"^(?:local)?rule \w+:\n", answer.stdout + answer.stderr, flags=re.MULTILINE)[1:]:
        fields = dict(re.findall(r"^    (\w+): (.*)$", block, re.MULTILINE))
        if "output" in fields:
            jobs[fields["output"]] = set(fields.get("input", "").split(", ")) - {""}
    return jobs


def write_study(directory: Path, text: str = TINY_STUDY, **changed: Any) -> Path:
    content = {**yaml.safe_load(text), **changed}
    (directory / "study.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return directory


def done(*names: str) -> set[str]:
    return {f"done/{name}.done" for name in names}


def test_the_plan_of_a_study_with_all_its_parts(tmp_path: Path) -> None:
    shutil.copy(WORKFLOW / "config.yaml", tmp_path / "study.yaml")
    jobs = planned(tmp_path)
    trained = {
        trainer: done(*(f"train/{trainer}/fold_{fold}" for fold in range(5)))
        for trainer in (STAGE_1, STAGE_2, "nnUNetTrainerSegResNet")
    }
    needs: Mapping[str, set[str]] = {
        "convert": set(),
        "plan": done("convert"),
        "preprocess": done("plan"),
        "calibrate": trained[STAGE_2],
        "postprocessing_fitted": trained[STAGE_2],
        "cv_report": set().union(*trained.values()),
        "convert/heldout": set(),
        "merge/heldout": done("predict/heldout/part_0", "predict/heldout/part_1"),
        "merge/followup": done(*(f"predict/followup/part_{part}" for part in range(8))),
        "evaluate/heldout": done("merge/heldout"),
        "report/heldout": done("evaluate/heldout", "cv_report"),
        "report/followup": done("merge/followup", "cv_report"),  # no truth, so nothing to evaluate
    }
    for name, inputs in needs.items():
        assert jobs.pop(f"done/{name}.done") == inputs, name
    for part in range(2):
        expected = done("calibrate", "postprocessing_fitted", "convert/heldout")
        assert jobs.pop(f"done/predict/heldout/part_{part}.done") == expected
    for part in range(8):
        assert jobs.pop(f"done/predict/followup/part_{part}.done") == done("calibrate", "postprocessing_fitted")
    for fold in range(5):
        assert jobs.pop(f"done/train/{STAGE_2}/fold_{fold}.done") == trained[STAGE_1]  # all folds of stage 1
        for trainer in (STAGE_1, "nnUNetTrainerSegResNet"):
            assert jobs.pop(f"done/train/{trainer}/fold_{fold}.done") == done("preprocess")
    assert jobs == {}


def test_a_dry_run_writes_nothing_of_the_study(tmp_path: Path) -> None:
    planned(write_study(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} - {".snakemake"} == {"study.yaml"}


@pytest.mark.parametrize(
    ("chosen", "before", "after"),
    [
        ("none", done("calibrate", "convert/heldout"), done("merge/heldout")),
        ("stock", done("calibrate", "convert/heldout"), done("postprocess/heldout")),
    ],
)
def test_post_processing_is_a_choice(tmp_path: Path, chosen: str, before: set[str], after: set[str]) -> None:
    jobs = planned(write_study(tmp_path, postprocessing=chosen))
    assert jobs["done/predict/heldout/part_0.done"] == before
    assert jobs["done/evaluate/heldout.done"] == after
    assert ("done/postprocessing_stock.done" in jobs) == (chosen == "stock")
    assert "done/postprocessing_fitted.done" not in jobs


@pytest.mark.parametrize(("device", "gpus"), [("cuda", 4), ("cpu", 0)])
def test_networks_ask_for_a_gpu_and_nothing_else_does(tmp_path: Path, device: str, gpus: int) -> None:
    write_study(tmp_path, device=device, predict={})
    answer = snakemake(tmp_path, "--dry-run", "trained")
    assert len(re.findall(r"resources: .*\bgpu=1\b", answer.stdout + answer.stderr)) == gpus


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"fold": 3}, "'fold'"),
        ({"folds": 1}, "folds: 1 is less than the minimum of 2"),
        ({"device": "gpu"}, "device: 'gpu' is not one of ['cuda', 'cpu', 'mps']"),
        ({"protocol": "brats2022"}, "protocol: 'brats2022' does not match"),
        ({"dataset": {"id": 501, "name": "X", "layout": "utsw"}}, "dataset: 'source' is a required property"),
        ({"dataset": {"id": 1000, "name": "X", "layout": "utsw", "source": "s"}}, "dataset.id: 1000 is greater than"),
        ({"plan": {"preset": "papr"}}, "plan.preset: 'papr' is not one of"),
        ({"plan": {"flags": [3]}}, "plan.flags.0: 3 is not of type 'string'"),
        ({"resources": {"train": {"mem_mb": "64G"}}}, "resources.train.mem_mb: '64G' is not of type 'integer'"),
        ({"predict": {"a": {}}}, "predict.a: "),
        ({"predict": {"a": {"images": "i", "source": "s"}}}, "predict.a: "),
        ({"predict": {"a": {"layout": "utsw", "source": "s"}}}, "predict.a: id"),
        ({"predict": {"a": {"id": 501, "layout": "utsw", "source": "s"}}}, "predict.a: id 501"),
        ({"predict": {"../a": {"images": "i"}}}, "predict: '../a' does not match"),
        ({"predict": {"a": {"images": "i", "parts": 0}}}, "predict.a.parts: 0 is less than the minimum of 1"),
    ],
)
def test_a_mistake_in_the_configuration_gets_one_line(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    answer = snakemake(write_study(tmp_path, **changed), "--dry-run")
    assert answer.returncode == 1
    lines = [line for line in answer.stderr.splitlines() if not line.startswith("Using profile")]
    assert len(lines) == 1, answer.stderr
    assert lines[0].startswith("workflow: error: configuration: ")
    assert said in lines[0]


def test_a_list_of_mistakes_is_one_line_too(tmp_path: Path) -> None:
    answer = snakemake(write_study(tmp_path, folds=0, device="gpu"), "--dry-run")
    assert "device: 'gpu' is not one of" in answer.stderr
    assert "; folds: 0 is less than the minimum of 2" in answer.stderr


@pytest.mark.parametrize(
    ("profile", "packages"),
    [
        ("slurm", ["snakemake_executor_plugin_slurm"]),
        ("kubernetes", ["snakemake_executor_plugin_kubernetes", "snakemake_storage_plugin_fs"]),
    ],
)
def test_profiles_of_clusters_plan_the_same_jobs(tmp_path: Path, profile: str, packages: list[str]) -> None:
    for package in packages:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    write_study(tmp_path)
    marks = ("--default-storage-prefix", str(tmp_path / "marks")) if profile == "kubernetes" else ()
    answer = snakemake(tmp_path, "--dry-run", *marks, profile=profile)
    assert answer.returncode == 0, answer.stderr[-2000:]
    assert re.search(r"^total +17$", answer.stdout + answer.stderr, re.MULTILINE)
