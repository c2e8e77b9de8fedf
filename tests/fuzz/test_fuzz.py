"""The fast run of the fuzzer; `python -m tests.fuzz --examples 5000` is the long one."""

import pytest

from tests.fuzz.fuzzing import fuzz
from tests.fuzz.targets import TARGETS, Target

EXAMPLES = 200


@pytest.mark.parametrize("target", TARGETS, ids=[target.name for target in TARGETS])
def test_nothing_but_our_own_errors(target: Target) -> None:
    assert fuzz(target, EXAMPLES) > 0
