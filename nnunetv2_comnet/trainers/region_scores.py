"""Dice per region of validation patches, case by case."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch


@dataclass(frozen=True)
class RegionCounts:
    """Voxels of one case, each array (R,): true positive, false positive, false negative."""

    true_positive: npt.NDArray[np.int64]
    false_positive: npt.NDArray[np.int64]
    false_negative: npt.NDArray[np.int64]


def region_counts(logits: torch.Tensor, truth: torch.Tensor, *, has_ignore_channel: bool) -> RegionCounts:
    """Counts of sigmoid(logits) > 0.5 against the truth, both (1, R, D, H, W); ignored voxels count nowhere."""
    counted = torch.ones_like(truth[:, :1], dtype=torch.bool)
    if has_ignore_channel:
        counted, truth = truth[:, -1:] == 0, truth[:, :-1]
    predicted, truth = (logits > 0) & counted, (truth > 0) & counted

    def voxels(mask: torch.Tensor) -> npt.NDArray[np.int64]:
        counts: npt.NDArray[np.int64] = mask.sum(dim=(0, 2, 3, 4)).cpu().numpy()
        return counts

    return RegionCounts(voxels(predicted & truth), voxels(predicted & ~truth), voxels(~predicted & truth))


def mean_dice(cases: list[RegionCounts]) -> npt.NDArray[np.float64]:
    """Mean over cases of each region's Dice, (R,). A case that neither has nor is given the region does not count;
    a region that no case has or is given is nan."""
    rows = []
    for case in cases:
        total = 2 * case.true_positive + case.false_positive + case.false_negative
        rows.append(np.where(total > 0, 2 * case.true_positive / np.maximum(total, 1), np.nan))
    table = np.array(rows, dtype=np.float64)
    counted = np.isfinite(table).sum(axis=0)
    return np.where(counted > 0, np.nansum(table, axis=0) / np.maximum(counted, 1), np.nan)
