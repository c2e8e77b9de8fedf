"""Comparisons of hand-made evaluations: numbers worked by hand, what is dropped and said, properties."""

import json
import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from nnunetv2_comnet.comparison.compare import compare
from nnunetv2_comnet.comparison.outcome import Comparison, Difference
from nnunetv2_comnet.comparison.text import as_csv, as_json, as_markdown, as_text
from nnunetv2_comnet.comparison.verdict import reading, verdict
from nnunetv2_comnet.errors import ConfigurationError, DataError
from nnunetv2_comnet.evaluation.results import MISSING, SCORED, CaseScores, Evaluation

NAN = math.nan


def evaluation(
    scores: Mapping[str, Mapping[str, Sequence[float]]],
    *,
    cases: Sequence[str] | None = None,
    states: Mapping[str, str] | None = None,
    protocol: str = "legacy",
) -> Evaluation:
    """scores: region -> metric -> a value per case; cases: their names (default C0, C1, ...)."""
    count = len(next(iter(next(iter(scores.values())).values())))
    names = list(cases or (f"C{index}" for index in range(count)))
    rows = tuple(
        CaseScores(
            name,
            (states or {}).get(name, SCORED),
            "",
            {region: {m: values[index] for m, values in metrics.items()} for region, metrics in scores.items()},
        )
        for index, name in enumerate(names)
    )
    return Evaluation(protocol, "truth", "predictions", tuple(scores), rows)


def dice(*values: float, **keywords: object) -> Evaluation:
    """One region, WT, and Dice alone."""
    return evaluation({"WT": {"dice": values}}, **keywords)  # type: ignore[arg-type]


def only(comparison: Comparison) -> Difference:
    (difference,) = comparison.differences
    return difference


def random_models(cases: int, gain: float = 0.0, seed: int = 0) -> dict[str, Evaluation]:
    """Two models on three regions and two metrics, the second better by `gain` in Dice."""
    rng = np.random.default_rng(seed)
    base = rng.uniform(0.6, 0.9, (cases, 3))
    models = {}
    for name, shift in (("one", 0.0), ("two", gain)):
        table = base + shift + rng.normal(0, 0.02, (cases, 3))
        models[name] = evaluation(
            {
                r: {"dice": table[:, i].tolist(), "hd95_mm": (20 - 15 * table[:, i]).tolist()}
                for i, r in enumerate("ETW")
            }
        )
    return models


def test_one_difference_by_hand() -> None:
    models = {"A": dice(0.9, 0.8, 0.7, 0.6), "B": dice(0.8, 0.6, 0.8, 0.6)}
    comparison = compare(models, metrics=["dice"])
    found = only(comparison)
    # Differences 0.1, 0.2, -0.1, 0: mean 0.05, median 0.05, squares about the mean .0025 + .0225 + .0225 + .0025 = .05,
    # over 3. Ranks of the three that differ: 1.5, 3, 1.5; positive 4.5 of 6, r = (4.5 - 1.5) / 6. Of the 8 sign
    # patterns, sums at least 1.5 from 3: 0, 1.5 (twice), 4.5 (twice), 6: 6 of 8.
    assert (found.first, found.second, found.metric, found.region) == ("A", "B", "dice", "WT")
    assert (found.pairs, found.dropped, found.first_better, found.equal, found.second_better) == (4, 0, 2, 1, 1)
    assert found.mean == pytest.approx(0.05)
    assert found.median == pytest.approx(0.05)
    assert found.sd == pytest.approx(math.sqrt(0.05 / 3))
    assert found.dz == pytest.approx(0.05 / math.sqrt(0.05 / 3))
    assert found.rank_biserial == pytest.approx(0.5)
    assert found.p == found.p_holm == pytest.approx(6 / 8)
    assert found.smallest_p_holm == pytest.approx(2 / 2**3)
    assert [(scores.model, scores.cases, scores.mean, scores.median) for scores in comparison.scores] == [
        ("A", 4, pytest.approx(0.75), pytest.approx(0.75)),
        ("B", 4, pytest.approx(0.7), pytest.approx(0.7)),
    ]
    assert comparison.scores[0].sd == pytest.approx(math.sqrt((0.0225 + 0.0025 + 0.0025 + 0.0225) / 3))
    # Ranks: case by case A 1, 1, 2, 1.5 of 2.
    assert comparison.ranking.mean_ranks == pytest.approx({"A": 1.375, "B": 1.625})


