"""`python -m tests.fuzz --examples 5000 [TARGET...]`: the long run, with a line per target."""

import argparse
import sys
import time
import traceback

from tests.fuzz.fuzzing import fuzz
from tests.fuzz.targets import TARGETS


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=5000)
    parser.add_argument("targets", nargs="*", help="parts of names; all without")
    asked = parser.parse_args()
    findings = total = 0
    for target in TARGETS:
        if asked.targets and not any(part in target.name for part in asked.targets):
            continue
        start = time.monotonic()
        try:
            tried, result = fuzz(target, asked.examples, seeded=False), "no finding"
        except Exception as error:
            findings += 1
            tried, result = 0, f"FINDING: {type(error).__name__}: {error}"
            traceback.print_exc()
        total += tried
        sys.stdout.write(f"{target.name:28} {tried:6} inputs {time.monotonic() - start:6.0f} s  {result}\n")
        sys.stdout.flush()
    sys.stdout.write(f"{total} inputs, {findings} findings\n")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
