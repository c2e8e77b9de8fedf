"""The README's Python runs, and the commands that it names exist."""

import re
from pathlib import Path
from typing import Any

import pytest

from nnunetv2_comnet.errors import ComnetError

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_predictor_is_there_to_be_called() -> None:
    names: dict[str, Any] = {}
    exec(next(block for block in BLOCKS if "CoMNeTPredictor" in block), names)
    with pytest.raises(ComnetError, match="nowhere is not a trained model: it does not exist"):
        names["predict"]("nowhere", [])


@pytest.mark.parametrize("block", [block for block in BLOCKS if "DeepSupervisionLoss" in block])
def test_the_python_runs(block: str) -> None:
    names: dict[str, Any] = {}
    exec(block, names)
    assert [tuple(level.shape) for level in names["logits"]] == [(1, 3, s, s, s) for s in (32, 16, 8, 4, 2)]
    assert names["loss"].item() > 0


def test_files_that_it_links_to_exist() -> None:
    for target in re.findall(r"\]\((?!http)([^)]+)\)", README):
        assert (ROOT / target).is_file(), target


def test_every_dependency_has_its_reason() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = re.findall(r'^  "([A-Za-z0-9-]+)>=', project.split("dependencies = [")[1].split("]")[0], re.MULTILINE)
    table = README.split("## Dependencies and their reasons")[1].split("## Licence")[0]
    assert len(listed) > 10
    for package in listed:
        assert re.search(rf"\b{re.escape(package)}\b", table), package
