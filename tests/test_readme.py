"""The README's and the site's Python runs, their commands parse with real flags, and what they link to exists."""

import importlib.metadata
import inspect
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from nnunetv2_comnet.cli.app import app
from nnunetv2_comnet.errors import ComnetError

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
WITH_COMMANDS = [ROOT / "README.md", *sorted((DOCS / "start").glob("*.md")), *sorted((DOCS / "use").glob("*.md"))]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
GENERATED = {DOCS / "reference" / name for name in ("commands.md", "bad_inputs.md")}
TOUR = DOCS / "start" / "tour.md"
WORDS_OF_README = 900


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def commands(page: Path) -> list[list[str]]:
    """The words of each command of the page's shell blocks; what stands in `$( )` or after `&&` is one of its own."""
    text = "\n".join(blocks(page, "bash")).replace("\\\n", " ")
    text = re.sub(r'eval "\$\((.*?)\)"', r"\1", text)
    lines = [part for line in text.splitlines() for part in re.split(r"&&|>", line)]
    return [words for line in lines if (words := shlex.split(line, comments=True))]


COMMANDS = [(page, words) for page in WITH_COMMANDS for words in commands(page)]


def of(program: str) -> list[Any]:
    found = [(page, words) for page, words in COMMANDS if words[0].startswith(program)]
    return [pytest.param(words, id=f"{named(page)}: {' '.join(words)}") for page, words in found]


@pytest.mark.parametrize("words", of("comnet"))
def test_our_commands_parse(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    root: Any = typer.main.get_command(app)
    name, *arguments = words[1:]
    if "--list" not in arguments and "--example" not in arguments:  # they answer while the words are read
        root.commands[name].make_context(f"comnet {name}", list(arguments))


@pytest.mark.parametrize("words", of("nnUNetv2_"))
def test_stock_commands_have_these_flags(words: list[str]) -> None:
    (entry,) = importlib.metadata.entry_points(group="console_scripts", name=words[0])
    source = inspect.getsource(inspect.getmodule(entry.load()) or entry.load())
    for word in words[1:]:
        assert not word.startswith("-") or re.search(rf"""['"]{word}['"]""", source), word


@pytest.mark.parametrize("words", of("make"))
def test_targets_of_make_exist(words: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in words[1:]:
        assert "=" in target or re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_page_of_a_task_has_commands() -> None:
    assert {page for page, _ in COMMANDS} >= set((DOCS / "use").glob("*.md"))
    named_there = {words[1] for _, words in COMMANDS if words[0] == "comnet"}
    root: Any = typer.main.get_command(app)
    assert named_there == set(root.commands)


def test_the_predictor_is_there_to_be_called() -> None:
    names: dict[str, Any] = {}
    exec(next(block for block in blocks(DOCS / "use" / "predict.md", "python")), names)
    with pytest.raises(ComnetError, match="nowhere"):
        names["predict"]("nowhere", [])


def test_networks_and_losses_run_without_nnunet() -> None:
    names: dict[str, Any] = {}
    exec(next(block for block in blocks(TOUR, "python")), names)
    assert [tuple(level.shape) for level in names["logits"]] == [(1, 3, s, s, s) for s in (32, 16, 8, 4, 2)]
    assert names["loss"].item() > 0


@pytest.mark.parametrize("page", [DOCS / "use" / "compare.md"], ids=named)
def test_the_python_can_be_defined(page: Path) -> None:
    for block in blocks(page, "python"):
        exec(block, {})


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_files_that_it_links_to_exist(page: Path) -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        path = (page.parent / target).resolve()
        assert path.is_file() or path in GENERATED, target


def test_every_dependency_has_its_reason() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = re.findall(r'^  "([A-Za-z0-9-]+)>=', project.split("dependencies = [")[1].split("]")[0], re.MULTILINE)
    table = TOUR.read_text(encoding="utf-8").split("## Dependencies and their reasons")[1]
    assert len(listed) > 10
    for package in listed:
        assert re.search(rf"\b{re.escape(package)}\b", table), package


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= WORDS_OF_README


def test_the_design_has_the_tree_of_folders() -> None:
    listed = set(
        re.findall(r"^ *([a-z0-9_]+(?:/|\.py))", (DOCS / "design.md").read_text(encoding="utf-8"), re.MULTILINE)
    )
    package = ROOT / "nnunetv2_comnet"
    rooms = {f"{path.parent.name}/" for path in package.glob("*/__init__.py")}
    modules = {path.name for path in package.glob("*.py")} - {"__init__.py"}
    assert listed >= rooms | modules | {"dataset_conversion/"}
    assert {name for name in listed if name.endswith(".py")} <= modules
