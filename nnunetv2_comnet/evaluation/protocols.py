"""The BraTS protocols by name: what each one joins, ignores, penalises, and what it says of empty masks.

Facts were read in the challenges' public scripts; docs/use/evaluate.md has them in one table, with their sources.
A name is `brats2023`, or `brats2023:met` for another tumour than adult glioma, whose rules differ.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from nnunetv2_comnet.errors import ConfigurationError
from nnunetv2_comnet.label_schemes import ED, ET, EXTRA, NCR

# How surfaces are measured; docs/use/evaluate.md says how the two differ.
AREA, VOXEL = "area", "voxel"
# How lesions are paired; NONE: the protocol has no lesion-wise scores.
NONE, BY_DILATION, ONE_TO_ONE = "none", "by-dilation", "one-to-one"
PENALTY = math.inf  # in an empty-mask table: the protocol's own penalty in mm


@dataclass(frozen=True)
class Empty:
    """A metric's value where both masks are empty, and where exactly one is."""

    both: float
    one: float


# The scripts of 2023 and 2024 fix Dice, HD95, NSD and sensitivity; IoU, precision and average distance go with them.
# `lesion` and `lesion_hd95_mm`: where neither a lesion nor a false positive is left to count.
_OVERLAPS = ("dice", "iou", "nsd", "precision", "sensitivity", "lesion")
_DISTANCES = ("hd95_mm", "assd_mm", "lesion_hd95_mm")
SCRIPTS_EMPTY: Mapping[str, Empty] = {
    **dict.fromkeys(_OVERLAPS, Empty(1.0, 0.0)),
    **dict.fromkeys(_DISTANCES, Empty(0.0, PENALTY)),
}
# The 2026 tool: nothing is defined where both masks are empty.
TOOL_EMPTY: Mapping[str, Empty] = {name: replace(entry, both=math.nan) for name, entry in SCRIPTS_EMPTY.items()}


@dataclass(frozen=True)
class LesionRule:
    """How a region's lesions are made.

    Attributes:
        dilations: how often the mask is dilated (18 neighbours); components that meet are one lesion.
        ignored: a true lesion of this volume in mm3, or less, is left out; where predictions are filtered, so is a
            predicted one of as many voxels.
        joined_over: tissues, by name; lesions that touch the same lesion of such a tissue are one.
    """

    dilations: int
    ignored: float
    joined_over: tuple[str, ...] = ()


@dataclass(frozen=True)
class Protocol:
    """Everything in which protocols differ.

    Attributes:
        name: e.g. "brats2023:met".
        lesions: how lesions are paired: NONE, BY_DILATION or ONE_TO_ONE.
        penalty_mm: HD95 where there is no surface to compare with; None: the image's diagonal in voxels.
        empty: a metric's values where masks are empty.
        regions: what the protocol scores, by short name, with the written labels.
        hd95: how its surfaces are measured: AREA or VOXEL.
        nsd: the same of NSD.
        nsd_guard: what NSD's denominator has added.
        rule: how lesions are made.
        rules: by short region name, where they differ from `rule`.
        filtered: before anything is scored, small predicted lesions are removed and predicted components joined as
            the true ones are.
        tool_counts: a missing case counts no missed lesion.
        large_mm3: smaller lesions, and one-to-one pairs with them, are out of the lesion-wise means, which then hold
            misses and false positives (the metastases of 2026).
    """

    name: str
    lesions: str
    penalty_mm: float | None
    empty: Mapping[str, Empty]
    regions: Mapping[str, tuple[int, ...]]
    hd95: str = AREA
    nsd: str = AREA
    nsd_guard: float = 0.0
    rule: LesionRule = LesionRule(0, 0)
    rules: Mapping[str, LesionRule] = field(default_factory=dict)
    filtered: bool = False
    tool_counts: bool = False
    large_mm3: float | None = None

    def rule_of(self, region: str) -> LesionRule:
        """Returns the rule of a region by its short name."""
        return self.rules.get(region, self.rule)

    @property
    def margin(self) -> int:
        """Voxels around all labels beyond which nothing can matter."""
        return 1 + max(rule.dilations for rule in (self.rule, *self.rules.values()))

    def penalty(self, shape: tuple[int, ...]) -> float:
        """Computes the penalty in mm on an image of `shape` voxels."""
        return math.dist((0,) * len(shape), shape) if self.penalty_mm is None else self.penalty_mm


