"""Scores that count voxels: Dice, IoU, precision, sensitivity, volumes."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nnunetv2_comnet.evaluation.protocols import Protocol

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Overlap:
    """Voxels of the truth, of the prediction, and of both."""

    truth: int
    prediction: int
    both: int

    @classmethod
    def of(cls, truth: Mask, prediction: Mask) -> "Overlap":
        """Counts two masks of one shape."""
        counts = (np.count_nonzero(mask) for mask in (truth, prediction, truth & prediction))
        return cls(*(int(count) for count in counts))

    @property
    def dice(self) -> float:
        """2 |A and B| / (|A| + |B|); 1 where both masks are empty."""
        voxels = self.truth + self.prediction
        return 2 * self.both / voxels if voxels else 1.0

    def empty(self, protocol: Protocol, metric: str) -> float | None:
        """Looks up a metric where a mask is empty, in the protocol's table; None where neither mask is."""
        entry = protocol.empty[metric]
        if self.truth == 0 and self.prediction == 0:
            return entry.both
        return entry.one if self.truth == 0 or self.prediction == 0 else None


def overlap_scores(overlap: Overlap, protocol: Protocol, voxel_mm3: float) -> dict[str, float]:
    """Computes Dice, IoU, precision, sensitivity, and volumes in mm3 (difference: predicted minus true)."""
    union = overlap.truth + overlap.prediction - overlap.both
    parts = {
        "dice": (2 * overlap.both, overlap.truth + overlap.prediction),
        "iou": (overlap.both, union),
        "precision": (overlap.both, overlap.prediction),
        "sensitivity": (overlap.both, overlap.truth),
    }
    scores = {}
    for metric, (above, below) in parts.items():
        said = overlap.empty(protocol, metric)
        scores[metric] = above / below if said is None else said
    return scores | {
        "volume_truth_mm3": float(overlap.truth * voxel_mm3),
        "volume_predicted_mm3": float(overlap.prediction * voxel_mm3),
        "volume_difference_mm3": float((overlap.prediction - overlap.truth) * voxel_mm3),
    }
