"""The rules of challenge winners, under their names.

Sources: isensee2020 arXiv 2011.00848 and its Task082_BraTS_2020.py, taken over by kaist2021; nvidia2021_paper arXiv
2110.03352; nvidia2021_code and nvidia2022_code the notebooks BraTS21 and BraTS22 of NVIDIA's DeepLearningExamples,
which differ from the paper; fakingit2023 and fakingit2024 the repository BraTS_2023_2024_solutions; biomedmbz its
repository, of which only the ET rule has a number (its thresholds and filters per channel are not fixed). The rule of
`hope` is left out: it clusters patients by radiomics and has a threshold per cluster, so it is no fixed list.
They were fitted on other data, with other models; `comnet fit-postprocessing --preset` shows whether one helps here.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from nnunetv2_comnet.errors import ConfigurationError
from nnunetv2_comnet.postprocessing.probability_rules import DropUnlikelyComponents, Thresholds
from nnunetv2_comnet.postprocessing.rule_list import Rules, require_usable
from nnunetv2_comnet.postprocessing.rules import DropSmallComponents, DropSmallTotal
from nnunetv2_comnet.regions import ENHANCING_TUMOR, RESECTION_CAVITY, TUMOR_CORE, WHOLE_TUMOR, Regions

WT, TC, ET, RC = WHOLE_TUMOR, TUMOR_CORE, ENHANCING_TUMOR, RESECTION_CAVITY


@dataclass(frozen=True)
class Preset:
    """A name, a sentence, and the rules in their order."""

    name: str
    summary: str
    rules: Rules

    @property
    def uses_probabilities(self) -> bool:
        """Whether label maps alone are not enough."""
        return any(rule.uses_probabilities for rule in self.rules)


def _nvidia(
    wt: float, tc: float, et: float, *, nesting: str, below_voxels: int, spare_up_to_voxels: int, total_voxels: int
) -> Rules:
    """Applies thresholds; then unlikely small ET components and an unlikely small ET in all become necrosis.

    Components are face-connected: scipy's default, which the notebooks use; the paper does not say.
    """
    return (
        Thresholds.model_validate({"thresholds": {WT: wt, TC: tc, ET: et}, "nesting": nesting}),
        DropUnlikelyComponents(
            region=ET,
            min_mean_probability=0.9,
            below_voxels=below_voxels,
            spare_up_to_voxels=spare_up_to_voxels,
            connectivity=6,
        ),
        DropSmallTotal(region=ET, min_voxels=total_voxels, below_mean_probability=0.9),
    )


def _filtered(**min_voxels: int) -> Rules:
    """Filters each region's 26-connected components by themselves, then paints WT, TC, ET over one another.

    Innermost first and without taking the inner regions away, each filter meets the masks that were predicted.
    """
    names = {"ET": ET, "TC": TC, "WT": WT, "RC": RC}
    return tuple(
        DropSmallComponents(region=names[short], min_voxels=least, keep_inner=True)
        for short, least in min_voxels.items()
    )


_SMALL_ET = (DropSmallTotal(region=ET, min_voxels=200),)
PRESETS: Mapping[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset("isensee2020", "fewer than 200 voxels of ET in all become necrosis", _SMALL_ET),
        Preset("kaist2021", "the same as isensee2020", _SMALL_ET),
        Preset(
            "nvidia2021_paper",
            "thresholds WT 0.45, TC 0.4, ET 0.4; unlikely ET components under 16 voxels, unlikely ET under 73 in all",
            _nvidia(0.45, 0.4, 0.4, nesting="full", below_voxels=16, spare_up_to_voxels=0, total_voxels=73),
        ),
        Preset(
            "nvidia2021_code",
            "thresholds 0.5; unlikely ET components of 2 to 7 voxels, unlikely ET under 73 in all",
            _nvidia(0.5, 0.5, 0.5, nesting="outermost", below_voxels=8, spare_up_to_voxels=1, total_voxels=73),
        ),
        Preset(
            "nvidia2022_code",
            "thresholds WT 0.4, TC 0.35, ET 0.375; unlikely ET components of 2 or 3 voxels, unlikely ET under 5 in all",
            _nvidia(0.4, 0.35, 0.375, nesting="outermost", below_voxels=4, spare_up_to_voxels=1, total_voxels=5),
        ),
        Preset(
            "fakingit2023",
            "components under WT 250, TC 150, ET 100 voxels, each region by itself",
            _filtered(ET=100, TC=150, WT=250),
        ),
        Preset(
            "fakingit2024",
            "components under WT 50 and resection cavity 50 voxels, each region by itself (TC and ET: none)",
            _filtered(WT=50, RC=50),
        ),
        Preset(
            "biomedmbz", "fewer than 200 voxels of ET in all are replaced (its other filters are not fixed)", _SMALL_ET
        ),
    )
}


def preset_named(name: str) -> Preset:
    """Finds a preset. Raises `ConfigurationError` that lists the names."""
    if name not in PRESETS:
        raise ConfigurationError(f"there is no preset '{name}'; there are: {', '.join(PRESETS)}")
    return PRESETS[name]


def preset_rules(name: str, regions: Regions) -> Rules:
    """Returns a preset's rules for a data set; one for the resection cavity is left out where the data have none.

    Raises `ConfigurationError` for an unknown name, or data without WT, TC or ET.
    """
    rules = tuple(rule for rule in preset_named(name).rules if RC not in rule.region_names or RC in regions)
    require_usable(rules, regions)
    return rules
