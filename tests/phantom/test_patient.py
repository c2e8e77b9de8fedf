"""What generated patients must be to stand in for real ones: anatomy, contrast, tumour, noise."""

from itertools import pairwise

import numpy as np
import pytest

from nnunetv2_comnet.errors import ConfigurationError
from nnunetv2_comnet.evaluation.dice import dice
from nnunetv2_comnet.label_schemes import BRATS_123, ED, ET, NCR
from nnunetv2_comnet.phantom.contrast import SEQUENCES, rician
from nnunetv2_comnet.phantom.patient import PhantomPatient, generate
from nnunetv2_comnet.phantom.tumour import plan
from nnunetv2_comnet.regions import ENHANCING_TUMOR

PURE = 0.9


@pytest.fixture(scope="module")
def patients() -> list[PhantomPatient]:
    return [generate((0, number), 4.0) for number in range(1, 9)]


@pytest.fixture(scope="module")
def fine() -> PhantomPatient:
    """At 2 mm, so that thin tissues fill whole voxels."""
    return generate((0, 1), 2.0)


def _median(patient: PhantomPatient, sequence: str, tissue: str) -> float:
    chosen = (patient.tissue[tissue] > PURE) & (patient.mask == 0) & (patient.tissue["vessel"] < 0.05)
    assert chosen.sum() > 20, f"too little pure {tissue}"
    return float(np.median(patient.images[sequence][chosen]))


def test_images_have_the_grid_and_types_of_brats(patients: list[PhantomPatient]) -> None:
    for patient in patients:
        assert list(patient.images) == list(SEQUENCES)
        assert {image.shape for image in patient.images.values()} == {(39, 60, 60)}
        assert {image.dtype for image in patient.images.values()} == {np.dtype(np.int16)}
        assert patient.mask.dtype == np.uint8


def test_all_sequences_share_one_brain_and_are_zero_around_it(patients: list[PhantomPatient]) -> None:
    for patient in patients:
        brain = sum(patient.tissue[name] for name in ("csf", "grey", "deep_grey", "white")) > 0
        for image in patient.images.values():
            assert np.array_equal(image != 0, brain)
            assert image.min() >= 0
        litres = brain.sum() * patient.spacing_mm**3 / 1e6
        assert 0.95 < litres < 1.75, "the size of a human brain"
        for border in (brain[:, 0], brain[:, -1], brain[:, :, 0], brain[:, :, -1]):
            assert not border.any()


def test_tissue_shares_sum_to_one_inside_the_brain(fine: PhantomPatient) -> None:
    total = sum(fine.tissue[name] for name in ("csf", "grey", "deep_grey", "white"))
    assert np.allclose(total[fine.images["T1n"] > 0], 1, atol=1e-5)


@pytest.mark.parametrize(
    ("sequence", "bright_to_dark"),
    [
        ("T1n", ("white", "grey", "csf")),
        ("T1c", ("white", "grey", "csf")),
        ("T2w", ("csf", "grey", "white")),
        ("FLAIR", ("grey", "white", "csf")),
    ],
)
def test_each_sequence_orders_the_tissues_as_its_physics_does(
    fine: PhantomPatient, sequence: str, bright_to_dark: tuple[str, ...]
) -> None:
    medians = [_median(fine, sequence, tissue) for tissue in bright_to_dark]
    assert medians == sorted(medians, reverse=True)


def test_vessels_are_bright_after_contrast_only(fine: PhantomPatient) -> None:
    vessel = (fine.tissue["vessel"] > 0.8) & (fine.mask == 0)
    relative = {
        sequence: np.median(fine.images[sequence][vessel]) / _median(fine, sequence, "white")
        for sequence in ("T1n", "T1c")
    }
    assert relative["T1n"] < 1 < 1.3 < relative["T1c"]


def test_lesions_look_as_lesions_do(fine: PhantomPatient) -> None:
    def relative(sequence: str, label: int) -> float:
        return float(np.median(fine.images[sequence][fine.mask == label])) / _median(fine, sequence, "white")

    assert relative("T1c", ET) > 1.2 > 0.9 > relative("T1c", NCR), "a bright rim around a dark core"
    assert relative("FLAIR", ED) > 1.25
    assert relative("T2w", ED) > 1.4
    assert relative("T1n", NCR) < 0.85


