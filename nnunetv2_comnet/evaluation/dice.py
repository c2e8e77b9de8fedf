"""Dice per case and region of two folders of label maps.

Dice = 2 |A and B| / (|A| + |B|) on voxels. Empty masks: both empty 1.0, exactly one empty 0.0.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nnunetv2_comnet.errors import ConfigurationError, DataError
from nnunetv2_comnet.evaluation.images import ENDING, read_image
from nnunetv2_comnet.evaluation.overlap import Overlap
from nnunetv2_comnet.regions import region_mask, short_name
from nnunetv2_comnet.text_tables import aligned, number


@dataclass(frozen=True)
class DiceTable:
    """Dice of every case (rows of `scores`) and region (its columns); `regions` are short names: ET, TC, WT."""

    cases: tuple[str, ...]
    regions: tuple[str, ...]
    scores: npt.NDArray[np.float64]

    @property
    def averages(self) -> npt.NDArray[np.float64]:
        """The mean over regions, per case."""
        return self.scores.mean(axis=1)

    def rows(self) -> list[list[str]]:
        """Writes the table as text: a row per case, the mean and, of two cases or more, the deviation (n - 1)."""
        table = np.column_stack([self.scores, self.averages])
        rows = [[case, *_numbers(row)] for case, row in zip(self.cases, table, strict=True)]
        rows.append(["mean", *_numbers(table.mean(axis=0))])
        if len(self.cases) > 1:
            rows.append(["sd", *_numbers(table.std(axis=0, ddof=1))])
        return rows

    @property
    def header(self) -> list[str]:
        """The names of the columns."""
        return ["case", *self.regions, "average"]

    def as_text(self) -> str:
        """Aligns the columns for a terminal."""
        head, rule, *lines = aligned(self.header, self.rows()).splitlines()
        return "\n".join([head, rule, *lines[: len(self.cases)], rule, *lines[len(self.cases) :]])


def dice(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Computes Dice of two binary masks of one shape (any number of axes); both empty 1.0, one empty 0.0."""
    first, second = np.asarray(a, bool), np.asarray(b, bool)
    if first.shape != second.shape:
        raise DataError(
            f"masks of shapes {first.shape} and {second.shape} cannot be compared; resample one to the other"
        )
    return Overlap.of(first, second).dice


def region_dice(
    truth: npt.NDArray[np.integer], prediction: npt.NDArray[np.integer], regions: Mapping[str, tuple[int, ...]]
) -> dict[str, float]:
    """Computes Dice of every region of two label maps; keys as in `regions`."""
    return {name: dice(region_mask(truth, labels), region_mask(prediction, labels)) for name, labels in regions.items()}


def dice_table(
    reference_dir: str | Path, prediction_dir: str | Path, regions: Mapping[str, tuple[int, ...]]
) -> DiceTable:
    """Scores every `<case>.nii.gz` of the reference folder; predictions without a reference are left out.

    Args:
        reference_dir: the folder of true masks.
        prediction_dir: the folder of predictions.
        regions: name -> written labels, outermost first (as in `LabelScheme`); columns begin with the innermost.

    Raises:
        DataError: a prediction is missing, cannot be read or lies on another grid; the message names the case.
    """
    if not regions:
        raise ConfigurationError("no regions to score; give at least one, as a label scheme's `regions` does")
    reference_dir, prediction_dir = Path(reference_dir), Path(prediction_dir)
    names = sorted(path.name for path in reference_dir.glob(f"*{ENDING}"))
    if not names:
        raise DataError(f"no *{ENDING} in reference folder {reference_dir}; name the folder that holds the true masks")
    missing = [name for name in names if not (prediction_dir / name).is_file()]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(names)} cases have no prediction in {prediction_dir}: first {missing[0]}; "
            "predict them, or take their references away"
        )
    columns = tuple(reversed(list(regions)))
    scores = []
    for name in names:
        truth, prediction = _read_pair(reference_dir / name, prediction_dir / name)
        by_region = region_dice(truth, prediction, regions)
        scores.append([by_region[column] for column in columns])
    cases = tuple(name.removesuffix(ENDING) for name in names)
    return DiceTable(cases, tuple(short_name(column) for column in columns), np.array(scores, np.float64))


def _read_pair(reference: Path, prediction: Path) -> tuple[npt.NDArray[np.integer], npt.NDArray[np.integer]]:
    truth, predicted = read_image(reference), read_image(prediction)
    if difference := predicted.grid.difference(truth.grid):
        raise DataError(
            f"{prediction} is on another grid than {reference}: {difference}; predict on the reference's own images"
        )
    return truth.voxels, predicted.voxels


def _numbers(values: npt.NDArray[np.float64]) -> list[str]:
    return [number(value, 4) for value in values.tolist()]
