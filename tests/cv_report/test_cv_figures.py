"""The figures: written as PNG and PDF, every model in its colour, the same numbers the same bytes."""

from pathlib import Path

import matplotlib.colors
import matplotlib.image
import numpy as np
import pytest

from nnunetv2_comnet.cv_report.figures import dice_against_volume, fold_dots, region_bars, reliability_diagram
from nnunetv2_comnet.cv_report.plots import COLOURS
from nnunetv2_comnet.cv_report.slices import best_median_worst
from nnunetv2_comnet.cv_report.summary import CvTable, Row
from nnunetv2_comnet.evaluation.results import SCORED, CaseScores, Evaluation

NAMES = ("SegResNet", "MedNeXt", "CoMNeT")


def pixels(path: Path, colour: str) -> int:
    picture = matplotlib.image.imread(path)[..., :3]
    return int((np.abs(picture - matplotlib.colors.to_rgb(colour)).max(axis=-1) < 0.02).sum())


def table(models: int = 3, folds: int = 5) -> CvTable:
    rng = np.random.default_rng(0)
    rows = [Row(name, name, tuple(range(folds)), 10, rng.uniform(0.6, 0.9, (folds, 4))) for name in NAMES[:models]]
    return CvTable("dice", ("ET", "TC", "WT", "average"), tuple(rows))


def evaluation(seed: int, cases: int = 12) -> Evaluation:
    rng = np.random.default_rng(seed)
    volumes = 10 ** np.random.default_rng(99).uniform(2, 5, (cases, 3))
    volumes[0, 0] = 0  # a case without ET
    scores = [
        {
            region: {"dice": float(rng.uniform(0.3, 1)), "volume_truth_mm3": float(volumes[case, place])}
            for place, region in enumerate(("ET", "TC", "WT"))
        }
        for case in range(cases)
    ]
    listed = tuple(CaseScores(f"C{index:02d}", SCORED, "", regions) for index, regions in enumerate(scores))
    return Evaluation("legacy", "ref", "pred", ("ET", "TC", "WT"), listed)


def bins(shift: float) -> dict:
    centres = (np.arange(10) + 0.5) / 10
    observed = np.clip(centres + shift, 0, 1)
    place = {
        "tumour": {
            "voxels": [1000.0] * 9 + [0.0],
            "probability": [*centres[:9], None],
            "observed": [*observed[:9], None],
        }
    }
    return {
        "edges": [edge / 10 for edge in range(11)],
        "tumour_margin_mm": 10.0,
        "regions": {"WT": place, "TC": place, "ET": place},
    }


@pytest.mark.parametrize("models", [1, 3])
@pytest.mark.parametrize("draw", [fold_dots, region_bars])
def test_scores_are_drawn_in_every_models_colour(draw, models: int, tmp_path: Path) -> None:
    files = draw(table(models), tmp_path / "figure", "a title")
    assert sorted(path.name for path in files) == ["figure.pdf", "figure.png"]
    assert sorted(tmp_path.iterdir()) == sorted(files)
    for index in range(3):
        assert (pixels(tmp_path / "figure.png", COLOURS[index]) > 100) == (index < models)


def test_bars_reach_as_high_as_the_means(tmp_path: Path) -> None:
    # One model at 0.5, one at 1: about twice as many coloured pixels (dots and whiskers hide some).
    rows = [Row(name, name, (0, 1), 2, np.full((2, 4), value)) for name, value in (("a", 0.5), ("b", 1.0))]
    region_bars(CvTable("dice", ("ET", "TC", "WT", "average"), tuple(rows)), tmp_path / "bars", "t")
    half, whole = (pixels(tmp_path / "bars.png", COLOURS[index]) for index in range(2))
    assert whole / half == pytest.approx(2, rel=0.1)


def test_a_single_fold_is_drawn_without_a_deviation(tmp_path: Path) -> None:
    for draw in (fold_dots, region_bars):
        assert draw(table(2, folds=1), tmp_path / draw.__name__, "t")[0].stat().st_size > 5000


def test_dice_against_volume(tmp_path: Path) -> None:
    dice_against_volume({"a": evaluation(0), "b": evaluation(1)}, tmp_path / "volume", "t")
    assert pixels(tmp_path / "volume.png", COLOURS[0]) > 50  # the trend's line; the dots are half transparent
    dice_against_volume({"a": evaluation(0, cases=3)}, tmp_path / "few", "t")
    assert pixels(tmp_path / "few.png", COLOURS[0]) == 0  # too few for a trend


def test_reliability(tmp_path: Path) -> None:
    reliability_diagram({"a": bins(0.1), "b": bins(-0.1)}, tmp_path / "reliability", "t")
    assert all(pixels(tmp_path / "reliability.png", COLOURS[index]) > 500 for index in range(2))
    assert (tmp_path / "reliability.pdf").read_bytes().startswith(b"%PDF")


def test_same_numbers_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        fold_dots(table(), tmp_path / name, "t")
    for ending in ("png", "pdf"):
        assert (tmp_path / f"a.{ending}").read_bytes() == (tmp_path / f"b.{ending}").read_bytes()


def _scored(*averages: float) -> Evaluation:
    cases = tuple(
        CaseScores(f"C{index}", SCORED, "", {"ET": {"dice": value}, "TC": {"dice": value}})
        for index, value in enumerate(averages)
    )
    return Evaluation("legacy", "ref", "pred", ("ET", "TC"), cases)


def test_best_median_and_worst_cases() -> None:
    assert best_median_worst(_scored(0.5, 0.9, 0.1, 0.7, 0.6)) == {"best": "C1", "median": "C4", "worst": "C2"}
    assert best_median_worst(_scored(0.1, 0.9, 0.5, 0.7))["median"] == "C2"  # the lower of two
    assert best_median_worst(_scored(0.1, 0.9)) == {"best": "C1", "worst": "C0"}
    assert best_median_worst(_scored(0.4)) == {"best": "C0"}
    assert best_median_worst(_scored(float("nan"))) == {}
