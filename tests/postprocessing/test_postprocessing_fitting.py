"""Fitting on constructed cross-validation predictions whose right answer is known."""

from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage

from nnunetv2_comnet.errors import ConfigurationError, DataError
from nnunetv2_comnet.evaluation.dice import region_dice
from nnunetv2_comnet.evaluation.protocols import PROTOCOLS
from nnunetv2_comnet.label_schemes import BRATS_123
from nnunetv2_comnet.postprocessing import measuring
from nnunetv2_comnet.postprocessing.families import (
    Family,
    lowest_threshold,
    preset_family,
    standard_families,
)
from nnunetv2_comnet.postprocessing.fitting import Fit, Off, fit
from nnunetv2_comnet.postprocessing.measuring import MARGIN, Question
from nnunetv2_comnet.postprocessing.predictions import PredictedCase
from nnunetv2_comnet.postprocessing.probability_rules import Thresholds
from nnunetv2_comnet.postprocessing.rules import DropSmallComponents
from tests.postprocessing.ascii_volumes import REGIONS
from tests.postprocessing.held_out_cases import SHAPE, Cases, cases_of, tumour, with_specks

FAMILIES = {(family.rule, family.region): family for family in standard_families(REGIONS)}
WT_SIZES = FAMILIES["drop-small-components", "WT"]


def fitted(cases: Cases, families: list[Family] | None = None, **question: object) -> Fit:
    return fit(cases.held, families or list(FAMILIES.values()), cases.question(**question))  # type: ignore[arg-type]


def test_false_specks_in_every_fold_are_dropped_with_the_least_size_that_does() -> None:
    # 1, 2 or 3 false lesions of 5 voxels a case: lesion-wise Dice of WT 1/2, 1/3, 1/4; of TC and ET 1.
    cases = cases_of({fold: [([5], []), ([5, 5], []), ([5, 5, 5], [])] for fold in range(3)})
    found = fitted(cases)
    assert [rule.as_json() for rule in found.rules] == [
        {
            "rule": "drop-small-components",
            "region": "WT",
            "min_voxels": 10,  # of 2, 5, 10, ...: the first that is more than 5
            "spare_up_to_voxels": 0,
            "keep_inner": False,
            "connectivity": 26,
        }
    ]
    gain = (1 / 2 + 2 / 3 + 3 / 4) / 3 / 3  # mean over cases, and over regions of which one gains
    assert found.gain.mean == pytest.approx(gain)
    assert 0 < found.gain.low < gain < found.gain.high
    assert found.before[0, 0] == pytest.approx((1 / 2 + 1 / 3 + 1 / 4) / 3)
    assert found.after.tolist() == [[1.0], [1.0], [1.0]]
    step = next(step for step in found.steps if step.kept)
    assert (step.chosen, step.by_fold, step.changed) == (10, {0: 10, 1: 10, 2: 10}, 9)
    assert step.gains[:2] == (0.0, 0.0)  # 2 and 5 drop nothing
    assert step.gains[2] == pytest.approx(gain)
    others = [other for other in found.steps if other is not step]
    assert all(not other.kept for other in others)
    # From 1000 voxels on there would be nothing left of TC or ET (216, 64 voxels): no value of theirs helps.
    assert {other.why for other in others} == {"no value is better than none", "changes no case"}


def test_a_rule_that_changes_nothing_is_not_kept() -> None:
    found = fitted(cases_of({fold: [([], [])] * 2 for fold in range(2)}), [FAMILIES["fill-holes", "WT"]])
    (step,) = found.steps
    assert (step.kept, step.why, step.chosen, step.changed) == (False, "changes no case", Off, 0)
    assert found.rules == ()
    assert (found.gain.mean, found.gain.low, found.gain.high) == (0, 0, 0)


def test_a_harmful_rule_is_not_kept() -> None:
    # The specks are true: dropping them lowers Dice in every case.
    found = fitted(cases_of({fold: [([], [5, 5])] * 2 for fold in range(3)}), metric="dice")
    assert found.rules == ()
    step = next(step for step in found.steps if step.family is WT_SIZES)
    assert (step.chosen, step.why) == (Off, "no value is better than none")
    # Dice of WT without the ten voxels: 2 x 1000 / (1000 + 1010).
    assert step.gains[2] == pytest.approx((2000 / 2010 - 1) / 3)
    assert (step.nested.mean, step.changed) == (0, 0)


