"""Starts Snakemake on the study's workflow as users do, with this environment's commands first on the path."""

import os
import subprocess
from pathlib import Path

from tests.running import BIN

ROOT = Path(__file__).parents[2]
WORKFLOW = ROOT / "workflow"

# Two folds of two small networks, a training of a few steps: it shows that the chain works, and learns next to nothing.
TINY_STUDY = """\
device: cpu
dataset: {id: 501, name: Study, layout: utsw, source: patients}
folds: 2
mirroring: false
calibrate: {flags: [--steps, "2", --samples, "1"]}
plan:
  preset: demo
  flags: [--max-epochs, "3", --steps-per-epoch, "4", --save-every, "1", --base-channels, "8",
          --patch-size, "32", "32", "32", --refiner-max-epochs, "2", --refiner-codes-epochs, "1",
          --refiner-channels, "4", --refiner-autoencoder-channels, "4", --refiner-codebook-size, "16",
          --refiner-num-inference-steps, "2"]
predict:
  heldout: {id: 502, layout: utsw, source: new patients, parts: 2, flags: [--steps, "2", --entropy]}
resources:
  convert: {threads: 1, mem_mb: 1000, runtime: 20}
  plan: {threads: 1, mem_mb: 1000, runtime: 20}
  preprocess: {threads: 1, mem_mb: 1000, runtime: 20}
  train: {threads: 1, mem_mb: 1500, runtime: 20}
  calibrate: {threads: 1, mem_mb: 1500, runtime: 20}
  predict: {threads: 1, mem_mb: 1500, runtime: 20}
  score: {threads: 1, mem_mb: 1000, runtime: 20}
"""


def environment(first: Path = BIN, **more: str) -> dict[str, str]:
    """This process's variables without nnU-Net's, which the workflow sets; `first` stands first on the path."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("nnUNet_")}
    return {**kept, "PATH": os.pathsep.join([str(first), str(BIN), os.environ["PATH"]]), **more}


def words(directory: Path, *more: str, profile: str = "local") -> list[str]:
    """The command line of a study in `directory`."""
    return [
        str(BIN / "snakemake"), "--snakefile", str(WORKFLOW / "Snakefile"),
        "--configfile", str(directory / "study.yaml"), "--profile", str(WORKFLOW / "profiles" / profile),
        "--directory", str(directory), *more,
    ]  # fmt: skip


def snakemake(
    directory: Path, *more: str, profile: str = "local", env: dict[str, str] | None = None, timeout: int = 1800
) -> "subprocess.CompletedProcess[str]":
    """Runs the workflow in `directory`, whose study.yaml configures it."""
    return subprocess.run(
        words(directory, *more, profile=profile),
        env=env or environment(), cwd=ROOT, capture_output=True, text=True, check=False, timeout=timeout,
    )  # fmt: skip
