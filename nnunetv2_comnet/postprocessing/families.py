"""What the fitting may choose from: families of one rule each, with the values of one parameter, weakest first.

The order is fixed: decide (thresholds, nesting), drop by probability, drop by size from the outside in, too small an
ET in all, fill holes. A family's rule comes after those that were kept before it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from nnunetv2_comnet.postprocessing.presets import preset_rules
from nnunetv2_comnet.postprocessing.probability_rules import DropUnlikelyComponents, Thresholds
from nnunetv2_comnet.postprocessing.rule_list import Rules
from nnunetv2_comnet.postprocessing.rules import DropSmallComponents, DropSmallTotal, FillHoles
from nnunetv2_comnet.regions import ENHANCING_TUMOR, THRESHOLD, Regions, short_name

SIZES = (2, 5, 10, 15, 20, 30, 40, 50, 75, 100, 150, 200, 250, 300, 400, 500, 750, 1000)
TOTALS = tuple(range(25, 751, 25))  # Isensee 2020's search
HOLES = (10, 100, 1000, None)
THRESHOLDS = (0.45, 0.55, 0.4, 0.6, 0.35, 0.65, 0.3, 0.7)
MEAN_PROBABILITIES = (0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
UNITS = ("voxels", "mm3")


@dataclass(frozen=True)
class Family:
    """One rule with candidate values of one parameter.

    Attributes:
        rule: its name in files.
        region: short name, or "" for all.
        parameter: the one that is chosen.
        values: weakest first.
        extended: adds the rule with a value to the rules so far.
    """

    rule: str
    region: str
    parameter: str
    values: tuple[Any, ...]
    extended: Callable[[Rules, Any], Rules]


def standard_families(regions: Regions, *, unit: str = "voxels", with_probabilities: bool = False) -> list[Family]:
    """Lists the families for a data set in their order; sizes are given in `unit`, "voxels" or "mm3"."""
    outside_in = sorted(regions, key=lambda name: len(regions.around(name)))
    unlikely = [
        _family(DropUnlikelyComponents, short_name(name), "min_mean_probability", MEAN_PROBABILITIES)
        for name in outside_in
    ]
    first = [*_decisions(outside_in), *unlikely] if with_probabilities else []
    small = [_family(DropSmallComponents, short_name(name), f"min_{unit}", SIZES) for name in outside_in]
    et = [ENHANCING_TUMOR] if ENHANCING_TUMOR in regions else []
    total = [_family(DropSmallTotal, short_name(name), f"min_{unit}", TOTALS) for name in et]
    holes = [_family(FillHoles, short_name(name), f"max_{unit}", HOLES) for name in outside_in]
    return [*first, *small, *total, *holes]


def preset_family(names: Sequence[str], regions: Regions) -> Family:
    """Makes the presets the values of one family. Raises `ConfigurationError` as `preset_rules` does."""
    lists = {name: preset_rules(name, regions) for name in names}
    return Family("preset", "", "name", tuple(lists), lambda rules, name: lists[name])


def _decisions(outside_in: Sequence[str]) -> list[Family]:
    nesting = Family("thresholds", "", "nesting", ("full",), lambda rules, value: _decided(rules, nesting=value))

    def threshold_of(region: str) -> Family:
        return Family("thresholds", region, "threshold", THRESHOLDS, lambda rules, t: _decided(rules, {region: t}))

    return [*(threshold_of(short_name(name)) for name in outside_in), nesting]


def _decided(rules: Rules, thresholds: dict[str, float] | None = None, nesting: str | None = None) -> Rules:
    """Changes the decision of the rules, which comes first and stands once."""
    before = rules[0] if rules and isinstance(rules[0], Thresholds) else Thresholds()
    after = Thresholds.model_validate(
        {"thresholds": {**before.thresholds, **(thresholds or {})}, "nesting": nesting or before.nesting}
    )
    return (after, *rules[1:]) if rules and isinstance(rules[0], Thresholds) else (after, *rules)


def _family(kind: Any, region: str, parameter: str, values: tuple[Any, ...]) -> Family:
    def extended(rules: Rules, value: Any) -> Rules:
        return (*rules, kind(**{"region": region, parameter: value}))

    return Family(kind.model_fields["rule"].default, region, parameter, values, extended)


def lowest_threshold(families: Sequence[Family]) -> float:
    """Finds the lowest probability at which any value of the families lets a voxel into a region."""
    lists = [family.extended((), value) for family in families for value in family.values]
    decisions = [rule for rules in lists for rule in rules if isinstance(rule, Thresholds)]
    return min([THRESHOLD, *(value for rule in decisions for value in rule.thresholds.values())])
