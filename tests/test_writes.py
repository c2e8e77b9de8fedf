"""Package code writes files through `files.written_whole` alone: every call that can write is found and looked at."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*(ROOT / "nnunetv2_comnet").rglob("*.py"), *(ROOT / "dataset_conversion").rglob("*.py")])
THE_HELPER = "nnunetv2_comnet/files.py"

# By module: `np.save(...)`. Modules are resolved through each file's imports, so that an alias hides nothing. What
# dumps into a stream (json, pickle, yaml, csv) needs an `open`, which is looked at.
FUNCTIONS = {
    "numpy": {"save", "savez", "savez_compressed", "savetxt", "memmap"},
    "torch": {"save"},
    "nibabel": {"save"},
    "SimpleITK": {"WriteImage", "ImageFileWriter"},
    "matplotlib.pyplot": {"savefig"},
    "matplotlib.image": {"imsave"},
    "shutil": {"copy", "copy2", "copyfile", "copytree", "move", "make_archive", "unpack_archive"},
    "os": {"replace", "rename", "renames", "link", "symlink", "open", "truncate", "mkfifo"},
    "tempfile": {"mkstemp", "NamedTemporaryFile"},
    "safetensors.torch": {"save_file"},
    "safetensors.numpy": {"save_file"},
    "batchgenerators.utilities.file_and_folder_operations": {"save_json", "save_pickle"},
}
# By name, whatever the object: `path.write_text(...)`, `figure.savefig(...)`, `writer.write_seg(...)`.
METHODS = {
    *("write_text", "write_bytes", "savefig", "to_filename", "tofile", "to_csv", "to_json", "to_excel", "to_parquet"),
    *("symlink_to", "hardlink_to", "rename", "touch", "write_seg", "extractall", "extract"),
}
# Opens a file, for writing where the mode says so: name -> place of the mode among the arguments.
OPENERS = {
    "open": 1,
    "gzip.open": 1,
    "bz2.open": 1,
    "lzma.open": 1,
    "zipfile.ZipFile": 1,
    "tarfile.open": 1,
    ".open": 0,
}

EXCEPTIONS = {
    ("nnunetv2_comnet/cv_report/scoring.py", "symlink_to"): "links in a temporary folder of the system's",
    ("nnunetv2_comnet/trust/archive.py", "open"): "into the hidden folder of an installation",
    ("nnunetv2_comnet/trust/install.py", "replace"): "moves whole models out of that folder, all of them or none",
}


def full_name(node: ast.expr, imported: dict[str, str]) -> str:
    """`np.savez` as numpy.savez; a method of something else as .name."""
    if isinstance(node, ast.Name):
        return imported.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        owner = node.value
        if isinstance(owner, ast.Attribute | ast.Name):
            name = full_name(owner, imported)
            root = owner
            while isinstance(root, ast.Attribute):
                root = root.value
            if isinstance(root, ast.Name) and root.id in imported:
                return f"{name}.{node.attr}"
        return f".{node.attr}"
    return ""


def imports_of(tree: ast.AST) -> dict[str, str]:
    """Local name -> what it stands for."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                root = alias.name.split(".")[0]
                names[alias.asname or root] = alias.name if alias.asname else root
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return names


def can_write(call: ast.Call, imported: dict[str, str]) -> str | None:
    """The name of the writing function, or None."""
    name = full_name(call.func, imported)
    module, _, function = name.rpartition(".")
    if module == "nnunetv2_comnet.files":
        return None
    if function in FUNCTIONS.get(module, ()) or (function in METHODS and module not in FUNCTIONS):
        return function
    if name == ".replace" and len(call.args) == 1 and not call.keywords:  # a path's; a text's takes two
        return function
    opener = name if name in OPENERS else ".open" if name.endswith(".open") and name.startswith(".") else None
    if opener is None:
        return None
    place = OPENERS[opener]
    given = [keyword.value for keyword in call.keywords if keyword.arg == "mode"] or call.args[place : place + 1]
    mode = given[0].value if given and isinstance(given[0], ast.Constant) else "r" if not given else "unknown"
    return function if set(str(mode)) & set("wax+") or mode == "unknown" else None


