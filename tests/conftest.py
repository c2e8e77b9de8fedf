"""Shared by all tests: a CPU that does not crawl, the command line as users call it, one small preprocessed dataset.

The threads are set in tests/__init__.py, which is imported before this file and so before torch.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import settings

from nnunetv2_comnet.trainers.device import tune_for_cpu
from tests.running import Seen, run_alone, run_here

DATASET = "Dataset501_Blobs"
settings.register_profile("untimed", deadline=None)  # a busy machine fails no test
settings.load_profile("untimed")
TABLE = "table"  # a test's property by this name is printed in the end
Run = Callable[..., Seen]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for report in terminalreporter.getreports("passed"):
        for name, text in report.user_properties:
            if name == TABLE:
                terminalreporter.write_line(f"\n{text}")


@pytest.fixture(scope="session", autouse=True)
def _fast_cpu() -> None:
    tune_for_cpu()


@pytest.fixture(scope="session")
def run() -> Run:
    """Runs a command: `comnet` in this process unless told `alone`; `env` adds variables, None removes one."""

    def call(*words: object, env: Mapping[str, str | None] | None = None, alone: bool = False) -> Seen:
        start = run_alone if alone or words[0] != "comnet" else run_here
        return start([str(word) for word in words], {"COLUMNS": "200", **(env or {})})

    return call


@pytest.fixture(scope="session")
def nnunet_folders(tmp_path_factory: pytest.TempPathFactory, run: Run) -> Iterator[Path]:
    """nnU-Net's variables for the whole session: three folders and our shim, no worker processes."""
    root = tmp_path_factory.mktemp("nnunet")
    names = {"nnUNet_raw": "raw", "nnUNet_preprocessed": "preprocessed", "nnUNet_results": "results"}
    values = {variable: str(root / folder) for variable, folder in names.items()}
    for folder in values.values():
        Path(folder).mkdir()
    line = run("comnet", "env").stdout.strip()
    values |= {
        "nnUNet_extTrainer": line.split("=", 1)[1].strip("'"),
        "nnUNet_n_proc_DA": "0",
        "nnUNet_def_n_proc": "1",
    }
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    yield root
    for name, value in before.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


@pytest.fixture(scope="session")
def blobs(nnunet_folders: Path, run: Run) -> Path:
    """The preprocessed folder of six cases, 40 x 44 x 36 voxels of 2 mm: nested balls, bright in their channel."""
    raw = nnunet_folders / "raw" / DATASET
    (raw / "imagesTr").mkdir(parents=True)
    (raw / "labelsTr").mkdir()
    rng = np.random.default_rng(0)
    affine = np.diag([-2.0, -2.0, 2.0, 1.0])
    grid = np.stack(np.meshgrid(np.arange(36), np.arange(44), np.arange(40), indexing="ij"), -1)
    for case in range(6):
        centre = rng.uniform(14, 24, 3)
        radius = np.linalg.norm(grid - centre, axis=-1)
        mask = np.select([radius < 4, radius < 6, radius < 9], [1, 3, 2], 0).astype(np.uint8)
        brain = np.linalg.norm((grid - [18, 22, 20]) / [17, 21, 19], axis=-1) < 1
        mask[~brain] = 0
        for channel, bright in enumerate(((), (3,), (1, 2), (2, 3))):
            image = (100 + 10 * rng.standard_normal(mask.shape) + 60 * np.isin(mask, bright)) * brain
            name = f"BLOB{case:03d}_{channel:04d}.nii.gz"
            nibabel.save(nibabel.Nifti1Image(image.astype(np.float32), affine), raw / "imagesTr" / name)
        nibabel.save(nibabel.Nifti1Image(mask, affine), raw / "labelsTr" / f"BLOB{case:03d}.nii.gz")
    description = {
        "channel_names": {"0": "T1n", "1": "T1c", "2": "T2w", "3": "FLAIR"},
        "labels": {"background": 0, "whole tumor": [1, 2, 3], "tumor core": [1, 3], "enhancing tumor": [3]},
        "regions_class_order": [2, 1, 3],
        "numTraining": 6,
        "file_ending": ".nii.gz",
        "overwrite_image_reader_writer": "SimpleITKIOWithReorient",
    }
    (raw / "dataset.json").write_text(json.dumps(description))
    planned = run(
        "comnet",
        "plan",
        "-d",
        "501",
        "--preset",
        "demo",
        "--preprocess",
        "--patch-size",
        "48",
        "48",
        "48",
        "--jobs",
        "1",
    )
    assert planned.returncode == 0, planned.stderr
    return nnunet_folders / "preprocessed" / DATASET