def test_the_average_is_over_regions_and_counts_as_a_test() -> None:
    models = {
        "A": evaluation({"ET": {"dice": [0.5, 0.6]}, "WT": {"dice": [0.9, 0.8]}}),
        "B": evaluation({"ET": {"dice": [0.5, 0.4]}, "WT": {"dice": [0.7, 0.8]}}),
    }
    comparison = compare(models, metrics=["dice"])
    assert comparison.regions == ("ET", "WT", "average")
    assert comparison.tests == 3
    average = comparison.differences[-1]
    # Case means 0.7, 0.7 against 0.6, 0.6.
    assert (average.region, average.mean, average.first_better) == ("average", pytest.approx(0.1), 2)
    assert comparison.ranking.cells == 4  # regions only: two of two cases


def test_swapping_the_models_negates_the_differences() -> None:
    models = random_models(15, gain=0.01)
    one, other = compare(models), compare(dict(reversed(models.items())))
    for this, that in zip(one.differences, other.differences, strict=True):
        assert (this.first, this.second) == (that.second, that.first)
        for name in ("mean", "median", "rank_biserial", "dz"):
            assert getattr(this, name) == pytest.approx(-getattr(that, name))
        assert (this.dz_low, this.dz_high) == pytest.approx((-that.dz_high, -that.dz_low))
        # The same resamples; percentiles of the mirrored means.
        assert (this.low, this.high) == pytest.approx((-that.high, -that.low))
        assert (this.p, this.p_holm, this.sd) == pytest.approx((that.p, that.p_holm, that.sd))
        assert (this.first_better, this.equal) == (that.second_better, that.equal)
        assert verdict(this, 0.05) == verdict(that, 0.05)
    assert one.ranking.mean_ranks == pytest.approx(other.ranking.mean_ranks)


def test_the_order_of_cases_in_a_file_does_not_matter() -> None:
    values = np.random.default_rng(0).random((2, 9))
    names = [f"case{index}" for index in range(9)]
    order = [4, 2, 8, 0, 1, 7, 3, 6, 5]
    sorted_ones = {name: dice(*row, cases=names) for name, row in zip("AB", values, strict=True)}
    shuffled = sorted_ones | {"B": dice(*values[1, order], cases=[names[index] for index in order])}
    one, other = compare(sorted_ones, metrics=["dice"]), compare(shuffled, metrics=["dice"])
    assert as_json(one) == as_json(other)


def test_all_pairs_or_against_one() -> None:
    models = {"A": dice(0.9, 0.8), "B": dice(0.8, 0.7), "C": dice(0.5, 0.4)}
    pairs = [(each.first, each.second) for each in compare(models, metrics=["dice"]).differences]
    assert pairs == [("A", "B"), ("A", "C"), ("B", "C")]
    against = compare(models, metrics=["dice"], against="B")
    assert [(each.first, each.second) for each in against.differences] == [("A", "B"), ("C", "B")]
    assert (against.tests, against.against) == (2, "B")
    assert set(against.ranking.mean_ranks) == {"A", "B", "C"}  # all are ranked


def test_holm_is_over_the_whole_table() -> None:
    comparison = compare(random_models(12, gain=0.02))
    tests = comparison.differences
    assert comparison.tests == len(tests) == 8  # one pair, three regions and their average, Dice and HD95
    smallest = min(tests, key=lambda each: each.p)
    assert smallest.p_holm == pytest.approx(min(1, 8 * smallest.p))