def test_a_gain_here_and_a_harm_there_is_not_kept() -> None:
    # In each fold 4 cases have a false speck, 2 a true one: the mean gain is above 0, the interval reaches below.
    members = [([5], [])] * 4 + [([], [5])] * 2
    found = fitted(cases_of({0: members, 1: members}), [WT_SIZES], metric="dice")
    (step,) = found.steps
    assert step.chosen == 10
    assert step.nested.mean == pytest.approx((8 - 4) / 12 * (1 - 2000 / 2005) / 3)
    assert step.nested.low < 0 < step.nested.high
    assert (step.kept, step.why) == (False, "the interval of the gain reaches below 0")
    assert found.rules == ()


def test_a_gain_on_one_fold_alone_is_none_on_cases_that_did_not_choose_it() -> None:
    found = fitted(cases_of({0: [([5], [])] * 3, 1: [([], [])] * 3, 2: [([], [])] * 3}), [WT_SIZES])
    (step,) = found.steps
    # For fold 0's cases the others choose nothing; for theirs fold 0 chooses 10, which changes nothing there.
    assert step.by_fold == {0: Off, 1: 10, 2: 10}
    assert (step.kept, step.why) == (False, "no gain on cases that did not choose the value")


def test_no_case_is_measured_under_a_value_that_its_fold_chose() -> None:
    # False specks of 5 voxels in fold 0, of 25 in fold 1, none in fold 2.
    folds = {0: [([5], [])] * 2, 1: [([25], [])] * 2, 2: [([], [])] * 2}
    found = fitted(cases_of(folds), [WT_SIZES])
    (step,) = found.steps
    # Fold 0 is judged by what 1 and 2 choose (30 is the first above 25), fold 1 by what 0 and 2 choose (10).
    assert step.by_fold == {0: 30, 1: 10, 2: 30}
    assert step.chosen == 30
    # Dropping under 30 helps fold 0; under 10 leaves fold 1's specks: (1/2, 1/2, 0, 0, 0, 0), a third of it in WT.
    assert step.nested.mean == pytest.approx(2 * (1 / 2) / 3 / 6)
    assert step.gains[5] == pytest.approx(4 * (1 / 2) / 3 / 6)  # not nested: both folds gain
    assert step.kept
    assert found.gain == step.nested


@pytest.mark.parametrize("fold", [0, 1, 2])
def test_a_folds_own_cases_do_not_move_what_they_are_measured_under(fold: int) -> None:
    folds = {0: [([5], []), ([8], [])], 1: [([25], []), ([12], [5])], 2: [([5, 60], []), ([9], [])]}
    before = fitted(cases_of(folds), [WT_SIZES], metric="both")
    others = {**folds, fold: [([150], [])] * 4}
    after = fitted(cases_of(others), [WT_SIZES], metric="both")
    assert after.steps[0].by_fold[fold] == before.steps[0].by_fold[fold]
    assert after.steps[0].chosen != before.steps[0].chosen  # the cases matter for all others


def test_later_rules_are_nested_on_top_of_the_folds_own_earlier_ones() -> None:
    # Fold 0 has false specks of 5, the others of 25. ET: four voxels in all that should not be (TC and WT are true).
    cases = Cases()
    truth = tumour()
    truth[truth == 3] = 1
    for fold, size in ((0, 5), (0, 5), (1, 25), (1, 25), (2, 25), (2, 25)):
        prediction = with_specks(truth, [size])
        prediction[6, 6, 6:10] = 3
        cases.add(fold, truth, prediction)
    totals = FAMILIES["drop-small-total", "ET"]
    found = fitted(cases, [WT_SIZES, totals], metric="dice")
    assert [step.kept for step in found.steps] == [True, True]
    assert found.steps[0].by_fold == {0: 30, 1: 30, 2: 30}
    assert [rule.as_json()["min_voxels"] for rule in found.rules] == [30, 25]
    # ET: 0 before (one empty), 1 after; WT: 2 x 1000 / 2005 or 2025, 1 after; TC as it was.
    wt = (2 * (1 - 2000 / 2005) + 4 * (1 - 2000 / 2025)) / 6
    assert found.gain.mean == pytest.approx((1 + wt) / 3)
    assert found.steps[1].nested.mean == pytest.approx(1 / 3)
    # Together they leave the truth.
    assert found.after.tolist() == [[1.0], [1.0], [1.0]]


