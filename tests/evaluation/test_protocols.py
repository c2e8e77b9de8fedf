"""The named protocols on constructed cases whose scores are worked by hand."""

import math

import pytest
from constructed_cases import CASES, Constructed, painted
from more_constructed_cases import EMPTY, PAIRING, SPACING, TISSUE

from nnunetv2_comnet.errors import ConfigurationError, DataError
from nnunetv2_comnet.evaluation.case_scores import missing_scores, score_case
from nnunetv2_comnet.evaluation.protocols import PROTOCOLS, protocol_named
from nnunetv2_comnet.evaluation.results import METRICS
from nnunetv2_comnet.label_schemes import BRATS_123

ALL = [*CASES, *EMPTY, *PAIRING, *TISSUE, *SPACING]


def computed(case: Constructed, protocol: str) -> dict[str, float]:
    truth, prediction = painted(case.truth), painted(case.prediction)
    return score_case(truth, prediction, case.spacing_mm_zyx, case.regions, protocol)[case.region]


@pytest.mark.parametrize(
    ("case", "protocol"),
    [pytest.param(case, name, id=f"{case.name}-{name}") for case in ALL for name in case.expected],
)
def test_constructed_case(case: Constructed, protocol: str) -> None:
    found = computed(case, protocol)
    for metric, value in case.expected[protocol].items():
        assert found[metric] == pytest.approx(value, abs=1e-12, nan_ok=True), metric


def test_every_protocol_has_cases() -> None:
    assert {name for case in ALL for name in case.expected} >= {
        "legacy", "brats2023", "brats2023:ssa", "brats2023:ped", "brats2023:men", "brats2023:met", "brats2024",
        "brats2024:ssa", "brats2024:ped", "brats2024:men", "brats2024:met", "brats2026", "brats2026:met",
    }  # fmt: skip


def test_regions_come_innermost_first_with_short_names() -> None:
    truth = painted(ALL[0].truth)
    scores = score_case(truth, truth, (1, 1, 1), BRATS_123.regions, "brats2023")
    assert list(scores) == ["ET", "TC", "WT"]


def test_only_what_is_asked_for_is_given() -> None:
    truth = painted(ALL[0].truth)
    scores = score_case(truth, truth, (1, 1, 1), BRATS_123.regions, "brats2024", only={"lesion_dice", "dice"})
    assert {metric for region in scores.values() for metric in region} == {"dice", "lesion_dice"}
    everything = score_case(truth, truth, (1, 1, 1), BRATS_123.regions, "brats2024")
    assert set(everything["WT"]) == set(METRICS) - {"ece_brain", "ece_tumour", "brier"}


def test_legacy_has_no_lesions() -> None:
    truth = painted(ALL[0].truth)
    assert not any(
        "lesion" in metric for metric in score_case(truth, truth, (1, 1, 1), BRATS_123.regions, "legacy")["ET"]
    )


@pytest.mark.parametrize(
    ("protocol", "penalty", "missed"), [("legacy", 373.1287, None), ("brats2023", 374, 1), ("brats2026", 373, 0)]
)
def test_a_missing_case_gets_the_worst_of_everything(protocol: str, penalty: float, missed: int | None) -> None:
    # One cube of ET: a lesion of each region. 2026's table of missing cases holds zeros, in its counts too.
    scores = missing_scores(painted(ALL[0].truth), (1, 1, 1), BRATS_123.regions, protocol)["ET"]
    assert scores["hd95_mm"] == scores["assd_mm"] == pytest.approx(penalty, abs=1e-4)
    assert scores["dice"] == scores["iou"] == scores["nsd_2mm"] == scores["sensitivity"] == 0
    assert scores["volume_truth_mm3"] == 64
    assert math.isnan(scores["volume_predicted_mm3"])
    assert scores.get("lesion_fn") == missed
    # An empty truth does not make it better.
    empty = missing_scores(painted([]), (1, 1, 1), BRATS_123.regions, protocol)["ET"]
    assert empty["dice"] == 0
    assert empty["hd95_mm"] == pytest.approx(penalty, abs=1e-4)


def test_names_of_protocols() -> None:
    assert protocol_named("BraTS2023:GLI") is PROTOCOLS["brats2023"]
    with pytest.raises(ConfigurationError, match=r"brats2022.*legacy, brats2023"):
        protocol_named("brats2022")


def test_mistakes_are_named() -> None:
    truth = painted([])
    with pytest.raises(ConfigurationError, match="dise"):
        score_case(truth, truth, (1, 1, 1), BRATS_123.regions, "legacy", only={"dise"})
    with pytest.raises(DataError, match=r"\(24, 24, 32\).*\(23, 24, 32\)"):
        score_case(truth, truth[1:], (1, 1, 1), BRATS_123.regions, "legacy")
