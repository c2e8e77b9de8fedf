"""One patient's label map as rules see it, with its components kept, so that a grid of sizes costs one labelling."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import cc3d
import numpy as np
import numpy.typing as npt

from nnunetv2_comnet.errors import ConfigurationError
from nnunetv2_comnet.grid import Box, box_around
from nnunetv2_comnet.regions import Labels, Lookup, Regions

Mask = npt.NDArray[np.bool_]
Connectivity = Literal[6, 18, 26]
FIRST_VOXEL = (slice(0, 1),) * 3  # the box of what is empty
INNER = (slice(1, -1),) * 3  # what np.pad put a rim around
TOLERANCE = 1e-6  # relative, of a voxel's volume: files store spacings in single precision


@dataclass(frozen=True)
class Components:
    """Connected components: numbers (0 none) inside `box` of the volume, voxels of each and its mean probability.

    sizes: (components + 1,), 0 for the outside. mean_probability: likewise, or None without probabilities.
    """

    box: Box
    numbers: npt.NDArray[np.integer]
    sizes: npt.NDArray[np.int64]
    mean_probability: npt.NDArray[np.float64] | None


@dataclass(frozen=True, eq=False)
class Volume:
    """A patient's label map and probabilities.

    Attributes:
        labels: (Z, Y, X).
        spacing_mm: of the three axes, None where it is not known (nnU-Net's stock command).
        probabilities: (R, Z, Y, X) in the order of the regions, None where they are not known.
    """

    labels: Labels
    regions: Regions
    spacing_mm: Sequence[float] | None = None
    probabilities: npt.NDArray[np.floating] | None = None
    _kept: dict[Any, Components] = field(default_factory=dict, repr=False)
    _made: dict[Any, "Volume"] = field(default_factory=dict, repr=False)

    @property
    def voxel_mm3(self) -> float:
        """Volume of a voxel. Raises `ConfigurationError` where the spacing is not known."""
        if self.spacing_mm is None:
            raise ConfigurationError("sizes in mm3 need the spacing, which is not known here: give sizes in voxels")
        return float(np.prod(np.asarray(self.spacing_mm, np.float64)))

    @property
    def known_probabilities(self) -> npt.NDArray[np.floating]:
        """`probabilities`. Raises `ConfigurationError` where they are not known."""
        if self.probabilities is None:
            raise ConfigurationError("this rule needs probabilities, and only the label map is known here")
        return self.probabilities

    def probability(self, region: str) -> npt.NDArray[np.floating]:
        """Returns the probabilities (Z, Y, X) of one region. Raises as `known_probabilities` does."""
        one: npt.NDArray[np.floating] = self.known_probabilities[list(self.regions).index(region)]
        return one

    def components(self, region: str, connectivity: Connectivity) -> Components:
        """Numbers the components of a region, 6-, 18- or 26-connected; once."""
        key = (region, connectivity)
        if key not in self._kept:
            mask = self.regions.mask(self.labels, region)
            box = box_around(mask) or FIRST_VOXEL
            # Padded, since cc3d 4.1 fails on some masks that fill a small array (its estimate of labels is too low).
            numbers = cc3d.connected_components(np.pad(mask[box], 1), connectivity=connectivity)[INNER]
            mean = None
            sizes = np.bincount(numbers.ravel())
            if self.probabilities is not None:
                inside = numbers > 0
                total = np.bincount(numbers[inside], self.probability(region)[box][inside], minlength=len(sizes))
                mean = total / np.maximum(sizes, 1)
            sizes[0] = 0
            self._kept[key] = Components(box, numbers, sizes, mean)
        return self._kept[key]

    def holes(self, region: str, connectivity: Connectivity) -> Components:
        """Numbers the holes of a region: parts of the outside from which no path leads to the volume's border."""
        key = ("holes", region, connectivity)
        if key not in self._kept:
            mask = self.regions.mask(self.labels, region)
            box = box_around(mask) or FIRST_VOXEL
            # A rim of outside: what touches the box's border is outside the box too, or at the volume's border.
            numbers = cc3d.connected_components(np.pad(~mask[box], 1, constant_values=True), connectivity=connectivity)
            outside = numbers == numbers[0, 0, 0]
            numbers[outside] = 0
            numbers = numbers[INNER]
            sizes = np.bincount(numbers.ravel())
            sizes[0] = 0
            self._kept[key] = Components(box, numbers, sizes, None)
        return self._kept[key]

    def changed(self, components: Components, chosen: Mask, lookup: Lookup) -> "Volume":
        """Gives the chosen components (components + 1,) new labels; returns this volume where nothing changes.

        The same choice gives the same volume, so that sizes that drop the same components share all later work.
        """
        if not chosen[1:].any():
            return self
        key = (id(components), chosen.tobytes(), lookup.tobytes())
        if key not in self._made:
            self._made[key] = self._relabelled(components, chosen, lookup)
        return self._made[key]

    def with_labels(self, labels: Labels) -> "Volume":
        """Returns the same patient with another label map."""
        return replace(self, labels=labels, _kept={}, _made={})

    def _relabelled(self, components: Components, chosen: Mask, lookup: Lookup) -> "Volume":
        where = chosen[components.numbers] & (components.numbers > 0)
        labels = self.labels.copy()
        inside = labels[components.box]
        table = np.arange(max(len(lookup), int(inside.max()) + 1))  # labels of no region stay
        table[: len(lookup)] = lookup
        inside[where] = table[inside[where]]
        return self.with_labels(labels)