def test_a_missing_prediction_keeps_its_penalty_and_is_said() -> None:
    models = {"A": dice(0.9, 0.8, 0.7), "B": dice(0.9, 0.0, 0.7, states={"C1": MISSING})}
    comparison = compare(models, metrics=["dice"])
    assert (only(comparison).pairs, only(comparison).dropped) == (3, 0)
    assert only(comparison).mean == pytest.approx(0.8 / 3)
    assert "B, missing-prediction: 1 case (C1); kept, with the protocol's penalty scores." in comparison.caveats


def test_an_undefined_score_is_left_out_of_its_pairs_and_the_blind_spot_is_said() -> None:
    # Both masks empty under brats2026: undefined for A, which is right, and 0 for B, which invents a tumour.
    models = {"A": dice(0.9, NAN, 0.7, NAN, 0.6), "B": dice(0.8, 0.0, 0.6, NAN, 0.7)}
    comparison = compare(models, metrics=["dice"])
    found = only(comparison)
    assert (found.pairs, found.dropped, found.only_first_undefined, found.only_second_undefined) == (3, 2, 1, 0)
    assert found.mean == pytest.approx((0.1 + 0.1 - 0.1) / 3)
    assert [scores.cases for scores in comparison.scores] == [3, 4]
    assert (comparison.ranking.cases, comparison.ranking.left_out) == (3, 2)
    said = " ".join(comparison.caveats)
    assert "Dice, WT: 1 case with a value for B and none for A, left out of this pair: the comparison is blind" in said
    assert "2 cases left out: without a value in one of both." in reading(found, 1, 0.05)


def test_an_infinite_distance_counts_as_undefined() -> None:
    models = {
        "A": evaluation({"WT": {"hd95_mm": [3.0, math.inf, 2.0]}}),
        "B": evaluation({"WT": {"hd95_mm": [4.0, math.inf, 4.0]}}),
    }
    found = only(compare(models, metrics=["hd95_mm"]))
    assert (found.pairs, found.dropped, found.mean) == (2, 1, -1.5)
    assert (found.first_better, found.second_better) == (2, 0)  # lower is better, the difference is negative


def test_cases_of_one_model_only_are_left_out_and_said() -> None:
    models = {"A": dice(0.9, 0.8, 0.1, cases=["X", "Y", "Z"]), "B": dice(0.7, 0.5, cases=["Y", "X"])}
    comparison = compare(models, metrics=["dice"])
    assert comparison.cases == ("X", "Y")
    assert only(comparison).mean == pytest.approx(((0.9 - 0.5) + (0.8 - 0.7)) / 2)
    assert (
        "1 case (Z) of A left out: not in every evaluation; the comparison is about the other 2." in comparison.caveats
    )


def test_five_cases_cannot_support_a_claim() -> None:
    # All five better by far: p = 2 / 2^5 = 0.0625, the least there is.
    comparison = compare(
        {"A": dice(0.91, 0.92, 0.93, 0.94, 0.95), "B": dice(0.1, 0.2, 0.1, 0.2, 0.1)}, metrics=["dice"]
    )
    found = only(comparison)
    assert found.p == found.smallest_p_holm == pytest.approx(0.0625)
    assert found.low > 0.5  # the interval alone would claim it
    assert verdict(found, 0.05) == "too few cases"
    assert comparison.caveats[0] == (
        "The one test cannot reach p 0.05 with so few cases, whatever the scores: the clearest of them needs 6 pairs "
        "that differ (2 / 2^pairs, times 1 by Holm)."
    )
    assert "The rank test cannot reach p 0.05 with 5 cases, whatever the ranks." in comparison.caveats
    assert "With 5 pairs the bootstrap intervals are too narrow" in " ".join(comparison.caveats)


