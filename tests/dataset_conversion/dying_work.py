"""Work for worker processes that kills them; a module of its own, so that a worker has little to import."""

import os
from pathlib import Path


def die_or_double(item: int) -> int:
    """Kills its process on 3 always, on 5 the first time (a file remembers)."""
    marker = Path(os.environ["COMNET_TEST_MARKER"])
    if item == 3 or (item == 5 and not marker.exists()):
        if item == 5:
            marker.touch()
        os._exit(9)
    return 2 * item


def died(item: int) -> int:
    return -item
