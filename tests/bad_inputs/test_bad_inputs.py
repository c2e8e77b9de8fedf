"""Every bad input gets its own words, the right exit code, and leaves nothing half-written behind."""

import csv
import shlex
import shutil
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.bad_inputs.case import BadInput, filled, meets, named
from tests.bad_inputs.corpus import CORPUS, as_markdown
from tests.running import Seen, run_alone, run_here

Places = dict[str, Path]
NUMBERED = [pytest.param(number, case, id=f"{number}-{case.command}") for number, case in enumerate(CORPUS, 1)]
FOLDERS = ("raw", "preprocessed", "results")


@pytest.fixture
def here(shared_places: Places) -> Iterator[Path]:
    """A case's own folder, with nnU-Net's three in it."""
    folder = shared_places["HERE"]
    for name in FOLDERS:
        (folder / name).mkdir(parents=True)
    yield folder
    shutil.rmtree(folder)


def variables(case: BadInput, places: Places) -> dict[str, str | None]:
    own = {f"nnUNet_{name}": f"<HERE>/{name}" for name in FOLDERS}
    given = {**own, "COLUMNS": "200", **case.env}
    return {name: None if value is None else filled(value, places) for name, value in given.items()}


def files_below(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file's time of change and size."""
    found = {str(path.relative_to(folder)): path.lstat() for path in folder.rglob("*") if not path.is_dir()}
    return {name: (status.st_mtime_ns, status.st_size) for name, status in found.items()}


def check(case: BadInput, seen: Seen, here: Path, before: dict[str, tuple[int, int]], places: Places) -> None:
    lines = seen.stderr.splitlines()
    if case.command == "nnUNetv2_train":  # beside which stock nnU-Net and torch have warnings of their own
        lines = [line for line in lines if line.startswith("comnet: ")]
    wanted = [filled(line, places) for line in case.says]
    assert "Traceback" not in seen.stderr + seen.stdout
    assert [line for line, want in zip(lines, wanted, strict=False) if not meets(line, want)] == []
    assert (seen.returncode, len(lines)) == (case.code, len(wanted)), seen.stderr
    after = files_below(here)
    changed = [name for name, status in after.items() if before.get(name) != status]
    assert [name for name in changed if not any(fnmatch(name, filled(p, places)) for p in case.makes)] == []
    assert not list(here.rglob(".partial-*"))
    assert before.keys() <= after.keys() | {n for n in before if any(fnmatch(n, p) for p in case.makes)}
    if case.report:
        check_report(case, here, places)


def check_report(case: BadInput, here: Path, places: Places) -> None:
    """The first patient is converted; another is excluded with its reason, and has no file."""
    (dataset,) = (here / "raw").iterdir()
    with open(dataset / "conversion_report.csv", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["case"] for row in rows if row["status"] == "converted"] == ["BT0001"]
    told = next(row["details"] for row in rows if row["status"] == "excluded")
    assert meets(told, filled(case.report, places)), told
    images = sorted(path.name for path in dataset.rglob("*.nii.gz"))
    assert images == [*("BT0001.nii.gz",), *(f"BT0001_{channel:04d}.nii.gz" for channel in range(4))]


@pytest.mark.parametrize(("number", "case"), NUMBERED)
def test_a_bad_input_gets_its_words(
    number: int, case: BadInput, here: Path, shared_places: Places, rows: list[tuple[int, str, str, str]]
) -> None:
    case.make(here)
    before = files_below(here)
    words = [filled(word, shared_places) for word in shlex.split(case.words)]
    seen = run_here(words, variables(case, shared_places))
    said = " / ".join(seen.stderr.splitlines()) or case.report or "it works"
    rows.append((number, case.command, case.title, named(said, shared_places)))
    check(case, seen, here, before, shared_places)


@pytest.mark.parametrize(("number", "case"), [param for param in NUMBERED if param.values[1].shell])
@pytest.mark.chain
def test_a_shell_sees_the_same(number: int, case: BadInput, here: Path, shared_places: Places) -> None:
    case.make(here)
    before = files_below(here)
    words = [filled(word, shared_places) for word in shlex.split(case.words)]
    check(case, run_alone(words, variables(case, shared_places)), here, before, shared_places)


def test_the_cases_are_distinct() -> None:
    assert len(CORPUS) >= 75
    assert max(Counter(case.command for case in CORPUS if case.shell).values()) <= 3  # a process takes seconds
    assert len({(case.command, case.title) for case in CORPUS}) == len(CORPUS)


def test_the_listing_has_a_row_for_every_case() -> None:
    rows = [line for line in as_markdown().splitlines() if line.startswith("| ") and line[2].isdigit()]
    assert len(rows) == len(CORPUS)
