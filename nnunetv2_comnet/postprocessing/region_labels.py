"""What a voxel's label becomes when it leaves a region or joins one.

Follows from the regions alone: a label says which regions a voxel lies in, and the regions that are left paint it in
nnU-Net's regions_class_order. Out of ET a voxel becomes necrosis (still in TC), out of TC oedema, out of WT background.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from nnunetv2_comnet.errors import ConfigurationError
from nnunetv2_comnet.regions import SHORT_NAMES, paint_order

Labels = npt.NDArray[np.unsignedinteger]
Lookup = npt.NDArray[np.intp]
Change = Callable[[list[str]], list[str]]


class RegionLabels:
    """The regions of a data set, name -> labels in the order of the output channels, and how labels change.

    Raises `ConfigurationError` for regions that cannot be told from one label map.
    """

    def __init__(self, regions: Mapping[str, Iterable[int]]) -> None:
        self.regions: dict[str, tuple[int, ...]] = {name: tuple(labels) for name, labels in regions.items()}
        self.paint = paint_order(self.regions)
        for label in self.known:
            if self._painted(self._members(label)) != label:
                raise ConfigurationError(
                    f"label {label} is not what its regions paint ({', '.join(self._members(label))}): post-processing "
                    "needs regions that name every label, as dataset.json of `comnet convert` does"
                )

    @cached_property
    def known(self) -> frozenset[int]:
        """The labels of the regions, without background."""
        return frozenset(label for labels in self.regions.values() for label in labels)

    def named(self, given: str) -> str:
        """The region's own name for a name or short name in any case: "whole tumor" for "WT"."""
        for name in self.regions:
            if given.strip().lower() in (name.lower(), self.short(name).lower()):
                return name
        there = ", ".join(f"{name} ({self.short(name)})" for name in self.regions)
        raise ConfigurationError(f"there is no region '{given}'; there are: {there}")

    @staticmethod
    def short(name: str) -> str:
        """ "ET" for "enhancing tumor"; names without a short one stay."""
        return SHORT_NAMES.get(name, name)

    def around(self, name: str) -> list[str]:
        """The regions that contain this one and more, outermost first."""
        outer = [other for other in self.regions if set(self.regions[other]) > set(self.regions[name])]
        return sorted(outer, key=lambda other: -len(self.regions[other]))

    def inside(self, name: str) -> list[str]:
        """The regions that lie within this one."""
        return [other for other in self.regions if set(self.regions[other]) < set(self.regions[name])]

    def left(self, name: str, *, keep_inner: bool = False) -> Lookup:
        """Label -> label of a voxel that leaves a region, and with it the regions inside (unless `keep_inner`)."""
        gone = {name} if keep_inner else {name, *self.inside(name)}
        return self._lookup(lambda members: [region for region in members if region not in gone])

    def joined(self, name: str) -> Lookup:
        """Label -> label of a voxel that joins a region, and with it the regions around."""
        new = {name, *self.around(name)}
        return self._lookup(lambda members: [*members, *new])

    def mask(self, labels: Labels, name: str) -> npt.NDArray[np.bool_]:
        """Where a region is, in the shape of `labels`."""
        table = np.zeros(max(int(labels.max(initial=0)), *self.known) + 1, bool)
        table[list(self.regions[name])] = True
        inside: npt.NDArray[np.bool_] = table[labels]
        return inside

    def painted(self, masks: Sequence[npt.NDArray[np.bool_]]) -> Labels:
        """The label map of one mask per region: each paints its label, later ones over earlier ones."""
        labels = np.zeros(masks[0].shape, np.uint8 if max(self.paint) < 255 else np.uint16)
        for mask, label in zip(masks, self.paint, strict=True):
            labels[mask] = label
        return labels

    def _members(self, label: int) -> list[str]:
        return [name for name, labels in self.regions.items() if label in labels]

    def _painted(self, members: Iterable[str]) -> int:
        paints = [label for name, label in zip(self.regions, self.paint, strict=True) if name in set(members)]
        return paints[-1] if paints else 0

    def _lookup(self, change: Change) -> Lookup:
        return np.array([self._painted(change(self._members(label))) for label in range(max(self.known) + 1)], np.intp)
