"""`python -m tests.bad_inputs` runs the corpus and prints what was seen; `--write-docs PATH` writes the listing."""

import argparse
import sys
from pathlib import Path

import pytest

from tests.bad_inputs.corpus import as_markdown

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, epilog="Other words are pytest's.")
    parser.add_argument("--write-docs", type=Path, metavar="PATH", help="write the listing there, and run nothing")
    given, words = parser.parse_known_args()
    if given.write_docs is None:
        sys.exit(pytest.main([str(Path(__file__).parent), "-q", "--table", *words]))
    given.write_docs.write_text(as_markdown(), encoding="utf-8")