def test_equal_cases_do_not_help_the_others_to_significance() -> None:
    # Of 30 pairs only five differ: five signs.
    base = [0.8] * 30
    better = [0.9] * 5 + [0.8] * 25
    found = only(compare({"A": dice(*better), "B": dice(*base)}, metrics=["dice"]))
    assert verdict(found, 0.05) == "too few cases"
    assert "5 of 30 pairs differ: p cannot be below 0.0625" in reading(found, 1, 0.05)
    same = only(compare({"A": dice(*base), "B": dice(*base)}, metrics=["dice"]))
    assert verdict(same, 0.05) == "equal"
    assert (same.p, same.mean, math.isnan(same.dz)) == (1.0, 0.0, True)


def test_a_clear_gain_is_called_better_in_the_metrics_own_direction() -> None:
    comparison = compare(random_models(30, gain=0.05))
    assert {verdict(each, 0.05) for each in comparison.differences} == {"two better"}
    signs = {(each.metric, each.mean > 0) for each in comparison.differences}
    assert signs == {("dice", False), ("hd95_mm", True)}  # one - two: lower Dice, longer distance
    assert comparison.ranking.order == ["two", "one"]


def test_noise_is_not_shown_and_what_it_would_take_is_said() -> None:
    models = {"A": dice(*[0.8] * 40), "B": dice(*[0.74, 0.85, 0.76, 0.83] * 10)}  # 0.06, -0.05, 0.04, -0.03
    comparison = compare(models, metrics=["dice"])
    found = only(comparison)
    assert verdict(found, 0.05) == "not shown"
    said = reading(found, 1, 0.05)
    ratio = (found.high - found.low) / abs(found.mean)
    assert f"the interval holds 0, {ratio:.3g} times as wide as the difference" in said
    # Normal approximation of the t-test, over Wilcoxon's efficiency 3 / pi: (1.960 + 0.842)^2 / dz^2 / 0.955 + 1.92.
    assert found.cases_needed == pytest.approx((1.960 + 0.8416) ** 2 / found.dz**2 / 0.9549 + 1.92, abs=1)
    assert "Not shown does not mean equal" in " ".join(comparison.caveats)


def test_a_mean_carried_by_few_cases_is_called_unclear() -> None:
    # A is a little worse on 27 of 30 cases and far better on three, where B fails.
    first = [0.80 - 0.001 * index / 30 for index in range(27)] + [0.8] * 3
    second = [0.81] * 27 + [0.0] * 3
    found = only(compare({"A": dice(*first), "B": dice(*second)}, metrics=["dice"]))
    assert found.mean > 0 > found.rank_biserial
    assert found.p_holm < 0.05
    assert verdict(found, 0.05) == "unclear"


def test_several_scans_of_a_patient_are_not_independent() -> None:
    names = ["BraTS-GLI-00001-100", "BraTS-GLI-00001-101", "BraTS-GLI-00002-100"]
    models = {"A": dice(0.9, 0.8, 0.7, cases=names), "B": dice(0.8, 0.9, 0.6, cases=names)}
    said = " ".join(compare(models, metrics=["dice"]).caveats)
    assert "1 patient has several cases, which are treated as independent" in said


def test_other_protocols_truths_cases_and_regions_are_refused() -> None:
    with pytest.raises(DataError, match=r"legacy.*brats2023"):
        compare({"A": dice(0.9), "B": dice(0.8, protocol="brats2023")}, metrics=["dice"])
    with pytest.raises(DataError):
        compare({"A": dice(0.9, cases=["X"]), "B": dice(0.8, cases=["Y"])}, metrics=["dice"])
    with pytest.raises(DataError):
        compare({"A": dice(0.9), "B": evaluation({"ET": {"dice": [0.8]}})}, metrics=["dice"])
    truths = [evaluation({"WT": {"dice": [0.9], "volume_truth_mm3": [volume]}}) for volume in (1000.0, 1001.0)]
    with pytest.raises(DataError, match=r"WT.*C0.*1000.*1001"):
        compare(dict(zip("AB", truths, strict=True)), metrics=["dice"])


