"""Calibration, which is how reliable predicted probabilities are: calibration error, Brier score, reliability table.

A region's probability is a statement about each voxel, so calibration is that of a binary forecast. Ten bins of equal
width; ECE is the mean over voxels of |mean probability - observed frequency| of their bins.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nnunetv2_comnet.evaluation.overlap import Mask
from nnunetv2_comnet.grid import box_around

BINS = 10
TUMOUR_MARGIN_MM = 10.0
BRAIN, TUMOUR = "brain", "tumour"
Sums = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Bins:
    """Per bin of probability: voxels, sum of their probabilities, how many of them are truly in the region."""

    voxels: Sums
    probability: Sums
    observed: Sums

    @classmethod
    def of(cls, probability: npt.NDArray[np.floating], truth: Mask) -> "Bins":
        """Sorts voxels (arrays of one shape) into the bins; 1.0 belongs to the last."""
        values = probability.ravel().astype(np.float64)
        which = np.minimum((values * BINS).astype(np.intp), BINS - 1)
        counts = (None, values, truth.ravel().astype(np.float64))
        return cls(*(np.bincount(which, weights, BINS).astype(np.float64) for weights in counts))

    def __add__(self, other: "Bins") -> "Bins":
        return Bins(self.voxels + other.voxels, self.probability + other.probability, self.observed + other.observed)

    @property
    def ece(self) -> float:
        """The expected calibration error, 0 to 1; NaN without voxels."""
        total = self.voxels.sum()
        return float(np.abs(self.probability - self.observed).sum() / total) if total else float("nan")

    def as_json(self) -> dict[str, list[float | None]]:
        """Writes voxels, mean probability and observed frequency per bin; None for the means of an empty bin."""
        voxels: list[float | None] = self.voxels.tolist()

        def means(sums: Sums) -> list[float | None]:
            return [total / count if count else None for total, count in zip(sums.tolist(), voxels, strict=True)]

        return {"voxels": voxels, "probability": means(self.probability), "observed": means(self.observed)}


def near_tumour(tumour: Mask, spacing_mm_zyx: Sequence[float]) -> Mask:
    """Marks the voxels within TUMOUR_MARGIN_MM of the true tumour (any region), the tumour included."""
    from scipy.ndimage import distance_transform_edt

    near = np.zeros_like(tumour)
    box = box_around(tumour, int(np.ceil(TUMOUR_MARGIN_MM / min(spacing_mm_zyx))))
    if box is not None:
        near[box] = distance_transform_edt(~tumour[box], sampling=spacing_mm_zyx) <= TUMOUR_MARGIN_MM
    return near


def calibration(
    probability: npt.NDArray[np.floating], truth: Mask, brain: Mask | None, near: Mask
) -> tuple[dict[str, float], dict[str, Bins]]:
    """Scores one region of one case, arrays (Z, Y, X), and sorts its voxels into bins by place.

    `brain` and `near` say which voxels are in the brain and near the tumour; without a brain only the latter count.
    """
    bins = {TUMOUR: Bins.of(probability[near], truth[near])}
    scores = {"ece_tumour": bins[TUMOUR].ece}
    if brain is not None:
        bins[BRAIN] = Bins.of(probability[brain], truth[brain])
        error = probability[brain].astype(np.float64) - truth[brain]
        scores |= {"ece_brain": bins[BRAIN].ece, "brier": float(np.mean(error**2)) if len(error) else float("nan")}
    return scores, bins


def pooled(cases: Iterable[Mapping[str, Mapping[str, Bins]]]) -> dict[str, Any] | None:
    """Adds up the bins of all cases to a reliability table, as JSON; None where no case has probabilities."""
    sums: dict[str, dict[str, Bins]] = {}
    for case in cases:
        for region, places in case.items():
            for place, bins in places.items():
                so_far = sums.setdefault(region, {})
                so_far[place] = so_far[place] + bins if place in so_far else bins
    if not sums:
        return None
    return {
        "edges": [edge / BINS for edge in range(BINS + 1)],
        "tumour_margin_mm": TUMOUR_MARGIN_MM,
        "regions": {
            region: {place: bins.as_json() for place, bins in places.items()} for region, places in sums.items()
        },
    }
