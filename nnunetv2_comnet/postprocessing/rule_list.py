"""Rules in their order: read from plain values, checked as a whole, applied one after the other."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from nnunetv2_comnet.errors import ConfigurationError
from nnunetv2_comnet.files import first_fault
from nnunetv2_comnet.postprocessing.probability_rules import DropUnlikelyComponents, Thresholds
from nnunetv2_comnet.postprocessing.rules import DropSmallComponents, DropSmallTotal, FillHoles, Rule
from nnunetv2_comnet.postprocessing.volume import Volume
from nnunetv2_comnet.regions import Regions

Rules = tuple[Rule, ...]
KINDS: Mapping[str, type[Rule]] = {
    kind.model_fields["rule"].default: kind
    for kind in (Thresholds, DropUnlikelyComponents, DropSmallComponents, DropSmallTotal, FillHoles)
}
DESCRIPTION = "description"  # written for readers of the file; not a parameter


def apply_rules(rules: Iterable[Rule], volume: Volume) -> Volume:
    """Applies the rules in their order. The same volume comes back where none changes anything.

    Raises `ConfigurationError` for a rule that needs probabilities or a spacing that the volume has not.
    """
    for rule in rules:
        volume = rule.applied(volume)
    return volume


def parse_rule(values: Any) -> Rule:
    """Reads a rule from plain values, e.g. {"rule": "fill-holes", "region": "WT"}.

    Raises `ConfigurationError` that names the rule and the parameter.
    """
    if not isinstance(values, Mapping) or values.get("rule") not in KINDS:
        given = values.get("rule") if isinstance(values, Mapping) else values
        raise ConfigurationError(f"there is no rule {given!r}; there are: {', '.join(KINDS)}")
    name = values["rule"]
    try:
        return KINDS[name](**{key: value for key, value in values.items() if key != DESCRIPTION})
    except ValidationError as error:
        raise ConfigurationError(f"rule {name}: {first_fault(error)}") from error


def require_usable(rules: Sequence[Rule], regions: Regions) -> None:
    """Raises `ConfigurationError` for a rule of an unknown region, or thresholds that come after another rule."""
    for number, rule in enumerate(rules):
        if isinstance(rule, Thresholds) and number > 0:
            raise ConfigurationError("thresholds decide every voxel again: they can only be the first rule")
        for name in rule.region_names:
            regions.named(name)
