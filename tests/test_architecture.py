"""The house's rules about the code itself: import directions, file length, no print, no star import."""

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "nnunetv2_comnet"
MAX_LINES = 300
SOURCES = sorted([*(ROOT / PACKAGE).rglob("*.py"), *(ROOT / "dataset_conversion").rglob("*.py")])

# Left never imports right. A part may import its own level and what stands before it. A dotted name is one file of a
# room that stands elsewhere than the room: the strengths' file is read in training, and measured by prediction.
LEVELS = [
    {
        "allocator", "configurations", "crossval", "dataset_json", "doctor", "errors", "files", "grid", "label_schemes",
        "nifti", "progress", "raw_dataset", "regions", "run_record", "settings", "statistics", "text_tables", "workers",
    },
    {"networks", "losses", "dataset_conversion", "evaluation", "phantom"},
    {"comparison"},
    {"cv_report", "html_report", "postprocessing"},
    {"refinement", "strengths", "trust"},
    {"plans"},
    {"trainers"},
    {"inference"},
    {"strengths.measure"},
    {"cli"},
]  # fmt: skip
SHELLS = {"system", "popen", "getoutput", "getstatusoutput"}  # of os and subprocess
TORCH_ONLY = {"networks", "losses", "refinement"}
LIGHT = {
    "allocator",
    "configurations",
    "dataset_conversion",
    "evaluation",
    "comparison",
    "cv_report",
    "html_report",
    "phantom",
    "postprocessing",
    "settings",
    "doctor",
    "files",
    "grid",
    "nifti",
    "raw_dataset",
    "crossval",
    "dataset_json",
    "errors",
    "label_schemes",
    "regions",
    "statistics",
    "text_tables",
    "strengths",
    "run_record",
    "progress",
    "workers",
}


def module_of(path: Path) -> str:
    """The dotted name below the package; "" for the package itself."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts if parts[0] == "dataset_conversion" else parts[1:]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in SOURCES}
SPLIT_OFF = {part for parts in LEVELS for part in parts if "." in part}


def part_of(module: str) -> str:
    """The room that a module stands in, or the module where it is split off from its room."""
    return next((part for part in SPLIT_OFF if f"{module}.".startswith(f"{part}.")), module.split(".")[0])


def imports_of(path: Path, *, top_level_only: bool) -> set[str]:
    """Dotted names with what is taken from them; below functions and `if TYPE_CHECKING` too unless `top_level_only`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def our_modules(path: Path) -> set[str]:
    """Those of our modules that a file imports: `from a.b import c` is a.b.c where that is one, else a.b."""
    found = set()
    for name in imports_of(path, top_level_only=False):
        if name.startswith(f"{PACKAGE}."):
            inner = name.removeprefix(f"{PACKAGE}.")
            found.add(inner if inner in MODULES else inner.rpartition(".")[0])
    return found - {"", module_of(path)}


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_file(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    part = part_of(module_of(path))
    assert text.count("\n") <= MAX_LINES
    tree = ast.parse(text)
    for node in ast.walk(tree):
        assert not (isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", f"line {node.lineno}"
    external = {name.split(".")[0] for name in imports_of(path, top_level_only=True)}
    if part in TORCH_ONLY:
        assert "nnunetv2" not in {name.split(".")[0] for name in imports_of(path, top_level_only=False)}
    if part in LIGHT:
        assert not external & {"torch", "nnunetv2"}
    if part == "":
        return
    level = next(index for index, parts in enumerate(LEVELS) if part in parts)
    allowed = set().union(*LEVELS[: level + 1])
    if level == 1:  # the parts of this level do not know one another
        allowed = LEVELS[0] | {part} | ({"networks"} if part == "networks" else set())
    assert {part_of(module) for module in our_modules(path)} <= allowed


def test_no_circle() -> None:
    """No file imports, by whatever way, itself: not inside functions and not for type checking only."""
    graph = {module: our_modules(path) for module, path in MODULES.items()}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_a_circle_is_found() -> None:
    with pytest.raises(CycleError):
        TopologicalSorter({"a": {"b"}, "b": {"c"}, "c": {"a"}}).prepare()


def test_the_public_names_are_where_the_documentation_says() -> None:
    from nnunetv2_comnet.losses import DSCPlusPlusBCELoss
    from nnunetv2_comnet.networks import MedNeXt, mednext

    assert isinstance(mednext(size="S", base_channels=8), MedNeXt)
    assert callable(DSCPlusPlusBCELoss)


def test_no_name_reaches_a_shell() -> None:
    """Neither os.system nor its kin, and no `shell=` in any call."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                assert "shell" not in {keyword.arg for keyword in node.keywords}, f"{path}:{node.lineno}"
            if isinstance(node, ast.Attribute):
                assert node.attr not in SHELLS, f"{path}:{node.lineno}"
            if isinstance(node, ast.ImportFrom):
                assert not SHELLS & {alias.name for alias in node.names}, f"{path}:{node.lineno}"


def test_a_docstring_starts_with_a_verb() -> None:
    """Third person, of functions and methods; the commands' docstrings are their help, in the imperative."""
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.FunctionDef) or module.startswith("cli."):
                continue
            text, decorators = ast.get_docstring(node), {ast.unparse(each) for each in node.decorator_list}
            if text and not any("property" in each for each in decorators):
                assert re.match(r"[A-Z][a-z-]+s\b", text), f"{path}:{node.lineno} {node.name}"


@pytest.mark.parametrize("idiom", ["mend", "mends", "anew", "lacks", "with a word", "without a word"])
def test_no_private_idiom(idiom: str) -> None:
    """Plain English for readers who learned it as a foreign language: fix, again, is missing, silently."""
    assert [str(path) for path in SOURCES if re.search(rf"\b{idiom}\b", path.read_text(encoding="utf-8"))] == []