TISSUES: Mapping[str, tuple[int, ...]] = {"NETC": (NCR,), "SNFH": (ED,), "ET": (ET,), "RC": (EXTRA,)}
_TUMOUR = {"WT": (NCR, ED, ET), "TC": (NCR, ET), "ET": (ET,)}
_WITH_TISSUES = {"RC": (EXTRA,), "SNFH": (ED,), "NETC": (NCR,), **_TUMOUR}
_CHILDREN = {
    "ED": (ED,),
    "CC": (EXTRA,),
    "NETC": (NCR,),
    "WT": (NCR, ED, ET, EXTRA),
    "TC": (NCR, ET, EXTRA),
    "ET": (ET,),
}
_WITH_CAVITY = {"RC": (EXTRA,), **_TUMOUR}
_SCRIPT_2023, _SCRIPT_2024, _TOOL = 374.0, 337.0, 373.0

_LEGACY = Protocol("legacy", NONE, math.sqrt(240**2 + 240**2 + 155**2), SCRIPTS_EMPTY, _TUMOUR)
_2023 = Protocol("brats2023", BY_DILATION, _SCRIPT_2023, SCRIPTS_EMPTY, _TUMOUR, rule=LesionRule(3, 50))
_2024 = Protocol(
    "brats2024",
    BY_DILATION,
    _SCRIPT_2024,
    SCRIPTS_EMPTY,
    _WITH_TISSUES,
    nsd=VOXEL,
    nsd_guard=1e-8,
    rule=LesionRule(3, 20),
    rules={
        "ET": LesionRule(3, 10, ("NETC", "RC")),
        "NETC": LesionRule(5, 20, ("ET", "RC")),
        "RC": LesionRule(5, 20, ("ET", "NETC")),
        # 5 was meant; the script asks for "SFNH", which no region is called, so it dilates 3 times.
        "SNFH": LesionRule(3, 20, ("ET", "RC", "NETC")),
    },
    filtered=True,
)
_2026 = Protocol("brats2026", ONE_TO_ONE, _TOOL, TOOL_EMPTY, _WITH_TISSUES, hd95=VOXEL, nsd=VOXEL, tool_counts=True)


def _for_tumour(protocol: Protocol, tumour: str, **changes: Any) -> Protocol:
    return replace(protocol, name=f"{protocol.name}:{tumour}", **changes)


def _over_core(dilations: int, ignored: float) -> dict[str, Any]:
    return {"rule": LesionRule(dilations, ignored), "rules": {"ET": LesionRule(dilations, ignored, ("NETC",))}}


_ALL = (
    _LEGACY,
    _2023,
    _for_tumour(_2023, "ssa"),
    _for_tumour(_2023, "ped"),
    _for_tumour(_2023, "men", rule=LesionRule(1, 50)),
    _for_tumour(_2023, "met", rule=LesionRule(1, 2)),
    _2024,
    _for_tumour(_2024, "ssa", penalty_mm=_SCRIPT_2023, regions=_TUMOUR, **_over_core(3, 50)),
    _for_tumour(_2024, "ped", penalty_mm=_SCRIPT_2023, regions=_CHILDREN, rule=LesionRule(5, 10), rules={}),
    _for_tumour(
        _2024, "men", penalty_mm=_SCRIPT_2023, regions=_TUMOUR, rule=LesionRule(1, 50), rules={}, filtered=False
    ),
    _for_tumour(_2024, "met", penalty_mm=None, regions=_WITH_CAVITY, **_over_core(1, 2)),
    _2026,
    _for_tumour(_2026, "goat", regions=_TUMOUR),
    _for_tumour(_2026, "men", regions=_TUMOUR),
    _for_tumour(_2026, "ped", regions=_CHILDREN),
    _for_tumour(_2026, "met", regions=_WITH_CAVITY, large_mm3=20.0),
)
PROTOCOLS: Mapping[str, Protocol] = {protocol.name: protocol for protocol in _ALL}


def protocol_named(name: str) -> Protocol:
    """Finds a protocol by its name; `:gli` may stand after a name that has no tumour.

    Raises `ConfigurationError` that lists the names.
    """
    found = PROTOCOLS.get(name.lower().removesuffix(":gli"))
    if found is None:
        raise ConfigurationError(f"unknown protocol '{name}'; there are: {', '.join(PROTOCOLS)}")
    return found
