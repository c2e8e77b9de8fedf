"""Rules on probabilities: thresholds other than 0.5 with the nesting enforced, and components of low probability.

The stock nnU-Net command hands label maps alone to its rules, so these work in `comnet predict` only.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from nnunetv2_comnet.postprocessing.rules import Rule, Voxels
from nnunetv2_comnet.postprocessing.volume import Connectivity, Volume
from nnunetv2_comnet.regions import Nesting

Threshold = Annotated[float, Field(gt=0, lt=1)]


class Thresholds(Rule):
    """Decides which voxels lie in a region: those of a probability over its threshold, 0.5 where none is given.

    nesting: "none" paints regions over one another, as nnU-Net does (ET is painted wherever it is likely); "full"
    paints a region only inside all regions around it, ET in TC in WT; "outermost" only inside the outermost.
    """

    needs_probabilities: ClassVar[bool] = True

    rule: Literal["thresholds"] = "thresholds"
    thresholds: Mapping[str, Threshold] = Field(default_factory=dict)
    nesting: Nesting = "none"

    @property
    def region_names(self) -> tuple[str, ...]:
        return tuple(self.thresholds)

    def applied(self, volume: Volume) -> Volume:
        regions = volume.regions
        limits = {regions.named(name): value for name, value in self.thresholds.items()}
        return volume.with_labels(regions.decided(volume.known_probabilities, limits, self.nesting))

    def describe(self) -> str:
        limits = ", ".join(f"{name} {value:g}" for name, value in self.thresholds.items())
        nested = {"none": "", "outermost": ", inside the outermost region", "full": ", inside all regions around"}
        return f"decide by probability over {limits or 0.5}{nested[self.nesting]}"


class DropUnlikelyComponents(Rule):
    """Keeps the components of a region whose mean probability is `min_mean_probability` or more; drops the others.

    With `below_voxels` only smaller components are dropped; those of up to `spare_up_to_voxels` are left alone. A
    dropped voxel leaves the region and those inside it.
    """

    needs_probabilities: ClassVar[bool] = True

    rule: Literal["drop-unlikely-components"] = "drop-unlikely-components"
    region: str
    min_mean_probability: float = Field(gt=0, le=1)
    below_voxels: Voxels | None = None
    spare_up_to_voxels: int = Field(default=0, ge=0)
    connectivity: Connectivity = 26

    def applied(self, volume: Volume) -> Volume:
        region = volume.regions.named(self.region)
        volume.probability(region)
        components = volume.components(region, self.connectivity)
        assert components.mean_probability is not None
        doomed = (components.mean_probability < self.min_mean_probability) & (
            components.sizes > self.spare_up_to_voxels
        )
        if self.below_voxels is not None:
            doomed &= components.sizes < self.below_voxels
        return volume.changed(components, doomed, volume.regions.left(region))

    def describe(self) -> str:
        size = "" if self.below_voxels is None else f" under {self.below_voxels} voxels"
        spared = f", those of up to {self.spare_up_to_voxels} voxels spared" if self.spare_up_to_voxels else ""
        return (
            f"drop {self.region} components{size} of mean probability < {self.min_mean_probability:g}{spared} "
            f"({self.connectivity}-connected)"
        )
