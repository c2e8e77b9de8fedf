"""The house's rules about the code itself: import directions, file length, no print, no star import."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "nnunetv2_comnet"
MAX_LINES = 300
SOURCES = sorted([*(ROOT / PACKAGE).rglob("*.py"), *(ROOT / "dataset_conversion").rglob("*.py")])

# Left never imports right. A part may import its own level and what stands before it.
LEVELS = [
    {"allocator", "errors", "files", "nifti", "raw_dataset", "regions", "splits", "doctor", "settings", "run_record"},
    {"networks", "losses", "dataset_conversion", "evaluation", "phantom"},
    {"postprocessing"},
    {"refinement", "calibration", "trust"},
    {"plans"},
    {"trainers"},
    {"inference"},
    {"cli"},
]
SHELLS = {"system", "popen", "getoutput", "getstatusoutput"}  # of os and subprocess
TORCH_ONLY = {"networks", "losses", "refinement"}
LIGHT = {
    "allocator",
    "dataset_conversion",
    "evaluation",
    "phantom",
    "postprocessing",
    "settings",
    "doctor",
    "files",
    "nifti",
    "raw_dataset",
    "splits",
    "errors",
    "regions",
    "calibration",
    "run_record",
}


def part_of(path: Path) -> str:
    relative = path.relative_to(ROOT)
    if relative.parts[0] == "dataset_conversion":
        return "dataset_conversion"
    return relative.with_suffix("").parts[1]


def imports_of(path: Path, *, top_level_only: bool) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def our_parts(path: Path) -> set[str]:
    ours = {name.split(".")[1] for name in imports_of(path, top_level_only=False) if name.startswith(PACKAGE + ".")}
    return ours - {"__version__"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_file(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    part = part_of(path)
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
    if part in ("__init__",):
        return
    level = next(index for index, parts in enumerate(LEVELS) if part in parts)
    allowed = set().union(*LEVELS[: level + 1])
    if level == 1:  # the parts of this level do not know one another
        allowed = LEVELS[0] | {part} | ({"networks"} if part == "networks" else set())
    assert our_parts(path) <= allowed


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
