"""Joins what the parts of a sharded prediction recorded, and says which of the input's cases are missing, and why."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunetv2_comnet.errors import DataError
from nnunetv2_comnet.files import read_json
from nnunetv2_comnet.inference.cases import find_cases
from nnunetv2_comnet.inference.model_folder import dataset_of
from nnunetv2_comnet.inference.outputs import MAPS, Outputs
from nnunetv2_comnet.inference.records import SAME, Records, read_volumes

DONE, FAILED, MISSING = "done", "failed", "missing"
_RECORD = re.compile(r"comnet_run(?:_part(\d+)of(\d+))?\.json")


@dataclass(frozen=True)
class Part:
    """What one worker recorded: `number` of `of` parts, its run, its tables of volumes and of reasons."""

    number: int
    of: int
    path: Path
    run: Mapping[str, Any]
    volumes: Mapping[str, Mapping[str, float]]
    failures: Mapping[str, str]


@dataclass(frozen=True)
class Merged:
    """Names of the cases that are whole; failed, missing: case -> reason; parts: the records that were joined."""

    done: tuple[str, ...]
    failed: Mapping[str, str]
    missing: Mapping[str, str]
    parts: tuple[Part, ...]


def merge_parts(folder: Path, images: Path) -> Merged:
    """Writes volumes.csv, comnet_run.json and failures.json of all parts in `folder`, which predicted `images`.

    Every case of `images` is done (recorded, all its files there), failed (with the worker's reason) or missing (with
    the part that had it). Raises `DataError` where `folder` holds no record, or records of different models or options;
    nothing is written then.
    """
    parts = _read_parts(folder)
    _require_same(parts)
    dataset = dataset_of(folder)
    maps = [kind for kind in MAPS if any((folder / kind).glob("*"))]  # what some case has is wanted of all
    outputs = Outputs(folder, dataset.file_ending, list(dataset.regions), maps, any(folder.glob("*.npz")))
    names = [case.name for case in find_cases(images, dataset.file_ending, dataset.channels)]
    records = Records(folder, "", {**_joined_run(parts), "cases": {}})
    missing = {}
    for index, case in enumerate(names):
        reason = _take(case, parts, outputs, records)
        if reason is not None:
            missing[case] = f"{reason}: {_whose(index, parts)}"
            records.run["cases"][case] = {"state": MISSING, "seconds": None}
    failed = dict(records.failures)
    records.failures.update(missing)
    records.write()
    return Merged(tuple(case for case in names if case not in records.failures), failed, missing, parts)


def _read_parts(folder: Path) -> tuple[Part, ...]:
    """Reads the records of the parts, or of a run without parts; beside parts, an earlier joined record is ignored."""
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; name the output folder of comnet predict")
    found = []
    for path in sorted(folder.glob("comnet_run*.json")):
        if match := _RECORD.fullmatch(path.name):
            found.append(_read_part(folder, path, int(match[1] or 0), int(match[2] or 1)))
    shared = [part for part in found if part.of > 1]
    if not found:
        raise DataError(f"{folder} holds no comnet_run.json of any part: nothing was predicted into it")
    return tuple(sorted(shared or found, key=lambda part: (part.of, part.number)))


def _read_part(folder: Path, path: Path, number: int, of: int) -> Part:
    run = read_json(path)
    if not isinstance(run, dict) or not isinstance(run.get("cases"), dict) or not all(name in run for name in SAME):
        raise DataError(f"{path} is not a record of comnet predict: predict that part again")
    suffix = path.name.removeprefix("comnet_run").removesuffix(".json")
    failures = folder / f"failures{suffix}.json"
    return Part(
        number, of, path, run, read_volumes(folder / f"volumes{suffix}.csv"),
        read_json(failures) if failures.is_file() else {},
    )  # fmt: skip


def _require_same(parts: Sequence[Part]) -> None:
    first = parts[0]
    for part in parts[1:]:
        for name in SAME:
            if part.run[name] != first.run[name]:
                raise DataError(
                    f"{part.path.name} and {first.path.name} in {part.path.parent} differ in '{name}': parts of "
                    "different models or options are not one result; predict all parts again with the same command"
                )


def _joined_run(parts: Sequence[Part]) -> dict[str, Any]:
    """Returns the first part's run, which all share but for versions and device; those are listed by part."""
    run = dict(parts[0].run)
    if len(parts) > 1 or parts[0].of > 1:
        run["parts"] = {
            f"{part.number} of {part.of}": {"device": part.run.get("device"), "versions": part.run.get("versions")}
            for part in parts
        }
    return run


def _take(case: str, parts: Sequence[Part], outputs: Outputs, records: Records) -> str | None:
    """Adds what the parts recorded of `case` to `records`; returns what is wrong if it is neither done nor failed."""
    known = [part for part in parts if case in part.run["cases"]]
    done = [part for part in known if part.run["cases"][case]["state"] == DONE and case in part.volumes]
    if done and outputs.is_whole(case):
        rows = {tuple(sorted(part.volumes[case].items())) for part in done}
        if len(rows) > 1:
            raise DataError(
                f"{done[0].path.name} and {done[1].path.name} give {case} different volumes: predict it again, by one "
                "of them"
            )
        records.run["cases"][case] = done[0].run["cases"][case]
        records.volumes[case] = dict(done[0].volumes[case])
        return None
    for part in known:
        if part.run["cases"][case]["state"] == FAILED and not outputs.label_map(case).exists():
            records.run["cases"][case] = part.run["cases"][case]
            records.failures[case] = part.failures.get(case, "no reason is recorded")
            return None
    if done:
        return "not all of its files are there"
    return "its mask is there, but not in any record" if outputs.label_map(case).exists() else "not predicted"


def _whose(index: int, parts: Sequence[Part]) -> str:
    """Says which part had the case at `index` of the sorted input, and what to do about that part."""
    of = parts[0].of
    number = index % of
    name = f"part {number} of {of}" if of > 1 else "the run"
    if any((part.number, part.of) == (number, of) for part in parts):
        return f"{name} ended early or had other input; run it again with --continue_prediction"
    return f"{name} left no record; run it"
