"""The regions of a data set: names, nesting, masks of a label map, and the way back from probabilities to a label map.

Regions overlap (whole tumour > tumour core > enhancing tumour). A label says which regions a voxel lies in; nnU-Net
writes a label map by painting one region over the other, each with its label of regions_class_order.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from nnunetv2_comnet.errors import ConfigurationError

Labels = npt.NDArray[np.unsignedinteger]
Masks = npt.NDArray[np.bool_]
Lookup = npt.NDArray[np.intp]
Nesting = Literal["none", "outermost", "full"]

WHOLE_TUMOR, TUMOR_CORE, ENHANCING_TUMOR = "whole tumor", "tumor core", "enhancing tumor"
RESECTION_CAVITY, CYSTIC_COMPONENT = "resection cavity", "cystic component"
SHORT_NAMES: Mapping[str, str] = MappingProxyType(
    {WHOLE_TUMOR: "WT", TUMOR_CORE: "TC", ENHANCING_TUMOR: "ET", RESECTION_CAVITY: "RC", CYSTIC_COMPONENT: "CC"}
)
THRESHOLD = 0.5
_AROUND_THAT_COUNT: Mapping[Nesting, int | None] = {"none": 0, "outermost": 1, "full": None}


@dataclass(frozen=True, eq=False, init=False)
class Regions(Mapping[str, tuple[int, ...]]):
    """Region's name -> its labels, in the order of the network's output channels; cannot be changed, can be pickled.

    declared_order: the regions_class_order of a dataset.json; None where nothing declares one.
    """

    members: Mapping[str, tuple[int, ...]]
    declared_order: tuple[int, ...] | None = None

    def __init__(self, members: Mapping[str, Iterable[int]], declared_order: Iterable[int] | None = None) -> None:
        object.__setattr__(self, "members", {name: tuple(labels) for name, labels in members.items()})
        object.__setattr__(self, "declared_order", None if declared_order is None else tuple(declared_order))

    def __getitem__(self, name: str) -> tuple[int, ...]:
        return self.members[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.members)

    def __len__(self) -> int:
        return len(self.members)

    @cached_property
    def known(self) -> frozenset[int]:
        """The labels of all regions, without background."""
        return frozenset(label for labels in self.values() for label in labels)

    @cached_property
    def derived_order(self) -> tuple[int, ...]:
        """The one label that each region holds and no later region covers.

        Raises `ConfigurationError` where no label, or more than one, is left: no label map can hold such regions.
        """
        order, members = [], list(self.values())
        for index, (name, labels) in enumerate(self.items()):
            left = set(labels).difference(*members[index + 1 :])
            if len(left) != 1:
                raise ConfigurationError(
                    f"region '{name}' of labels {sorted(labels)} leaves {sorted(left) or 'no label'} after the regions "
                    "that follow it; exactly one must be left: reorder the regions, or add one for the labels that "
                    "share it"
                )
            order.append(left.pop())
        return tuple(order)

    @property
    def class_order(self) -> tuple[int, ...]:
        """The label that each region paints, in their order: as declared, else as derived."""
        return self.derived_order if self.declared_order is None else self.declared_order

    @property
    def mispainted(self) -> list[int]:
        """The labels that painting their regions in `class_order` does not give back."""
        return [label for label in sorted(self.known) if self._label_of(self._names_of(label)) != label]

    def require_plain_labels(self) -> "Regions":
        """Returns these regions, painted in the derived order.

        Raises `ConfigurationError` where a label map alone does not determine them.
        """
        regions = Regions(self.members, self.derived_order)
        for label in regions.mispainted:
            raise ConfigurationError(
                f"label {label} is not what its regions paint ({', '.join(self._names_of(label))}): post-processing "
                "needs regions that name every label, as dataset.json of `comnet convert` does"
            )
        return regions

    @property
    def short_names(self) -> tuple[str, ...]:
        """See `short_name`; in the order of the regions."""
        return tuple(short_name(name) for name in self)

    def named(self, given: str) -> str:
        """Returns the region's own name for a name or short name in any case: "whole tumor" for "WT"."""
        for name in self:
            if given.strip().lower() in (name.lower(), short_name(name).lower()):
                return name
        there = ", ".join(f"{name} ({short_name(name)})" for name in self)
        raise ConfigurationError(f"there is no region '{given}'; there are: {there}")

    def around(self, name: str) -> list[str]:
        """Returns the regions that contain this one and more, outermost first."""
        outer = [other for other in self if set(self[other]) > set(self[name])]
        return sorted(outer, key=lambda other: -len(self[other]))

    def inside(self, name: str) -> list[str]:
        """Returns the regions that lie within this one."""
        return [other for other in self if set(self[other]) < set(self[name])]

    def mask(self, labels: npt.NDArray[Any], name: str) -> Masks:
        """Marks where one region is, in the shape of `labels`."""
        return region_mask(labels, self[name])

    def masks(self, labels: npt.NDArray[Any]) -> Masks:
        """Marks where the regions are: (R, ...) for `labels` of shape (...)."""
        return np.stack([self.mask(labels, name) for name in self])

    def nested(self, maps: npt.NDArray[Any], nesting: Nesting = "full") -> npt.NDArray[Any]:
        """Enforces that a region lies inside those around it: minimum of probabilities, or of truth values.

        Regions that do not contain one another, such as a resection cavity beside the tumour, leave one another alone.

        Args:
            maps: (R, ...), in the order of the regions; not changed.
            nesting: "full" takes all regions around, "outermost" only the outermost, "none" nothing.
        """
        nested = maps.copy()
        index = {name: number for number, name in enumerate(self)}
        for inner in sorted(self, key=lambda name: -len(self[name])):
            for outer in self.around(inner)[: _AROUND_THAT_COUNT[nesting]]:
                np.minimum(nested[index[inner]], nested[index[outer]], out=nested[index[inner]])
        return nested

    def decided(
        self,
        probabilities: npt.NDArray[np.floating],
        thresholds: Mapping[str, float] | None = None,
        nesting: Nesting = "none",
    ) -> Labels:
        """Decides the label map: a region is where its probability exceeds its threshold; painted as `painted` does.

        Without thresholds and nesting the map is nnU-Net's.

        Args:
            probabilities: (R, ...) in [0, 1], in the order of the regions.
            thresholds: region's name -> threshold; 0.5 where none is given.
            nesting: inside which of the regions around a region is painted; see `nested`.
        """
        limits = [np.float32((thresholds or {}).get(name, THRESHOLD)) for name in self]
        likely = np.stack([region > limit for region, limit in zip(probabilities, limits, strict=True)])
        return self.painted(likely if nesting == "none" else self.nested(likely, nesting))

    def painted(self, masks: Iterable[Masks]) -> Labels:
        """Paints masks (R, ...) into a label map (...): each region paints its label, later ones over earlier ones."""
        masks = np.asarray(masks)
        labels = np.zeros(masks.shape[1:], np.uint8 if max(self.class_order) < 255 else np.uint16)
        for mask, label in zip(masks, self.class_order, strict=True):
            labels[mask] = label
        return labels

    def volumes_mm3(self, labels: npt.NDArray[Any], spacing_mm: Sequence[float]) -> dict[str, float]:
        """Computes region -> volume in mm3 of the voxels whose label is one of the region's."""
        counts = np.bincount(labels.ravel(), minlength=max(self.known) + 1)
        voxel_mm3 = float(np.prod(np.asarray(spacing_mm, np.float64)))
        return {name: float(sum(int(counts[label]) for label in own)) * voxel_mm3 for name, own in self.items()}

    def left(self, name: str, *, keep_inner: bool = False) -> Lookup:
        """Returns label -> label of a voxel that leaves a region, and with it the regions inside (unless `keep_inner`).

        Out of ET a voxel becomes necrosis (still in TC), out of TC oedema, out of WT background.
        """
        gone = {name} if keep_inner else {name, *self.inside(name)}
        return self._lookup(lambda names: [region for region in names if region not in gone])

    def joined(self, name: str) -> Lookup:
        """Returns label -> label of a voxel that joins a region, and with it the regions around."""
        new = {name, *self.around(name)}
        return self._lookup(lambda names: [*names, *new])

    def _names_of(self, label: int) -> list[str]:
        return [name for name, labels in self.items() if label in labels]

    def _label_of(self, names: Iterable[str]) -> int:
        painted = [label for name, label in zip(self, self.class_order, strict=True) if name in set(names)]
        return painted[-1] if painted else 0

    def _lookup(self, change: Callable[[list[str]], list[str]]) -> Lookup:
        return np.array(
            [self._label_of(change(self._names_of(label))) for label in range(max(self.known) + 1)], np.intp
        )


def short_name(region: str) -> str:
    """Returns "ET" for "enhancing tumor", and another region's name in a form that fits a file's name."""
    return SHORT_NAMES.get(region) or "".join(c if c.isalnum() or c in "-." else "_" for c in region)


def region_mask(labels: npt.NDArray[Any], members: Sequence[int]) -> Masks:
    """Marks where a label map (any shape and type) has one of `members`."""
    if labels.dtype.kind != "u" or labels.itemsize > 2:
        return np.isin(labels, members)
    table = np.zeros(max(int(labels.max(initial=0)), 0, *members) + 1, bool)  # several times faster than np.isin
    table[list(members)] = True
    mask: Masks = table[labels]
    return mask
