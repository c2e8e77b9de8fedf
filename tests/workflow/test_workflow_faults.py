"""What the workflow does when a command dies, with stand-ins for the commands: retries, checkpoints, locks."""

import os
import signal
import stat
import subprocess
import time
from pathlib import Path

import pytest

from tests.workflow.study_runs import TINY_STUDY, WORKFLOW, environment, snakemake

pytest.importorskip("snakemake", reason="Snakemake is not installed (it needs Python 3.11): pip install '.[workflow]'")
pytestmark = pytest.mark.long


def stand_in(folder: Path, name: str, script: str) -> Path:
    """An executable called `name` in `folder`, found before the real one."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/usr/bin/env bash\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return folder


def test_a_job_that_was_killed_gets_more_memory_and_time(tmp_path: Path) -> None:
    """The first attempt dies as the kernel kills for memory; the second has twice as much of both."""
    (tmp_path / "study.yaml").write_text(TINY_STUDY)
    script = f'[ "$1" = env ] && exit 0; echo "$@" >> "{tmp_path}/calls"\n'
    script += f'[ -f "{tmp_path}/second" ] || {{ touch "{tmp_path}/second"; kill -9 $$; }}'
    commands = stand_in(tmp_path / "bin", "comnet", script)
    answer = snakemake(tmp_path, "done/convert.done", env=environment(commands))
    said = answer.stdout + answer.stderr
    assert answer.returncode == 0, said[-2000:]
    assert "mem_mb=1000" in said
    assert "mem_mb=2000" in said
    assert "runtime=40" in said
    assert (tmp_path / "calls").read_text() == "convert utsw patients -d 501 --name Study --folds 2 --jobs 1\n" * 2


def test_a_failed_patient_stops_the_set_unless_that_is_allowed(tmp_path: Path) -> None:
    """comnet predict ends with 1 and leaves failures.json; any other end is never accepted."""
    failing = 'while [ $# -gt 0 ]; do [ "$1" = -o ] && out=$2; shift; done; mkdir -p "$out"\n'
    prepared = ["calibrate", "postprocessing_fitted", "convert/heldout"]
    for accepted, code, expected in (("true", 1, 0), ("false", 1, 1), ("true", 137, 1)):
        folder = tmp_path / f"{accepted} {code}"
        folder.mkdir()
        (folder / "study.yaml").write_text(TINY_STUDY.replace("parts: 2", f"parts: 2, allow_failed: {accepted}"))
        for name in prepared:
            (folder / "done" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "done" / f"{name}.done").touch()
        script = f'[ "$1" = env ] && exit 0\n{failing}echo "{{}}" > "$out/failures_part1of2.json"; exit {code}'
        commands = stand_in(folder / "bin", "comnet", script)
        target = "done/predict/heldout/part_1.done"
        rerun = ("--retries", "0", "--allowed-rules", "predict", "--rerun-triggers", "mtime")
        answer = snakemake(folder, *rerun, "--", target, env=environment(commands))
        assert answer.returncode == expected, answer.stdout[-1500:] + answer.stderr[-1500:]
        assert (folder / target).exists() == (expected == 0)


class Fold:
    """A fold's folder, preprocessed data, and a stand-in of nnUNetv2_train that tells what it was asked for."""

    def __init__(self, root: Path) -> None:
        self.model, self.preprocessed, self.calls = root / "model", root / "preprocessed", root / "calls"
        self.folder = self.model / "fold_0"
        self.preprocessed.mkdir()
        (self.preprocessed / "Plans.json").write_text("{}")
        (self.preprocessed / "splits_final.json").write_text("[]")
        script = f'echo "$@" >> "{self.calls}"; echo "$nnUNet_n_proc_DA" >> "{self.calls}"'
        self.commands = stand_in(root / "bin", "nnUNetv2_train", script)

    def words(self, device: str = "cuda") -> list[str]:
        script = str(WORKFLOW / "scripts" / "train.sh")
        names = ["501", "3d_fullres", "0", "Trainer", "Plans", device, "4"]
        return ["bash", script, *names, str(self.model), str(self.preprocessed)]

    def train(self, device: str = "cuda") -> "subprocess.CompletedProcess[str]":
        env = environment(self.commands)
        return subprocess.run(self.words(device), env=env, capture_output=True, text=True, check=False)


@pytest.fixture
def fold(tmp_path: Path) -> Fold:
    return Fold(tmp_path)


BEGUN = "501 3d_fullres 0 -tr Trainer -p Plans -device"


def test_training_goes_on_from_a_checkpoint_and_only_then(fold: Fold) -> None:
    assert fold.train().returncode == 0
    assert fold.train("cpu").returncode == 0  # nothing was saved yet: it begins from the start
    (fold.folder / "checkpoint_latest.pth").touch()
    assert fold.train().returncode == 0
    assert fold.calls.read_text().splitlines() == [
        f"{BEGUN} cuda", "3", f"{BEGUN} cpu", "0", f"{BEGUN} cuda --c", "3",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["Plans.json", "splits_final.json"])
def test_a_fold_never_goes_on_with_other_plans_or_patients(fold: Fold, name: str) -> None:
    assert fold.train().returncode == 0
    (fold.folder / "checkpoint_best.pth").touch()
    before = (fold.preprocessed / name).read_text()
    (fold.preprocessed / name).write_text('["changed"]')
    answer = fold.train()
    assert answer.returncode == 1
    assert answer.stderr.count("\n") == 1
    assert "move it away" in answer.stderr
    (fold.preprocessed / name).write_text(before)
    assert fold.train().returncode == 0


def test_two_trainings_never_share_a_fold(fold: Fold, tmp_path: Path) -> None:
    """The second is refused as long as the first one's process lives, though the shell that started it was killed."""
    stand_in(tmp_path / "bin", "nnUNetv2_train", f'echo $$ > "{tmp_path}/pid"; exec sleep 600')
    shell = subprocess.Popen(fold.words(), env=environment(fold.commands))
    pid = tmp_path / "pid"
    while not (pid.is_file() and pid.read_text().endswith("\n")):
        time.sleep(0.05)
    shell.kill()
    shell.wait()
    answer = fold.train()
    assert answer.returncode == 1
    assert "another process is training" in answer.stderr
    os.kill(int(pid.read_text()), signal.SIGKILL)
    while Path(f"/proc/{pid.read_text().strip()}").exists():
        time.sleep(0.05)
    stand_in(tmp_path / "bin", "nnUNetv2_train", "true")
    assert fold.train().returncode == 0
