"""Killed at forty random moments, the same command goes on, and ends as if nothing had happened.

Ten moments each of conversion, stage 1 training, stage 2 training and prediction, spread over what the command does
after its first file; one of them is tried in `make test`, the others in `make test-long`. Two uninterrupted runs, which
must agree, give the command's length and what it must end with.
"""

import functools
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from nnunetv2_comnet.files import PARTIAL
from nnunetv2_comnet.trainers import ext
from tests.conftest import TABLE
from tests.e2e.kills import Job, differences, follow, kill_and_go_on, moments
from tests.running import BIN

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs processor times from /proc")

KINDS = ("conversion", "stage 1", "stage 2", "prediction")
MOMENTS, AT_ONCE = 10, 2
FIRST, OTHERS = (MOMENTS // 2,), tuple(number for number in range(MOMENTS) if number != MOMENTS // 2)
CASES = 8
DATASET, PLANS = "Dataset501_UTSWGlioma", "nnUNetCoMNeTPlans"
TRAINERS = {"stage 1": "nnUNetTrainerCoMNeT", "stage 2": "nnUNetTrainerCoMNeTCorrDiff"}
TINY = (
    *("--preset", "demo", "--base-channels", "4", "--patch-size", "32", "32", "32", "--save-every", "1"),
    *("--max-epochs", "4", "--steps-per-epoch", "4", "--refiner-max-epochs", "4", "--refiner-codes-epochs", "2"),
    *("--refiner-channels", "4", "--refiner-autoencoder-channels", "4", "--refiner-codebook-size", "16"),
    *("--refiner-num-inference-steps", "2"),
)


@dataclass(frozen=True)
class Moment:
    """One kill: at which share of the run, how far the command was, and what is wrong in the end ("": nothing)."""

    share: float
    reached: str
    problem: str


class Setup:
    """The commands, their folders, and what came of them; each is made when it is first asked for."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.patients, self.raw = root / "patients", root / "raw"
        self.variables = {
            "nnUNet_raw": str(self.raw),
            "nnUNet_preprocessed": str(root / "preprocessed"),
            "nnUNet_results": str(root / "results"),
            "nnUNet_extTrainer": str(Path(ext.__file__).parent),
            "nnUNet_n_proc_DA": "0",
            "nnUNet_def_n_proc": "1",
        }
        for name in ("raw", "preprocessed", "results"):
            (root / name).mkdir(exist_ok=True)
        self._run("comnet", "phantom", str(self.patients), "--cases", str(CASES), "--spacing", "5")

    @functools.cache  # noqa: B019 - one for the module
    def preprocess(self) -> None:
        """What trainings need."""
        self._run("comnet", "convert", "utsw", str(self.patients), "-d", "501", "--jobs", "1")
        self._run("comnet", "plan", "-d", "501", "--preprocess", "--jobs", "1", *TINY)

    def _run(self, command: str, *words: str) -> None:
        subprocess.run([str(BIN / command), *words], env={**os.environ, **self.variables}, check=True)

    def job(self, kind: str, name: str) -> Job:
        """The command of a kind, with a folder of its own by that name."""
        folder = self.root / kind.replace(" ", "_") / name
        folder.parent.mkdir(exist_ok=True)
        if kind == "conversion":
            words = ("comnet", "convert", "utsw", str(self.patients), "-d", "501", "--jobs", "1")
            return Job((*words, "--out", str(folder)), (), folder, self.variables)
        if kind == "prediction":
            images, model = self.raw / DATASET / "imagesTr", self.uninterrupted("stage 2")[0].output
            words = ("comnet", "predict", "-i", str(images), "-o", str(folder), "-m", str(model), "-device", "cpu")
            more = ("--disable_tta", "--save_probabilities", "--entropy")
            return Job((*words, *more), ("--continue_prediction",), folder, self.variables)
        self.preprocess()
        if kind == "stage 2":
            model = self.uninterrupted("stage 1")[0].output
            shutil.copytree(model, folder / DATASET / model.name)
        words = ("nnUNetv2_train", "501", "3d_fullres", "0", "-tr", TRAINERS[kind], "-p", PLANS, "-device", "cpu")
        output = folder / DATASET / f"{TRAINERS[kind]}__{PLANS}__3d_fullres"
        return Job((*words, "--npz"), ("--c",), output, {**self.variables, "nnUNet_results": str(folder)})

    @functools.cache  # noqa: B019
    def uninterrupted(self, kind: str) -> tuple[Job, float]:
        """The command run to its end, and its length in seconds of processor time; a second run gives the same."""
        jobs = [self.job(kind, f"whole {number}") for number in range(AT_ONCE)]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            runs = list(pool.map(follow, jobs))
        assert [run.code for run in runs] == [0] * AT_ONCE
        first, second = (CONTENT[kind](job.output) for job in jobs)
        assert first
        assert differences(second, first) == ""
        return jobs[0], sum(run.seconds or 0.0 for run in runs) / AT_ONCE

    @functools.cache  # noqa: B019
    def killed(self, kind: str, numbers: tuple[int, ...]) -> dict[int, Moment]:
        """What came of some kills of a kind."""
        reference, length_s = self.uninterrupted(kind)
        expected = CONTENT[kind](reference.output)

        def one(number: int) -> Moment:
            job = self.job(kind, f"killed {number}")
            share = moments(kind, MOMENTS)[number]
            reached, problem = kill_and_go_on(job, share, length_s, REACHED[kind])
            problem = problem or differences(CONTENT[kind](job.output), expected)
            return Moment(share, reached, problem)

        with ThreadPoolExecutor(AT_ONCE) as pool:
            return dict(zip(numbers, pool.map(one, numbers), strict=True))


def files_of(folder: Path) -> dict[str, Any]:
    """Every file by its bytes, hidden ones and leftovers too; of a prediction's record all but the times."""
    found: dict[str, Any] = {}
    for path in folder.rglob("*"):
        if path.is_file():
            found[str(path.relative_to(folder))] = path.read_bytes()
    if "comnet_run.json" in found:
        record = json.loads(found["comnet_run.json"])
        found["comnet_run.json"] = {**record, "cases": {name: e["state"] for name, e in record["cases"].items()}}
    return found


def trained(folder: Path) -> dict[str, Any]:
    """Weights, optimiser and scores of both checkpoints, and the validation's masks, probabilities and summary.

    Left out is what nnU-Net dates: its log, the times in a checkpoint, the plot of them.
    """
    fold = folder / "fold_0"
    found: dict[str, Any] = {}
    for name in ("checkpoint_final.pth", "checkpoint_best.pth"):
        checkpoint = torch.load(fold / name, weights_only=False)
        for parameter, value in checkpoint["network_weights"].items():
            found[f"{name} {parameter}"] = value.numpy().tobytes()
        for number, state in checkpoint["optimizer_state"]["state"].items():
            found |= {f"{name} optimiser {number} {key}": value.numpy().tobytes() for key, value in state.items()}
        found[f"{name} epoch"] = checkpoint["current_epoch"]
        found |= {f"{name} {key}": list(map(str, values)) for key, values in checkpoint["logging"].items()
                  if not key.endswith("timestamps")}  # fmt: skip
    found |= {f"validation {name}": content for name, content in files_of(fold / "validation").items()}
    summary = found.pop("validation summary.json").decode()
    found["summary"] = summary.replace(str(folder), "")
    found["leftovers"] = sorted(path.name for path in fold.iterdir() if path.name.startswith((PARTIAL, "checkpoint_l")))
    return found


def cases_done(folder: Path) -> str:
    records = list(folder.glob("Dataset*/.comnet/cases/*.json"))
    return f"{len(records)} of {CASES} cases, {'reported' if list(folder.rglob('*report.json')) else 'no report'}"


def masks_done(folder: Path) -> str:
    return f"{len(list(folder.glob('*.nii.gz')))} of {CASES} masks, {len(list(folder.glob('*.npz')))} npz"


def epochs_done(folder: Path) -> str:
    fold = folder / "fold_0"
    logs = [path.read_text(encoding="utf-8", errors="replace") for path in fold.glob("training_log_*.txt")]
    epochs = sum(log.count("Epoch time") for log in logs)
    checkpoints = [path.stem.removeprefix("checkpoint_") for path in sorted(fold.glob("checkpoint_*.pth"))]
    validated = len(list(fold.glob("validation/*.nii.gz")))
    said = f"{epochs} epochs, {'+'.join(checkpoints) or 'no'} checkpoint"
    return said + (f", validation: {validated} masks" if any("predicting" in log for log in logs) else "")


CONTENT: dict[str, Callable[[Path], dict[str, Any]]] = {
    "conversion": files_of,
    "stage 1": trained,
    "stage 2": trained,
    "prediction": files_of,
}
REACHED = {"conversion": cases_done, "stage 1": epochs_done, "stage 2": epochs_done, "prediction": masks_done}


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setup]:
    root = tmp_path_factory.mktemp("kill")
    yield Setup(root)
    shutil.rmtree(root, ignore_errors=True)