def test_the_choice_does_not_depend_on_the_number_of_processes() -> None:
    cases = cases_of({0: [([5], []), ([8], [])], 1: [([25], []), ([12], [])]})
    question = Question(BRATS_123.regions, ("dice",), DiceScore(), OnDisk(), 0.5)
    alone = fit(cases.held, [WT_SIZES], stored(cases, question))
    two = fit(cases.held, [WT_SIZES], stored(cases, question), jobs=2)
    assert [(step.chosen, step.nested, step.gains) for step in alone.steps] == [
        (step.chosen, step.nested, step.gains) for step in two.steps
    ]


class DiceScore:
    """Plain Dice; importable, so that a worker process can be handed it."""

    def __call__(self, truth: np.ndarray, prediction: np.ndarray, spacing_mm: tuple[float, ...]) -> dict:
        short = dict(zip(REGIONS, REGIONS.short_names, strict=True))
        return {
            short[name]: {"dice": value} for name, value in region_dice(truth, prediction, BRATS_123.regions).items()
        }


class OnDisk:
    """Carries the masks along: a reader for worker processes."""

    masks: dict[Path, np.ndarray]

    def __call__(self, path: Path) -> tuple[np.ndarray, tuple[float, float, float]]:
        return self.masks[path], (1.0, 1.0, 1.0)


def stored(cases: Cases, question: Question) -> Question:
    reader = OnDisk()
    reader.masks = cases.masks
    return Question(question.regions, question.metrics, question.score, reader, question.lowest)


