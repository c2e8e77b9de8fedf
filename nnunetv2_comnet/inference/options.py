"""The options of a prediction, checked before anything is loaded."""

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from nnunetv2_comnet.errors import ConfigurationError
from nnunetv2_comnet.files import read_json
from nnunetv2_comnet.regions import Regions

AVERAGES = ("probabilities", "logits")
REFINEMENTS = ("fold", "cross", "ensemble", "none")


@dataclass(frozen=True)
class Options:
    """How the folds become one prediction. Raises `ConfigurationError` for a value that cannot be used.

    Args:
        average: "probabilities" of the folds (the paper), or "logits", which is stock nnU-Net voxel by voxel.
        refine: "fold" corrects each fold's map by its own refiner, "cross" by the next fold's, which was trained on
            such maps, "ensemble" the folds' average, "none" nothing; None takes "fold" where the model has a refiner.
        steps: reverse steps of the refiner; None takes as many as the model was planned with.
        samples: number of the refiner's samples that are averaged.
        eta: noise of the refiner's sampling, 0 for none.
        seed: fold f draws from seed + f.
        tile_step_size: step of the sliding window in tiles, (0, 1].
        use_mirroring: average over mirrored images.
        cuda_graphs: on a CUDA GPU, run the network as a recorded graph: equal to rounding, not timed, no flag for it.
        triton_kernels: the same for the kernels of networks/experimental.
        nested: a region's probability never exceeds that of a region around it.
        thresholds: per region (name or short name), in (0, 1), 0.5 where not given; a region is what exceeds it.
        strengths: per region (name or short name), in [0, 1]; they replace those stored with the model.
    """

    average: str = "probabilities"
    refine: str | None = None
    steps: int | None = None
    samples: int = 1
    eta: float = 0.0
    seed: int = 0
    tile_step_size: float = 0.5
    use_mirroring: bool = True
    cuda_graphs: bool = False
    triton_kernels: bool = False
    nested: bool = False
    thresholds: Mapping[str, float] = field(default_factory=dict)
    strengths: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, valid in (("average", AVERAGES), ("refine", (None, *REFINEMENTS))):
            if (value := getattr(self, name)) not in valid:
                raise ConfigurationError(f"{name} must be one of {', '.join(filter(None, valid))}, got '{value}'")
        for name, least in (("steps", 1), ("samples", 1), ("eta", 0), ("seed", 0)):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= least):
                raise ConfigurationError(f"{name} must be {least} or more, got {value}")
        if not 0 < self.tile_step_size <= 1:
            raise ConfigurationError(f"the step size must lie in (0, 1], got {self.tile_step_size}")
        for region, value in self.thresholds.items():
            if not 0 < value < 1:
                raise ConfigurationError(f"threshold of '{region}' must lie between 0 and 1, got {value}")
        for region, value in self.strengths.items():
            if not 0 <= value <= 1:
                raise ConfigurationError(f"strength of '{region}' must be from 0 to 1, got {value}")
        if self.average == "logits":
            self._check_logits()

    def _check_logits(self) -> None:
        if self.refine in ("cross", "ensemble"):
            raise ConfigurationError(
                f"refine '{self.refine}' joins maps of several folds, which stock nnU-Net cannot: use average "
                "'probabilities', or refine 'fold'"
            )
        stock = Options()
        for name in ("steps", "samples", "eta", "seed", "cuda_graphs", "triton_kernels"):
            if getattr(self, name) != getattr(stock, name):
                raise ConfigurationError(
                    f"average 'logits' runs the network as stock nnU-Net does, which has no option {name} "
                    f"{getattr(self, name)}: use average 'probabilities'"
                )

    def for_model(self, regions: Regions, has_refiner: bool) -> "Options":
        """Decides what depends on the model: `refine`, and the regions' names, which become the model's own."""
        if self.refine not in (None, "none") and not has_refiner:
            raise ConfigurationError(
                f"this model has no refiner, so refine '{self.refine}' is not possible: use 'none'"
            )
        refine = self.refine or ("fold" if has_refiner else "none")
        if self.strengths and refine == "none":
            raise ConfigurationError("a strength was given, but nothing is refined: leave one of the two out")
        return replace(
            self,
            refine=refine,
            thresholds={regions.named(name): float(value) for name, value in self.thresholds.items()},
            strengths={regions.named(name): float(value) for name, value in self.strengths.items()},
        )


def parse_strengths(text: str) -> dict[str, float]:
    """Reads strengths from a text: "ET=0.5,TC=0" is {"ET": 0.5, "TC": 0.0}."""
    strengths = {}
    for part in text.split(","):
        name, _, value = part.partition("=")
        try:
            strengths[name.strip()] = float(value)
        except ValueError as error:
            raise ConfigurationError(f"'{part.strip()}' is not a strength; write REGION=NUMBER, e.g. ET=0.5") from error
    return strengths


def read_thresholds(path: str) -> dict[str, float]:
    """Reads a JSON file of thresholds, {"whole tumor": 0.5, "ET": 0.4}."""
    values = read_json(path)
    if not isinstance(values, dict) or not all(
        isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < sys.float_info.max
        for value in values.values()
    ):
        raise ConfigurationError(f'{path} must hold a threshold per region, e.g. {{"whole tumor": 0.5}}')
    return {str(name): float(value) for name, value in values.items()}
