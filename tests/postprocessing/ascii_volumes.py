"""Label maps drawn as text: planes side by side, a letter per voxel, so that answers can be seen."""

import numpy as np

from nnunetv2_comnet.label_schemes import BRATS_123, ED, ET, EXTRA, NCR
from nnunetv2_comnet.postprocessing.volume import Volume

LETTERS = {".": 0, "n": NCR, "o": ED, "e": ET, "x": EXTRA}
REGIONS = BRATS_123.regions


def drawn(picture: str) -> np.ndarray:
    """(Z, Y, X) uint8: lines are rows, planes stand side by side between blanks."""
    rows = [line.split() for line in picture.strip().splitlines()]
    planes = [[[LETTERS[letter] for letter in row[plane]] for row in rows] for plane in range(len(rows[0]))]
    return np.array(planes, np.uint8)


def text(labels: np.ndarray) -> str:
    """The picture of a label map, so that a failing test shows both."""
    letters = {label: letter for letter, label in LETTERS.items()}
    return "\n".join(
        " ".join("".join(letters[int(value)] for value in plane[row]) for plane in labels)
        for row in range(labels.shape[1])
    )


def volume(picture: str, **others: object) -> Volume:
    """A volume of a picture; spacing_mm and probabilities may be given."""
    return Volume(drawn(picture), REGIONS, **others)  # type: ignore[arg-type]


def same(labels: np.ndarray, picture: str) -> None:
    """Asserts that a label map is the one that is drawn."""
    assert text(labels) == text(drawn(picture))
