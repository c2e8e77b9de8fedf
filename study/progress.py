"""A study's command line and folder: nnU-Net's variables, what was begun there, which stage takes how long."""

import argparse
import contextlib
import dataclasses
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nnunetv2_comnet.doctor import extension_folder
from nnunetv2_comnet.files import read_json, write_json
from study.settings import Study

SETTINGS, SECONDS = "settings.json", "seconds.json"
DOCS = Path(__file__).parents[1] / "docs" / "evidence"


class Progress:
    """Says what is being done and remembers, in seconds.json, how long it took over all runs in the folder."""

    def __init__(self, folder: Path, study: Study) -> None:
        self.folder, self.study = folder, study
        self._began = time.monotonic()
        self._path = folder / SECONDS
        self.log: dict[str, Any] = {"stages": {}, "folds": {}, "done": []}
        self._refuse_other_settings()
        if self._path.is_file():
            self.log = read_json(self._path)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Times what is done inside; an interrupted stage counts for what it took."""
        start = time.monotonic()
        self.say(name)
        try:
            yield
        finally:
            stages = self.log["stages"]
            stages[name] = round(stages.get(name, 0.0) + time.monotonic() - start, 1)
            self.save()

    @contextlib.contextmanager
    def once(self, name: str) -> Iterator[bool]:
        """A stage that yields True where it has not been finished before."""
        if name in self.log["done"]:
            yield False
            return
        with self.stage(name):
            yield True
            self.log["done"].append(name)

    def say(self, text: str) -> None:
        print(f"[{time.monotonic() - self._began:6.0f} s] {text}", flush=True)

    def save(self) -> None:
        write_json(self._path, self.log)

    @property
    def total_seconds(self) -> float:
        """Of all stages, over all runs in the folder."""
        return float(sum(self.log["stages"].values()))

    def _refuse_other_settings(self) -> None:
        """A folder holds the results of one set of numbers."""
        path = self.folder / SETTINGS
        own = json.loads(json.dumps(dataclasses.asdict(self.study)))
        if path.is_file() and read_json(path) != own:
            raise SystemExit(f"{self.folder} was begun with other settings (see {path}): remove it, or name another")
        write_json(path, own)


def begin(module: str, description: str | None, folder_help: str, full: Study, quick: Study) -> tuple[Progress, bool]:
    """Reads a study's command line, FOLDER [--docs] [--quick], and opens the folder; and whether --docs was given.

    Before nnU-Net is imported: its variables are set here.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    parser.add_argument("folder", type=Path, help=folder_help)
    parser.add_argument("--quick", action="store_true", help="a few patients and steps: a test of the script")
    parser.add_argument("--docs", action="store_true", help="copy what docs/evidence/ shows to it")
    options = parser.parse_args()
    if options.quick and options.docs:
        parser.error("--quick measures nothing that belongs into docs/evidence/")
    folder = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    set_environment(folder)
    return Progress(folder, quick if options.quick else full), options.docs


def copy_to_docs(folder: Path, *names: str) -> None:
    """Copies what a study has made to docs/evidence/."""
    for name in names:
        shutil.copyfile(folder / name, DOCS / name)


def set_environment(folder: Path) -> None:
    """nnU-Net's variables, one thread a process; before nnU-Net is imported, which reads them then."""
    for variable, name in (("raw", "raw"), ("preprocessed", "preprocessed"), ("results", "results")):
        (folder / name).mkdir(parents=True, exist_ok=True)
        os.environ[f"nnUNet_{variable}"] = str(folder / name)
    os.environ |= {
        "nnUNet_extTrainer": str(extension_folder()),
        "nnUNet_n_proc_DA": "0",
        "nnUNet_def_n_proc": "1",
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
    }
