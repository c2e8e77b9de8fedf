"""What the tests of the cross-validation's report share."""

from pathlib import Path

import pytest
from cv_world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Two folds of two cases, no model yet."""
    return World(tmp_path / "world")
