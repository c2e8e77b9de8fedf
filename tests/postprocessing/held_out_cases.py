"""Cross-validation predictions built so that the right rules are known: a block of tumour, and specks far from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nnunetv2_comnet.label_schemes import BRATS_123
from nnunetv2_comnet.postprocessing.measuring import Question
from nnunetv2_comnet.postprocessing.predictions import PredictedCase
from nnunetv2_comnet.postprocessing.protocol_score import protocol_score

SHAPE = (34, 30, 32)
SPECKS = [(24, y, x) for y in (1, 14, 27) for x in (1, 10, 20)]  # corners of specks, 7 voxels and more from all else


@dataclass
class Cases:
    """Held-out cases in memory; `reader` reads their names."""

    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
    masks: dict[Path, np.ndarray] = field(default_factory=dict)
    held: list[PredictedCase] = field(default_factory=list)

    def add(self, fold: int, truth: np.ndarray, prediction: np.ndarray, probabilities: Path | None = None) -> None:
        name = f"case{len(self.held):02d}"
        files = Path(f"{name}-prediction"), Path(f"{name}-truth")
        self.masks.update(zip(files, (prediction, truth), strict=True))
        self.held.append(PredictedCase(name, fold, *files, probabilities))

    def reader(self, path: Path) -> tuple[np.ndarray, tuple[float, float, float]]:
        return self.masks[path], self.spacing_mm

    def question(self, protocol: str = "brats2023", metric: str | None = None, **others: object) -> Question:
        score = protocol_score(protocol, BRATS_123.regions, metric)
        return Question(BRATS_123.regions, score.metrics, score, self.reader, **others)  # type: ignore[arg-type]


def tumour() -> np.ndarray:
    """1000 voxels of WT, 216 of TC, 64 of ET, nested cubes."""
    labels = np.zeros(SHAPE, np.uint8)
    for side, start, label in ((10, 3, 2), (6, 5, 1), (4, 6, 3)):
        labels[(slice(start, start + side),) * 3] = label
    return labels


def with_specks(labels: np.ndarray, sizes: Sequence[int], label: int = 2) -> np.ndarray:
    """A copy with straight specks of so many voxels, each far from the others."""
    copy = labels.copy()
    for (z, y, x), size in zip(SPECKS, sizes, strict=False):
        for number in range(size):  # rows of six, three rows, then the next plane
            copy[z + number // 18, y + number // 6 % 3, x + number % 6] = label
    return copy


def cases_of(folds: Mapping[int, Sequence[tuple[Sequence[int], Sequence[int]]]]) -> Cases:
    """fold -> cases, each by the sizes of false specks and of true ones (in truth and prediction)."""
    cases = Cases()
    for fold, members in folds.items():
        for false, true in members:
            truth = with_specks(tumour(), true)
            prediction = with_specks(truth, [0] * len(true) + list(false))
            cases.add(fold, truth, prediction)
    return cases
