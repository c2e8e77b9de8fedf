"""Laws that scores obey on any masks, and the numbers that the challenges' own scripts gave on recorded ones."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from nnunetv2_comnet.evaluation.case_scores import score_case
from nnunetv2_comnet.evaluation.protocols import PROTOCOLS, protocol_named
from nnunetv2_comnet.label_schemes import BRATS_123, ED, ET, NCR

OFFICIAL = Path(__file__).parent / "official_scores.json"
NAMES = ("legacy", "brats2023", "brats2024", "brats2026")
SYMMETRIC = ("dice", "iou", "hd95_mm", "assd_mm", "nsd_0.5mm", "nsd_1mm", "nsd_2mm")


def labels(seed: int, shape: tuple[int, int, int] = (18, 22, 20)) -> tuple[np.ndarray, np.ndarray]:
    """Two label maps that resemble one another, with lesions of several sizes."""
    rng = np.random.default_rng(seed)
    fields = [gaussian_filter(rng.standard_normal(shape), 1.4) for _ in range(2)]
    fields = [field / field.std() for field in fields]

    def painted(field: np.ndarray) -> np.ndarray:
        return np.select([field > 2.2, field > 1.8, field > 1.3], [NCR, ET, ED], 0).astype(np.uint8)

    return painted(fields[0]), painted(0.85 * fields[0] + 0.53 * fields[1])


def assert_same(first: dict, second: dict, metrics: tuple[str, ...] | None = None) -> None:
    for region, scores in first.items():
        for metric, value in scores.items():
            if metrics is None or metric in metrics:
                assert second[region][metric] == pytest.approx(value, rel=1e-9, nan_ok=True), (region, metric)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (3.0, 1.0, 0.5)])
def test_the_image_around_the_masks_changes_nothing(name: str, spacing: tuple[float, float, float]) -> None:
    # Scores are computed in a box around the labels. Uneven empty borders move that box, and the image's edge.
    truth, prediction = labels(0)
    tight = score_case(truth, prediction, spacing, BRATS_123.regions, name)
    wide = [np.pad(mask, ((0, 9), (7, 3), (12, 0))) for mask in (truth, prediction)]
    assert_same(tight, score_case(*wide, spacing, BRATS_123.regions, name))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 1, 2)])
def test_a_mirror_image_scores_the_same(name: str, axes: tuple[int, ...]) -> None:
    truth, prediction = labels(1)
    mirrored = [np.flip(mask, axes) for mask in (truth, prediction)]
    straight = score_case(truth, prediction, (2.0, 1.0, 0.7), BRATS_123.regions, name)
    assert_same(straight, score_case(*mirrored, (2.0, 1.0, 0.7), BRATS_123.regions, name))


@pytest.mark.parametrize("name", NAMES)
def test_turned_axes_with_turned_spacing_score_the_same(name: str) -> None:
    truth, prediction = labels(2)
    straight = score_case(truth, prediction, (3.0, 1.0, 0.5), BRATS_123.regions, name)
    turned = score_case(
        truth.transpose(2, 0, 1), prediction.transpose(2, 0, 1), (0.5, 3.0, 1.0), BRATS_123.regions, name
    )
    assert_same(straight, turned)


@pytest.mark.parametrize("name", ["legacy", "brats2023", "brats2026"])
def test_what_is_symmetric(name: str) -> None:
    # 2024 filters the prediction only, so nothing of it is symmetric.
    truth, prediction = labels(3)
    there = score_case(truth, prediction, (2.0, 1.0, 1.0), BRATS_123.regions, name)
    back = score_case(prediction, truth, (2.0, 1.0, 1.0), BRATS_123.regions, name)
    assert_same(there, back, SYMMETRIC)
    for region, scores in there.items():
        assert scores["precision"] == back[region]["sensitivity"]
        assert scores["volume_difference_mm3"] == -back[region]["volume_difference_mm3"]
        if name == "brats2026":
            assert (scores["lesion_fp"], scores["lesion_f1"]) == (back[region]["lesion_fn"], back[region]["lesion_f1"])


@pytest.mark.parametrize("name", NAMES)
def test_distances_grow_with_the_voxels(name: str) -> None:
    truth, prediction = labels(4)
    once = score_case(truth, prediction, (1.0, 1.0, 1.0), BRATS_123.regions, name)
    twice = score_case(truth, prediction, (2.0, 2.0, 2.0), BRATS_123.regions, name)
    for region, scores in once.items():
        assert twice[region]["hd95_mm"] == pytest.approx(2 * scores["hd95_mm"])
        assert twice[region]["assd_mm"] == pytest.approx(2 * scores["assd_mm"])
        assert twice[region]["nsd_2mm"] == pytest.approx(scores["nsd_1mm"])
        assert twice[region]["volume_truth_mm3"] == 8 * scores["volume_truth_mm3"]


@pytest.mark.parametrize("name", NAMES)
def test_a_perfect_prediction_is_perfect(name: str) -> None:
    truth, _ = labels(5)
    for scores in score_case(truth, truth, (1.0, 1.0, 1.0), BRATS_123.regions, name).values():
        assert scores["dice"] == 1 or name == "brats2024"  # there the prediction's specks are taken out
        assert scores["precision"] == 1
        assert scores["hd95_mm"] == 0 or name == "brats2024"


@pytest.mark.parametrize("seed", [0, 6])
def test_dice_agrees_with_the_one_of_the_tables(seed: int) -> None:
    from nnunetv2_comnet.evaluation.dice import region_dice

    truth, prediction = labels(seed)
    expected = region_dice(truth, prediction, BRATS_123.regions)
    scores = score_case(truth, prediction, (1.0, 1.0, 1.0), BRATS_123.regions, "legacy", only={"dice"})
    assert [region["dice"] for region in scores.values()] == list(reversed(expected.values()))


@pytest.mark.parametrize("name", [name for name in PROTOCOLS if name != "legacy"])
def test_the_scripts_of_the_challenges_gave_these_numbers(name: str) -> None:
    # official_scores.json says which scripts, and how the masks are written: runs of equal labels along x, y, z.
    recorded = json.loads(OFFICIAL.read_text())
    for case in recorded["cases"]:
        truth, prediction = (
            np.repeat(*np.array(case[which], np.int64).T).astype(np.uint8).reshape(case["shape_zyx"])
            for which in ("truth", "prediction")
        )
        rules = protocol_named(name)
        found = score_case(truth, prediction, case["spacing_mm_zyx"], rules.regions, rules)
        for region, scores in case["scores"].get(name, {}).items():
            for metric, value in scores.items():
                assert found[region][metric] == pytest.approx(value, rel=1e-6, abs=1e-9, nan_ok=True), (region, metric)