def test_metrics_and_names_that_cannot_be_compared_are_refused() -> None:
    models = {"A": dice(0.9), "B": dice(0.8)}
    with pytest.raises(ConfigurationError, match=r"dise.*dice, iou"):
        compare(models, metrics=["dise"])
    with pytest.raises(ConfigurationError, match="volume_truth_mm3"):
        compare(models, metrics=["volume_truth_mm3"])
    with pytest.raises(ConfigurationError, match=r"brier.*A, B"):
        compare(models, metrics=["brier"])
    with pytest.raises(ConfigurationError, match=r"C.*A, B"):
        compare(models, against="C")
    with pytest.raises(ConfigurationError):
        compare({"A": dice(0.9)})


def test_the_protocols_own_metrics_are_the_default() -> None:
    assert compare(random_models(3)).metrics == ("dice", "hd95_mm")
    lesions = evaluation({"WT": {"lesion_dice": [0.5], "lesion_hd95_mm": [9.0]}}, protocol="brats2023:met")
    assert compare({"A": lesions, "B": lesions}).metrics == ("lesion_dice", "lesion_hd95_mm")


def test_one_case_has_no_spread_and_no_interval() -> None:
    comparison = compare({"A": dice(0.9), "B": dice(0.8)}, metrics=["dice"])
    found = only(comparison)
    assert found.p == 1.0
    assert all(math.isnan(value) for value in (found.sd, found.low, found.high, found.dz, found.dz_low))
    assert "n/a" in as_text(comparison)


def test_json_has_no_number_that_json_does_not_know() -> None:
    comparison = compare({"A": dice(0.9, NAN), "B": dice(0.8, 0.4)}, metrics=["dice"])
    text = json.dumps(as_json(comparison), allow_nan=False)
    content = json.loads(text)
    assert content["differences"][0]["dz"] is None
    assert content["differences"][0]["verdict"] == "too few cases"
    assert content["settings"]["tests_corrected_by_holm"] == 1
    assert content["ranking"]["mean_ranks"] == {"A": 1.0, "B": 2.0}


def test_seeds_repeat_and_differ() -> None:
    models = random_models(20, gain=0.005)
    assert as_json(compare(models, seed=4)) == as_json(compare(models, seed=4))
    assert compare(models, seed=4).differences[0].low != compare(models, seed=5).differences[0].low


def test_text_is_aligned_and_markdown_and_csv_say_the_same() -> None:
    comparison = compare(random_models(12, gain=0.05))
    text = as_text(comparison)
    lines = text.splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("Differences: Dice"))
    header, rows = lines[start + 2], lines[start + 4 : start + 8]
    assert header.split()[:5] == ["region", "first", "-", "second", "verdict"]
    assert {row.rindex(" / ") for row in rows} == {rows[0].rindex(" / ")}
    assert [row.split()[0] for row in rows] == ["E", "T", "W", "average"]
    assert "two better" in rows[0]
    markdown = as_markdown(comparison)
    assert "## Differences: Dice (higher is better)" in markdown
    cells = [line.count("|") for line in markdown.splitlines() if line.startswith("| E | one - two")]
    assert cells == [9, 9]  # 8 columns, for Dice and HD95
    table = [line.split(",") for line in as_csv(comparison).splitlines()]
    assert len(table) == 1 + 8
    assert {len(row) for row in table} == {len(table[0])}
    first = dict(zip(table[0], table[1], strict=True))
    assert (first["first"], first["metric"], first["region"], first["verdict"]) == ("one", "dice", "E", "two better")
    assert float(first["first_mean"]) - float(first["second_mean"]) == pytest.approx(float(first["mean"]), abs=2e-6)
