"""A protocol's scores as the fitting asks for them, in a form that can be sent to worker processes."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nnunetv2_comnet.errors import ConfigurationError
from nnunetv2_comnet.evaluation.case_scores import score_case
from nnunetv2_comnet.evaluation.protocols import protocol_named
from nnunetv2_comnet.regions import Labels, Regions

METRICS: Mapping[str, tuple[str, ...]] = {
    "lesion_dice": ("lesion_dice",),
    "dice": ("dice",),
    "both": ("lesion_dice", "dice"),
}


@dataclass(frozen=True)
class ProtocolScore:
    """Scores cases by one protocol, with the metrics that count."""

    protocol: str
    regions: Regions
    metrics: tuple[str, ...]

    def __call__(self, truth: Labels, prediction: Labels, spacing_mm: tuple[float, ...]) -> dict[str, dict[str, float]]:
        return score_case(truth, prediction, spacing_mm, self.regions, self.protocol, only=self.metrics)


def protocol_score(protocol: str, regions: Regions, metric: str | None) -> ProtocolScore:
    """Chooses a metric (a key of METRICS); None: lesion-wise Dice, or Dice where the protocol has no such scores.

    Raises `ConfigurationError` for an unknown protocol or metric, or one that the protocol has not.
    """
    if metric is not None and metric not in METRICS:
        raise ConfigurationError(f"unknown metric '{metric}'; there are: {', '.join(METRICS)}")
    protocol_named(protocol)
    nothing = np.zeros((2, 2, 2), np.uint8)
    first = next(iter(score_case(nothing, nothing, (1.0, 1.0, 1.0), regions, protocol, only=METRICS["both"]).values()))
    if metric is None:
        metric = "lesion_dice" if "lesion_dice" in first else "dice"
    if missing := [name for name in METRICS[metric] if name not in first]:
        raise ConfigurationError(f"protocol {protocol} has no {missing[0]}: use --metric dice, or another protocol")
    return ProtocolScore(protocol, regions, METRICS[metric])