def writes(text: str) -> Iterator[tuple[int, str, bool]]:
    """Line, function, and whether it writes to the temporary path of an enclosing `with written_whole(...)`."""
    tree = ast.parse(text)
    imported = imports_of(tree)

    def walk(node: ast.AST, temporaries: frozenset[str]) -> Iterator[tuple[int, str, bool]]:
        if isinstance(node, ast.With):
            for item in node.items:
                yield from walk(item.context_expr, temporaries)
                call = item.context_expr
                if (
                    isinstance(call, ast.Call)
                    and full_name(call.func, imported) == "nnunetv2_comnet.files.written_whole"
                    and isinstance(item.optional_vars, ast.Name)
                ):
                    temporaries |= {item.optional_vars.id}
            for child in node.body:
                yield from walk(child, temporaries)
            return
        if isinstance(node, ast.Call) and (function := can_write(node, imported)):
            named = {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}
            yield node.lineno, function, bool(named & temporaries)
        if isinstance(node, ast.FunctionDef | ast.Lambda):  # called elsewhere, perhaps after the block
            temporaries = frozenset()
        for child in ast.iter_child_nodes(node):
            yield from walk(child, temporaries)

    yield from walk(tree, frozenset())


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_write_is_whole_or_not_at_all(path: Path) -> None:
    place = str(path.relative_to(ROOT))
    if place == THE_HELPER:
        return
    found = [
        f"{place}:{line}: {function}"
        for line, function, whole in writes(path.read_text(encoding="utf-8"))
        if not whole and (place, function) not in EXCEPTIONS
    ]
    assert not found, "written in place; use files.written_whole, write_text or write_json"


def test_no_exception_is_left_over() -> None:
    for place, function in EXCEPTIONS:
        assert function in {name for _, name, whole in writes((ROOT / place).read_text()) if not whole}


@pytest.mark.parametrize(
    "code",
    [
        "open(target, 'w')",
        "open(target, mode='ab')",
        "open(target, 'r+b')",
        "open(target, chosen)",
        "Path(target).open('x')",
        "Path(target).write_text('')",
        "(folder / name).write_bytes(b'')",
        "import numpy as np\nnp.savez_compressed(target, a=a)",
        "from numpy import save as keep\nkeep(target, a)",
        "import torch\ntorch.save(a, target)",
        "import nibabel as nib\nnib.save(image, target)",
        "image.to_filename(target)",
        "import SimpleITK as sitk\nsitk.WriteImage(image, target)",
        "figure.savefig(target)",
        "table.to_csv(target)",
        "import shutil\nshutil.copyfile(source, target)",
        "import os\nos.replace(source, target)",
        "from os import rename\nrename(source, target)",
        "Path(source).replace(target)",
        "Path(target).symlink_to(source)",
        "import zipfile\nzipfile.ZipFile(target, 'w')",
        "import gzip\ngzip.open(target, 'wt')",
        "from nnunetv2_comnet.files import written_whole\nwith written_whole(a) as temporary:\n    open(b, 'w')",
        "from elsewhere import written_whole\nwith written_whole(a) as temporary:\n    open(temporary, 'w')",
        "from nnunetv2_comnet.files import written_whole\nwith written_whole(a) as t:\n    pass\nopen(t, 'w')",
    ],
)
def test_a_write_in_place_is_found(code: str) -> None:
    assert [whole for _, _, whole in writes(code)] == [False]


@pytest.mark.parametrize(
    "code",
    [
        "open(source)",
        "open(source, 'rb')",
        "import gzip\ngzip.open(source)",
        "text.replace('a', 'b')",
        "import dataclasses\ndataclasses.replace(case, name='')",
        "import os\nos.path.join(a, b)",
    ],
)
def test_reading_is_no_writing(code: str) -> None:
    assert not list(writes(code))


def test_a_write_to_the_temporary_path_is_whole() -> None:
    code = (
        "from nnunetv2_comnet.files import written_whole as whole\n"
        "with whole(target) as temporary, open(temporary, 'wb') as stream:\n    stream.write(b'')\n"
    )
    assert [whole for _, _, whole in writes(code)] == [True]