@pytest.mark.parametrize(("protocol", "metric"), [("brats2023", "both"), ("brats2026", "both"), ("legacy", "dice")])
@pytest.mark.parametrize("seed", range(2))
def test_the_protocols_mean_is_never_worse_on_the_fitted_cases(protocol: str, metric: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    cases = Cases()
    for number in range(9):
        noise = scipy.ndimage.gaussian_filter(rng.normal(size=(16, 17, 18)), 1.2)
        truth = np.digitize(noise / noise.std(), [1.3, 1.7, 2.4 + 2 * (number % 3 == 0)]).astype(np.uint8)
        noise += 0.3 * noise.std() * scipy.ndimage.gaussian_filter(rng.normal(size=noise.shape), 0.6) / 0.3
        prediction = np.digitize(noise / noise.std(), [1.3, 1.7, 2.4]).astype(np.uint8)
        to_written = np.array([0, 2, 1, 3], np.uint8)
        cases.add(number % 3, to_written[truth], to_written[prediction])
    found = fitted(cases, protocol=protocol, metric=metric)
    assert np.nanmean(found.after) >= np.nanmean(found.before)
    assert (found.rules != ()) == any(step.kept for step in found.steps)
    for step in found.steps:
        if step.kept:
            assert step.nested.mean > 0
            assert step.nested.low >= 0
            assert step.changed > 0
    # Measured again without the fitting: the rules give the means that it states.
    again = fit(cases.held, [], cases.question(protocol=protocol, metric=metric))
    assert np.array_equal(again.before, found.before, equal_nan=True)


def test_each_label_map_is_scored_once_and_labelled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = cases_of({0: [([5], []), ([8, 25], [])], 1: [([25], []), ([12], [])]})
    question = cases.question()
    asked: list[bytes] = []
    labelled: list[int] = []

    def score(truth: np.ndarray, prediction: np.ndarray, spacing_mm: tuple[float, ...]) -> object:
        asked.append(prediction.tobytes())
        return question.score(truth, prediction, spacing_mm)

    real = measuring.Volume.components

    def components(self: measuring.Volume, region: str, connectivity: int) -> object:
        if (region, connectivity) not in self._kept:
            labelled.append(1)
        return real(self, region, connectivity)  # type: ignore[arg-type]

    monkeypatch.setattr(measuring.Volume, "components", components)
    counted = Question(question.regions, question.metrics, score, question.reader)  # type: ignore[arg-type]
    fit(cases.held, [WT_SIZES], counted)
    # As predicted; without each false speck in the order of size (8 then 25); without the tumour's 1000 voxels never.
    assert len(asked) == 2 + 3 + 2 + 2
    assert sum(labelled) == len(cases.held)  # 18 sizes, one labelling a case


def test_cropping_changes_no_score() -> None:
    assert max(protocol.margin for protocol in PROTOCOLS.values()) <= MARGIN
    truth = with_specks(tumour(), [70])
    prediction = np.roll(with_specks(tumour(), [25, 5]), 2, axis=2)
    cases = Cases()
    for fold in (0, 1):
        cases.add(fold, np.pad(truth, 25), np.pad(prediction, 25))
    padded = fit(cases.held, [], cases.question(metric="both")).before
    bare = Cases()
    for fold in (0, 1):
        bare.add(fold, truth, prediction)
    assert np.array_equal(padded, fit(bare.held, [], bare.question(metric="both")).before)


def test_presets_stand_against_one_another_and_against_none() -> None:
    # Four false voxels of ET in every case: both of these presets drop them; the first named is taken.
    cases = Cases()
    truth = tumour()
    truth[truth == 3] = 1
    for fold in (0, 0, 1, 1):
        prediction = truth.copy()
        prediction[6, 6, 6:10] = 3
        cases.add(fold, truth, prediction)
    found = fitted(cases, [preset_family(["fakingit2023", "isensee2020"], REGIONS)], metric="dice")
    assert found.steps[0].chosen == "fakingit2023"
    assert len(found.rules) == 3
    real = cases_of({fold: [([], [])] * 2 for fold in range(2)})  # 64 true voxels of ET
    found = fitted(real, [preset_family(["fakingit2023", "isensee2020"], REGIONS)], metric="dice")
    assert (found.rules, found.steps[0].chosen) == ((), Off)


def probable(folder: Path, unsure: float) -> Cases:
    """ET is predicted one plane too small: that plane has the probability `unsure`, the rest 0.9; the truth has it."""
    cases = Cases()
    truth = tumour()
    for number in range(6):
        prediction = truth.copy()
        prediction[6, 6:10, 6:10] = 1
        maps = np.stack([np.isin(truth, labels) * 0.9 for labels in BRATS_123.regions.values()]).astype(np.float32)
        maps[2, 6, 6:10, 6:10] = unsure
        np.savez_compressed(folder / f"{number}.npz", probabilities=maps)
        cases.add(number % 3, truth, prediction, folder / f"{number}.npz")
    return cases


def test_a_threshold_that_helps_is_found(tmp_path: Path) -> None:
    families = standard_families(REGIONS, with_probabilities=True)
    assert lowest_threshold(families) == 0.3
    found = fitted(probable(tmp_path, 0.42), families, metric="dice", lowest=0.3)
    assert [rule.as_json() for rule in found.rules] == [
        {"rule": "thresholds", "thresholds": {"ET": 0.4}, "nesting": "none"}
    ]
    # ET: 48 of 64 voxels, Dice 96 / 112, before; 1 after.
    assert found.gain.mean == pytest.approx((1 - 96 / 112) / 3)
    lower = fitted(probable(tmp_path, 0.2), families, metric="dice", lowest=0.3)
    assert lower.rules == ()


def test_thresholds_of_several_regions_are_one_rule() -> None:
    families = standard_families(REGIONS, with_probabilities=True)
    rules = (DropSmallComponents(region="WT", min_voxels=5),)
    for family, value in zip(families, (0.45, 0.4, 0.6, "full"), strict=False):
        rules = family.extended(rules, value)
    assert rules[0] == Thresholds(thresholds={"WT": 0.45, "TC": 0.4, "ET": 0.6}, nesting="full")
    assert len(rules) == 2


def test_cases_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    one = cases_of({0: [([], [])] * 3})
    with pytest.raises(ConfigurationError):
        fitted(one)
    other = cases_of({0: [([], [])], 1: [([], [])]})
    other.masks[Path("case01-truth")] = np.zeros((2, 3, 4), np.uint8)
    with pytest.raises(DataError, match=r"case01-prediction.*case01-truth.*\(34, 30, 32\)"):
        fitted(other)
    other.masks[Path("case01-truth")] = np.full(SHAPE, 7, np.uint8)
    with pytest.raises(DataError, match=r"case01-truth.*label 7"):
        fitted(other)
    broken = tmp_path / "case.npz"
    broken.write_bytes(b"nothing")
    cases = Cases()
    for fold in (0, 1):
        cases.add(fold, tumour(), tumour(), broken)
    with pytest.raises(DataError, match=r"case\.npz"):
        fitted(cases)
    np.savez(broken, probabilities=np.zeros((3, 2, 2, 2), np.float32))
    with pytest.raises(DataError, match=r"\(3, 2, 2, 2\).*\(3, 34, 30, 32\)"):
        fitted(cases)
    with pytest.raises(ConfigurationError, match=r"legacy.*lesion_dice.*--metric dice"):
        fitted(other, protocol="legacy", metric="both")
    assert PredictedCase("a", 0, Path("p"), Path("t")).probabilities is None
