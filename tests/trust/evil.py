"""What an attacker would write: objects whose pickle calls a function when it is read."""

import os
import pickle
from pathlib import Path
from typing import Any


class Touch:
    """Unpickled anywhere, it creates `marker`; that the file is not there is the proof that nothing ran."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


def works(folder: Path) -> bool:
    """Whether the attack does what it says where pickles are trusted: else its absence would prove nothing."""
    pickle.loads(pickle.dumps(Touch(folder / "trusted")))
    return (folder / "trusted").exists()
