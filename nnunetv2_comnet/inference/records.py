"""The records beside the masks: volumes.csv, comnet_run.json, failures.json, each rewritten whole."""

import csv
import functools
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from nnunetv2_comnet import __version__
from nnunetv2_comnet.errors import ConfigurationError
from nnunetv2_comnet.files import sha256, write_json, write_text
from nnunetv2_comnet.inference.predictor import CoMNeTPredictor
from nnunetv2_comnet.regions import short_name
from nnunetv2_comnet.run_record import read_run_record
from nnunetv2_comnet.text_tables import csv_table, number

MM3_PER_ML = 1000
SAME = ("checkpoints", "options", "strengths", "postprocessing")  # what all masks of a folder must share


@dataclass
class Records:
    """The records of one run in `folder`; `part` distinguishes runs that share the folder, e.g. "_part0of2"."""

    folder: Path
    part: str
    run: dict[str, Any]
    volumes: dict[str, dict[str, float]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def path(self, name: str) -> Path:
        """Returns the file of this part: volumes.csv, or volumes_part0of2.csv."""
        stem, dot, ending = name.partition(".")
        return self.folder / f"{stem}{self.part}{dot}{ending}"

    def keep_earlier(self, cases: set[str]) -> None:
        """Takes over what an earlier run recorded of `cases`, whose files stay as they are.

        Raises `ConfigurationError` where that run had another model or other options.
        """
        recorded = self.path("comnet_run.json")
        if recorded.is_file():
            earlier = read_run_record(recorded)
            said = earlier.model_extra or {}
            for name in SAME:
                if said.get(name) != self.run[name]:
                    raise ConfigurationError(
                        f"{recorded} is of a run with another '{name}': choose another output folder, or predict all "
                        "cases again without continuing"
                    )
            self.run["cases"] = {name: entry for name, entry in earlier.entries().items() if name in cases}
        self.keep_volumes(cases)

    def keep_volumes(self, cases: set[str]) -> None:
        """Takes over the rows of `cases` from the table that is there."""
        self.volumes = {name: row for name, row in read_volumes(self.path("volumes.csv")).items() if name in cases}

    def predicted_without(self, case: str) -> tuple[str, ...] | None:
        """Returns the channels that were missing when a whole case was predicted, by this part's record, else others'.

        None where the records do not say so, or disagree.
        """
        own = self.run["cases"].get(case)
        entries = [own] if own else [cases[case] for cases in self._of_all_parts if case in cases]
        found = {tuple(entry.get("missing_channels", ())) for entry in entries if entry["state"] == "done"}
        return found.pop() if len(found) == 1 else None

    @functools.cached_property
    def _of_all_parts(self) -> list[dict[str, Any]]:
        return [read_run_record(path).entries() for path in sorted(self.folder.glob("comnet_run*.json"))]

    def kept(self, case: str, missing_channels: Sequence[str]) -> None:
        """Records a case that is whole by an earlier run, with its seconds where they are known."""
        self.run["cases"].setdefault(case, _done(None, missing_channels))

    def done(
        self, case: str, seconds: float, volumes_mm3: Mapping[str, float], missing_channels: Sequence[str]
    ) -> None:
        """Records a predicted case, before its files are written."""
        self.run["cases"][case] = _done(round(seconds, 1), missing_channels)
        self.volumes[case] = dict(volumes_mm3)

    def failed(self, case: str, seconds: float, reason: str) -> None:
        """Records why a case has no prediction."""
        self.run["cases"][case] = {"state": "failed", "seconds": round(seconds, 1)}
        self.failures[case] = reason
        self.volumes.pop(case, None)

    def write(self) -> None:
        """Writes the three files; failures.json is there only while there are failures."""
        write_text(self.path("volumes.csv"), _volumes_table(self.volumes))
        write_json(self.path("comnet_run.json"), {**self.run, "cases": dict(sorted(self.run["cases"].items()))})
        if self.failures:
            write_json(self.path("failures.json"), dict(sorted(self.failures.items())))
        else:
            self.path("failures.json").unlink(missing_ok=True)


def _done(seconds: float | None, missing_channels: Sequence[str]) -> dict[str, Any]:
    missing = {"missing_channels": list(missing_channels)} if missing_channels else {}
    return {"state": "done", "seconds": seconds, **missing}


def describe_run(predictor: CoMNeTPredictor, postprocessing: Path | None = None) -> dict[str, Any]:
    """Describes a run before its first case, for comnet_run.json."""
    model = predictor.model
    options = {name: value for name, value in asdict(predictor.options).items() if name != "strengths"}
    options["steps"] = predictor.steps
    return {
        "versions": {
            "nnunetv2-comnet": __version__,
            "nnunetv2": version("nnunetv2"),
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "model": {"folder": str(model.path.resolve()), "trainer": predictor.trainer_name},
        "checkpoints": {str(path.relative_to(model.path)): sha256(path) for path in model.checkpoints},
        "options": options,
        "strengths": dict(zip(predictor.regions, predictor.strengths, strict=True)) if predictor.strengths else None,
        "postprocessing": None if postprocessing is None else sha256(postprocessing),
        "device": _device_name(predictor.device),
        "cases": {},
    }


def read_volumes(path: Path) -> dict[str, dict[str, float]]:
    """Reads a volumes.csv: the mm3 of each case's regions by short name; empty where the file is missing."""
    if not path.is_file():
        return {}
    with open(path, encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    return {
        row["case"]: {name.removesuffix("_mm3"): float(row[name]) for name in row if name.endswith("_mm3")}
        for row in rows
    }


def by_short_name(volumes_mm3: Mapping[str, float]) -> dict[str, float]:
    """Renames the regions of volumes to their short names, which the table has."""
    return {short_name(region): value for region, value in volumes_mm3.items()}


def _volumes_table(volumes: Mapping[str, Mapping[str, float]]) -> str:
    regions = list(next(iter(volumes.values()), {}))
    header = ["case", *(f"{name}_mm3" for name in regions), *(f"{name}_ml" for name in regions)]
    rows = [
        [case, *(number(row[name], 1) for name in regions), *(number(row[name] / MM3_PER_ML, 4) for name in regions)]
        for case, row in sorted(volumes.items())
    ]
    return csv_table(header, rows)


def _device_name(device: torch.device) -> str:
    return f"cuda ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else device.type