@pytest.mark.chain
@pytest.mark.parametrize("kind", KINDS)
def test_killed_once_it_goes_on_and_ends_the_same(setup: Setup, kind: str) -> None:
    assert [moment.problem for moment in setup.killed(kind, FIRST).values()] == [""]


@pytest.mark.long
@pytest.mark.parametrize("number", OTHERS)
@pytest.mark.parametrize("kind", KINDS)
def test_it_goes_on_and_ends_the_same(setup: Setup, kind: str, number: int) -> None:
    assert setup.killed(kind, OTHERS)[number].problem == ""


@pytest.mark.long
def test_the_table(setup: Setup, record_property: Callable[[str, object], None]) -> None:
    lines = ["| command | killed at | by then | gone on to the end |", "| --- | --- | --- | --- |"]
    for kind in KINDS:
        length_s = setup.uninterrupted(kind)[1]
        for moment in setup.killed(kind, OTHERS).values():
            ended = "differs" if moment.problem else "same result"
            lines.append(f"| {kind} | {moment.share:.0%} of {length_s:.1f} s | {moment.reached} | {ended} |")
    record_property(TABLE, "\n".join(lines))
    all_moments = [moment for kind in KINDS for moment in setup.killed(kind, OTHERS).values()]
    stopped = [moment for moment in all_moments if "had ended" not in moment.reached]
    assert len(stopped) > len(all_moments) / 2  # kills that come too late prove nothing
