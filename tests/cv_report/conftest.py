"""What the tests of the cross-validation's report share."""

from pathlib import Path

import pytest
from cv_setup import Setup


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    """Two folds of two cases, no model yet."""
    return Setup(tmp_path / "setup")
