"""Label schemes and the regions made of them: the only file that holds label numbers.

Masks are written in the numbering of BraTS 2023 (1 necrotic and non-enhancing core, 2 oedema, 3 enhancing tumour);
regions overlap (whole tumour > tumour core > enhancing tumour), and every source numbering maps onto the one above.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from nnunetv2_comnet.errors import ConfigurationError

NCR, ED, ET, EXTRA = 1, 2, 3, 4

WHOLE_TUMOR, TUMOR_CORE, ENHANCING_TUMOR = "whole tumor", "tumor core", "enhancing tumor"
RESECTION_CAVITY, CYSTIC_COMPONENT = "resection cavity", "cystic component"
SHORT_NAMES: Mapping[str, str] = MappingProxyType(
    {WHOLE_TUMOR: "WT", TUMOR_CORE: "TC", ENHANCING_TUMOR: "ET", RESECTION_CAVITY: "RC", CYSTIC_COMPONENT: "CC"}
)


@dataclass(frozen=True)
class LabelScheme:
    """How a source numbers its labels, and the regions of the masks that are written.

    `to_canonical` maps every nonzero source label that the source's documentation explains to the written label;
    0 is background on both sides. `regions` maps each region's name to the written labels it is made of, in the order
    of the network's output channels.
    """

    name: str
    to_canonical: Mapping[int, int]
    regions: Mapping[str, tuple[int, ...]]

    @property
    def known_labels(self) -> frozenset[int]:
        """The source labels that may occur, background included."""
        return frozenset({0, *self.to_canonical})

    @property
    def regions_class_order(self) -> tuple[int, ...]:
        """For each region, the label that nnU-Net paints where the region is predicted; see `paint_order`."""
        return paint_order(self.regions)

    def dataset_json_labels(self) -> dict[str, int | list[int]]:
        """The `labels` entry of nnU-Net's dataset.json, regions in the order of the output channels."""
        return {"background": 0, **{name: list(labels) for name, labels in self.regions.items()}}

    def canonical(self, labels: npt.NDArray[np.integer]) -> npt.NDArray[np.uint8]:
        """Maps a mask of source labels (any shape) to written labels, uint8. Unknown labels are a `DataError`'s case:
        the caller has refused them before; here they are a programming error."""
        result = np.zeros(labels.shape, np.uint8)
        for source, target in self.to_canonical.items():
            result[labels == source] = target
        assert set(np.unique(labels)) <= self.known_labels, "unknown labels must be refused before they are mapped"
        return result

    def with_label_map(self, extra: Mapping[int, int]) -> "LabelScheme":
        """This scheme with source labels added or redefined by the user, e.g. {3: 1}. Targets are written labels."""
        written = {0, *(label for labels in self.regions.values() for label in labels)}
        for source, target in extra.items():
            if source <= 0 or target not in written:
                raise ConfigurationError(
                    f"label map {source}:{target} cannot be used: the left side is a label of the source (1 or more), "
                    f"the right side one of {sorted(written)}"
                )
        return LabelScheme(self.name, MappingProxyType({**self.to_canonical, **extra}), self.regions)

    def __reduce__(self) -> tuple[Any, ...]:
        """Read-only mappings cannot be pickled; worker processes get plain ones and build the scheme anew."""
        return _scheme, (self.name, dict(self.to_canonical), dict(self.regions))


def paint_order(regions: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
    """Derives `regions_class_order`: nnU-Net paints regions one over the other, each with one label.

    Region i must therefore paint the single label that it holds and no later region covers. Raises
    `ConfigurationError` where no label, or more than one, is left: such a scheme cannot be written as one label map.
    """
    members = list(regions.values())
    order = []
    for index, (name, labels) in enumerate(regions.items()):
        left = set(labels).difference(*members[index + 1 :])
        if len(left) != 1:
            raise ConfigurationError(
                f"region '{name}' of labels {sorted(labels)} leaves {sorted(left) or 'no label'} after the regions "
                "that follow it; exactly one must be left: reorder the regions, or add one for the labels that share it"
            )
        order.append(left.pop())
    return tuple(order)


_TUMOR = {WHOLE_TUMOR: (NCR, ED, ET), TUMOR_CORE: (NCR, ET), ENHANCING_TUMOR: (ET,)}


def _scheme(name: str, to_canonical: dict[int, int], regions: dict[str, tuple[int, ...]]) -> LabelScheme:
    return LabelScheme(name, MappingProxyType(to_canonical), MappingProxyType(regions))


# BraTS 2018 to 2021, FeTS, UCSF-PDGM, UPenn-GBM: 1 NCR/NET, 2 ED, 4 ET.
BRATS_124 = _scheme("brats-1-2-4", {1: NCR, 2: ED, 4: ET}, _TUMOR)
# BraTS 2023, GoAT, BraTS-Africa: 1 NETC, 2 SNFH, 3 ET.
BRATS_123 = _scheme("brats-1-2-3", {1: NCR, 2: ED, 3: ET}, _TUMOR)
# BraTS 2024 post-treatment glioma and metastases: as 2023, and 4 is the resection cavity, which no tumour region holds.
BRATS_CAVITY = _scheme("brats-cavity", {1: NCR, 2: ED, 3: ET, 4: EXTRA}, {**_TUMOR, RESECTION_CAVITY: (EXTRA,)})
# BraTS-PED 2024: 1 ET, 2 non-enhancing tumour, 3 cystic component (part of the core), 4 ED.
BRATS_PED = _scheme(
    "brats-ped",
    {1: ET, 2: NCR, 3: EXTRA, 4: ED},
    {
        WHOLE_TUMOR: (NCR, ED, ET, EXTRA),
        TUMOR_CORE: (NCR, ET, EXTRA),
        CYSTIC_COMPONENT: (EXTRA,),
        ENHANCING_TUMOR: (ET,),
    },
)
# Medical Segmentation Decathlon, Task01: 1 ED, 2 NCR/NET, 3 ET.
MSD_TASK01 = _scheme("msd-task01", {1: ED, 2: NCR, 3: ET}, _TUMOR)

SCHEMES: Mapping[str, LabelScheme] = MappingProxyType(
    {scheme.name: scheme for scheme in (BRATS_124, BRATS_123, BRATS_CAVITY, BRATS_PED, MSD_TASK01)}
)
