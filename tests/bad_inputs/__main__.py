"""`python -m tests.bad_inputs` runs the corpus and prints what was seen; `--write-docs` writes docs/bad_inputs.md."""

import sys
from pathlib import Path

import pytest

from tests.bad_inputs.corpus import as_markdown

HERE = Path(__file__).parent

if __name__ == "__main__":
    if "--write-docs" in sys.argv:
        (HERE.parents[1] / "docs" / "bad_inputs.md").write_text(as_markdown(), encoding="utf-8")
    else:
        sys.exit(pytest.main([str(HERE), "-q", "--table", *sys.argv[1:]]))
