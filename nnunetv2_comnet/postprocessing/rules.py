"""Rules on label maps: drop small components, drop a region of which too little is left, fill holes.

Each is a frozen set of parameters with a pure function behind it. Sizes are given in voxels or in mm3, never both.
"""

import math
from abc import ABC, abstractmethod
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from nnunetv2_comnet.postprocessing.volume import TOLERANCE, Components, Connectivity, Mask, Volume

Voxels = Annotated[int, Field(ge=1)]
Mm3 = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Rule(BaseModel, ABC):
    """What all rules share. Unknown parameters and values out of range are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    needs_probabilities: ClassVar[bool] = False

    @property
    def uses_probabilities(self) -> bool:
        """Whether the label map alone is not enough."""
        return self.needs_probabilities

    @property
    def region_names(self) -> tuple[str, ...]:
        """The regions that the rule names, as it names them."""
        return tuple(value for name, value in self if name == "region")

    @property
    def needs_spacing(self) -> bool:
        """Whether a size is given in mm3."""
        return any(name.endswith("_mm3") and value is not None for name, value in self)

    @abstractmethod
    def applied(self, volume: Volume) -> Volume:
        """Returns the volume with a new label map; itself where nothing changes."""

    @abstractmethod
    def describe(self) -> str:
        """Describes the rule in one sentence without a stop."""

    def as_json(self) -> dict[str, Any]:
        """Returns the parameters that are set, the rule's name first."""
        return self.model_dump(mode="json", exclude_none=True)

    def in_voxels(self, voxel_mm3: float) -> "Rule":
        """Returns the same rule with its sizes in voxels of `voxel_mm3`."""
        values = self.as_json()
        for name, value in self.as_json().items():
            if name.endswith("_mm3"):
                count = least_voxels if name == "min_mm3" else most_voxels
                values[name.removesuffix("_mm3") + "_voxels"] = count(value, voxel_mm3)
                del values[name]
        return type(self)(**values)


class _LeastSize(Rule, ABC):
    """A rule on one region with a least size, in voxels or in mm3."""

    rule: str
    region: str
    min_voxels: Voxels | None = None
    min_mm3: Mm3 | None = None

    @model_validator(mode="after")
    def _one_size(self) -> "_LeastSize":
        if (self.min_voxels is None) == (self.min_mm3 is None):
            raise ValueError("give min_voxels or min_mm3, one of the two")
        return self

    def least_size(self, volume: Volume) -> int:
        """Computes the least size in voxels, however it was given."""
        if self.min_voxels is not None:
            return self.min_voxels
        assert self.min_mm3 is not None
        return least_voxels(self.min_mm3, volume.voxel_mm3)


class DropSmallComponents(_LeastSize):
    """Drops the components of a region that have fewer voxels than `min_voxels` (or less than `min_mm3`).

    A dropped voxel leaves the region and those inside it; with `keep_inner` only the region itself, as where regions
    are filtered one by one and painted over one another. Components of up to `spare_up_to_voxels` are left alone.
    """

    rule: Literal["drop-small-components"] = "drop-small-components"
    spare_up_to_voxels: int = Field(default=0, ge=0)
    keep_inner: bool = False
    connectivity: Connectivity = 26

    def applied(self, volume: Volume) -> Volume:
        region = volume.regions.named(self.region)
        components = volume.components(region, self.connectivity)
        small = components.sizes < self.least_size(volume)
        doomed = small & (components.sizes > self.spare_up_to_voxels)
        return volume.changed(components, doomed, volume.regions.left(region, keep_inner=self.keep_inner))

    def describe(self) -> str:
        spared = f", those of up to {self.spare_up_to_voxels} spared" if self.spare_up_to_voxels else ""
        return (
            f"drop {self.region} components under {size_in_words(self.min_voxels, self.min_mm3)}{spared} "
            f"({self.connectivity}-connected)"
        )


class DropSmallTotal(_LeastSize):
    """Drops a region altogether where it has fewer voxels than `min_voxels` (or less than `min_mm3`) in all.

    For ET it is the BraTS rule: too little enhancing tumour becomes necrosis. With `below_mean_probability` only where
    the region's mean probability is below it too.
    """

    rule: Literal["drop-small-total"] = "drop-small-total"
    below_mean_probability: float | None = Field(default=None, gt=0, le=1)

    @property
    def uses_probabilities(self) -> bool:
        return self.below_mean_probability is not None

    def applied(self, volume: Volume) -> Volume:
        region = volume.regions.named(self.region)
        components = volume.components(region, 26)
        total = int(components.sizes.sum())
        if total >= self.least_size(volume) or not total:
            return volume
        if self.below_mean_probability is not None:
            mean = float(volume.probability(region)[volume.regions.mask(volume.labels, region)].mean(dtype=np.float64))
            if mean >= self.below_mean_probability:
                return volume
        return volume.changed(components, every(components), volume.regions.left(region))

    def describe(self) -> str:
        unlikely = (
            "" if self.below_mean_probability is None else f" of mean probability < {self.below_mean_probability:g}"
        )
        return f"drop all {self.region} where there are under {size_in_words(self.min_voxels, self.min_mm3)}{unlikely}"


class FillHoles(Rule):
    """Fills what a region encloses, of at most `max_voxels` or `max_mm3` (neither: whatever its size).

    A hole is a part of the outside from which no path leads to the border; a filled voxel joins the region and those
    around it. `connectivity` is the outside's: 6 goes with 26-connected regions.
    """

    rule: Literal["fill-holes"] = "fill-holes"
    region: str
    max_voxels: int | None = Field(default=None, ge=0)
    max_mm3: Mm3 | None = None
    connectivity: Connectivity = 6

    @model_validator(mode="after")
    def _one_size(self) -> "FillHoles":
        if self.max_voxels is not None and self.max_mm3 is not None:
            raise ValueError("give max_voxels or max_mm3, not both")
        return self

    def applied(self, volume: Volume) -> Volume:
        region = volume.regions.named(self.region)
        holes = volume.holes(region, self.connectivity)
        small = every(holes)
        if self.max_voxels is not None:
            small = holes.sizes <= self.max_voxels
        elif self.max_mm3 is not None:
            small = holes.sizes <= most_voxels(self.max_mm3, volume.voxel_mm3)
        return volume.changed(holes, small, volume.regions.joined(region))

    def describe(self) -> str:
        limited = self.max_voxels is not None or self.max_mm3 is not None
        size = f" of up to {size_in_words(self.max_voxels, self.max_mm3)}" if limited else ""
        return f"fill holes{size} in {self.region}"


def least_voxels(mm3: float, voxel_mm3: float) -> int:
    """Computes the fewest voxels that make up a volume; 50 mm3 are 50 voxels of 0.9999999 mm3."""
    return math.ceil(mm3 / voxel_mm3 * (1 - TOLERANCE))


def most_voxels(mm3: float, voxel_mm3: float) -> int:
    """Computes the most voxels that fit into a volume."""
    return math.floor(mm3 / voxel_mm3 * (1 + TOLERANCE))


def every(components: Components) -> Mask:
    """Chooses all components, not the outside."""
    return components.sizes > 0


def size_in_words(voxels: int | None, mm3: float | None) -> str:
    """Writes "50 voxels" or "50 mm3"."""
    return f"{voxels} voxels" if voxels is not None else f"{mm3:g} mm3"
