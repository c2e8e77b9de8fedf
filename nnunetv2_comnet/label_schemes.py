"""Label schemes, and the regions of the masks that are written: the only file that holds label numbers.

Masks are written in the numbering of BraTS 2023 (1 necrotic and non-enhancing core, 2 oedema, 3 enhancing tumour);
every source numbering maps onto it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from nnunetv2_comnet.errors import ConfigurationError
from nnunetv2_comnet.regions import (
    CYSTIC_COMPONENT,
    ENHANCING_TUMOR,
    RESECTION_CAVITY,
    TUMOR_CORE,
    WHOLE_TUMOR,
    Regions,
)

NCR, ED, ET, EXTRA = 1, 2, 3, 4


@dataclass(frozen=True)
class LabelScheme:
    """How a source numbers its labels, and the regions of the masks that are written.

    `to_canonical` maps every nonzero source label that the source's documentation explains to the written label;
    0 is background on both sides. `regions` are those of the written labels.
    """

    name: str
    to_canonical: Mapping[int, int]
    regions: Regions

    @property
    def known_labels(self) -> frozenset[int]:
        """The source labels that may occur, background included."""
        return frozenset({0, *self.to_canonical})

    @property
    def regions_class_order(self) -> tuple[int, ...]:
        """For each region, the label that nnU-Net paints where the region is predicted."""
        return self.regions.class_order

    def dataset_json_labels(self) -> dict[str, int | list[int]]:
        """Returns the `labels` entry of nnU-Net's dataset.json, regions in the order of the output channels."""
        return {"background": 0, **{name: list(labels) for name, labels in self.regions.items()}}

    def require_painted_back(self) -> None:
        """Raises `ConfigurationError` unless nnU-Net's painting of the regions gives back every label.

        A wrong order swaps labels silently (MIC-DKFZ/nnUNet issues 2900, 3042).
        """
        labels = sorted(self.regions.known)
        if labels != list(range(1, len(labels) + 1)):
            raise ConfigurationError(
                f"scheme {self.name} writes labels {labels}; nnU-Net needs 1, 2, 3, ... without gaps"
            )
        for label in self.regions.mispainted:
            raise ConfigurationError(
                f"scheme {self.name}: painting in the order {self.regions_class_order} does not give back {label}"
            )

    def canonical(self, labels: npt.NDArray[np.integer]) -> npt.NDArray[np.uint8]:
        """Maps a mask of source labels (any shape) to written labels, uint8. Unknown labels are a `DataError`'s case:
        the caller has refused them before; here they are a programming error."""
        result = np.zeros(labels.shape, np.uint8)
        for source, target in self.to_canonical.items():
            result[labels == source] = target
        assert set(np.unique(labels)) <= self.known_labels, "unknown labels must be refused before they are mapped"
        return result

    def with_label_map(self, extra: Mapping[int, int]) -> "LabelScheme":
        """Returns this scheme with source labels added or redefined, e.g. {3: 1}; targets are written labels."""
        written = {0, *self.regions.known}
        for source, target in extra.items():
            if source <= 0 or target not in written:
                raise ConfigurationError(
                    f"label map {source}:{target} cannot be used: the left side is a label of the source (1 or more), "
                    f"the right side one of {sorted(written)}"
                )
        return LabelScheme(self.name, MappingProxyType({**self.to_canonical, **extra}), self.regions)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles plain mappings, since read-only ones cannot be; a worker process builds the scheme again."""
        return _scheme, (self.name, dict(self.to_canonical), dict(self.regions))


_TUMOR = {WHOLE_TUMOR: (NCR, ED, ET), TUMOR_CORE: (NCR, ET), ENHANCING_TUMOR: (ET,)}


def _scheme(name: str, to_canonical: dict[int, int], regions: Mapping[str, tuple[int, ...]]) -> LabelScheme:
    return LabelScheme(name, MappingProxyType(to_canonical), Regions(regions))


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