def test_noise_is_rician() -> None:
    """Without signal it has Rayleigh's mean, sigma * sqrt(pi / 2); far above the noise, sqrt(signal^2 + sigma^2)."""
    rng = np.random.default_rng(0)
    dark, bright = (rician(np.full((60, 60, 60), value, np.float32), 0.1, rng) for value in (0.0, 1.0))
    assert dark.min() >= 0
    assert dark.mean() == pytest.approx(0.1 * np.sqrt(np.pi / 2), rel=0.01)
    assert bright.mean() == pytest.approx(np.sqrt(1 + 0.1**2), rel=0.005)
    assert bright.std() == pytest.approx(0.1, rel=0.02)


def test_scans_are_noisy(fine: PhantomPatient) -> None:
    white = (fine.tissue["white"] > 0.999) & (fine.mask == 0)
    for image in fine.images.values():
        differences = np.diff(image.astype(float), axis=0)[white[1:] & white[:-1]]
        width = 1.4826 * np.median(np.abs(differences)) / np.sqrt(2)
        assert 0.01 < width / np.median(image[white]) < 0.1


def test_labels_nest_within_the_brain(patients: list[PhantomPatient]) -> None:
    for patient in patients:
        for mask in (patient.mask, patient.automatic_mask):
            assert set(np.unique(mask)) <= {0, NCR, ED, ET}
            assert (mask > 0).any()
            assert not mask[patient.images["T1n"] == 0].any()
        agreement = dice(patient.mask > 0, patient.automatic_mask > 0)
        assert 0.7 < agreement < 1, "the automatic mask resembles the truth and is not the truth"


def test_most_tumours_enhance_and_some_do_not(patients: list[PhantomPatient]) -> None:
    plans = [plan(np.random.default_rng(seed)) for seed in range(400)]
    share = np.mean([not each.enhancing for each in plans])
    assert 0.12 < share < 0.22
    assert 0.3 < np.mean([bool(each.satellites) for each in plans]) < 0.6
    enhancing = [bool((patient.mask == ET).any()) for patient in patients]
    assert any(enhancing)
    assert not all(enhancing)


def test_a_threshold_does_not_solve_the_task(patients: list[PhantomPatient]) -> None:
    """Vessels tempt: no T1c threshold, relative to the brain's median, finds the enhancing tumour."""
    labels = BRATS_123.regions[ENHANCING_TUMOR]
    cases = [patient for patient in patients if np.isin(patient.mask, labels).any()]
    for factor in np.arange(1.1, 2.6, 0.1):
        scores = []
        for patient in cases:
            image = patient.images["T1c"]
            scores.append(dice(image > factor * np.median(image[image > 0]), np.isin(patient.mask, labels)))
        assert np.mean(scores) < 0.7


@pytest.mark.parametrize("number", [1, 3])
def test_anatomy_is_defined_in_mm_not_in_voxels(number: int, patients: list[PhantomPatient]) -> None:
    coarse, fine = patients[number - 1], generate((0, number), 2.0)
    for one, other in (
        (coarse.mask > 0, fine.mask > 0),
        (np.isin(coarse.mask, (NCR, ET)), np.isin(fine.mask, (NCR, ET))),
        (coarse.images["T1n"] > 0, fine.images["T1n"] > 0),
    ):
        assert one.sum() * 4.0**3 == pytest.approx(other.sum() * 2.0**3, rel=0.15)


def test_other_seeds_are_other_patients(patients: list[PhantomPatient]) -> None:
    for first, second in pairwise(patients):
        assert not np.array_equal(first.mask, second.mask)
        assert not np.array_equal(first.images["T2w"], second.images["T2w"])


@pytest.mark.parametrize("spacing_mm", [0.0, -1.0, 0.1, 30.0, float("nan")])
def test_impossible_spacing_is_refused(spacing_mm: float) -> None:
    with pytest.raises(ConfigurationError):
        generate(1, spacing_mm)
