"""comnet_postprocessing.json: the rules in words and parameters, the regions they were made for, the evidence."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nnunetv2_comnet import __version__
from nnunetv2_comnet.errors import ConfigurationError
from nnunetv2_comnet.files import read_json, write_json
from nnunetv2_comnet.postprocessing import stock
from nnunetv2_comnet.postprocessing.rule_list import DESCRIPTION, Rules, parse_rule, require_usable
from nnunetv2_comnet.regions import Regions

FILE, FORMAT = "comnet_postprocessing.json", 1


@dataclass(frozen=True)
class RuleFile:
    """rules in their order; regions: name -> labels, or None where the file does not say; evidence: of the fitting."""

    rules: Rules
    regions: Mapping[str, tuple[int, ...]] | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Writes the file whole or not at all."""
        content: dict[str, Any] = {
            "format": FORMAT,
            "written_by": f"nnunetv2-comnet {__version__}",
            "rules": [{**rule.as_json(), DESCRIPTION: rule.describe()} for rule in self.rules],
        }
        if self.regions is not None:
            content["regions"] = {name: list(labels) for name, labels in self.regions.items()}
        write_json(path, {**content, "evidence": dict(self.evidence)})

    def for_regions(self, regions: Mapping[str, tuple[int, ...]]) -> Regions:
        """Checks that the file is of these regions, which it returns. Raises `ConfigurationError` where it is not."""
        if self.regions is not None and dict(self.regions) != dict(regions):
            raise ConfigurationError(
                f"these rules were made for regions {_in_words(self.regions)}, where this model has "
                f"{_in_words(regions)}: fit rules for this model with `comnet fit-postprocessing`"
            )
        checked = Regions(regions).require_plain_labels()
        require_usable(self.rules, checked)
        return checked


def read_rule_file(path: Path) -> RuleFile:
    """Reads a file of `comnet fit-postprocessing`, or one written by hand: {"rules": [{"rule": "fill-holes", ...}]}.

    Raises `DataError` for a file that cannot be read, `ConfigurationError` for another kind or an impossible rule.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("rules"), list):
        raise ConfigurationError(f'{path} holds no rules; expected {{"rules": [{{"rule": "fill-holes", ...}}, ...]}}')
    if content.get("format", FORMAT) != FORMAT:
        raise ConfigurationError(f"{path} is of format {content['format']}, this version reads {FORMAT}: fit it again")
    try:
        rules = tuple(parse_rule(values) for values in content["rules"])
        regions = content.get("regions")
        if regions is not None:
            regions = {str(name): tuple(int(label) for label in labels) for name, labels in regions.items()}
            require_usable(rules, Regions(regions).require_plain_labels())
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise ConfigurationError(f"{path}: its regions must be names with lists of labels") from error
    return RuleFile(rules, regions, content.get("evidence") or {})


def write_rules(
    folder: Path,
    rules: Rules,
    regions: Mapping[str, tuple[int, ...]],
    evidence: Mapping[str, Any],
    voxel_mm3: float | None,
) -> tuple[list[Path], str]:
    """Writes the rules as JSON and, if the stock command can apply them all, as nnU-Net's pickle beside it.

    voxel_mm3: of the cases, None where it differs. Returns the files written, and why there is no pickle ("" if there
    is): the two never say different things, and a pickle of an earlier fit goes with that fit's JSON.
    """
    json_file, pickle_file = folder / FILE, folder / stock.FILE
    if json_file.exists():
        pickle_file.unlink(missing_ok=True)
    RuleFile(rules, regions, evidence).write(json_file)
    try:
        stock.write_pickle(pickle_file, rules, regions, voxel_mm3)
    except ConfigurationError as reason:
        return [json_file], str(reason)
    return [json_file, pickle_file], ""


def _in_words(regions: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {list(labels)}" for name, labels in regions.items())
