"""The winners' presets against their description: numbers, and plain loops that do what the table says."""

import numpy as np
import pytest
import scipy.ndimage

from nnunetv2_comnet.errors import ConfigurationError
from nnunetv2_comnet.label_schemes import BRATS_CAVITY
from nnunetv2_comnet.postprocessing.presets import PRESETS, preset_named, preset_rules
from nnunetv2_comnet.postprocessing.rule_list import apply_rules
from nnunetv2_comnet.postprocessing.volume import Volume
from nnunetv2_comnet.regions import Regions
from tests.postprocessing.ascii_volumes import REGIONS

CAVITY = BRATS_CAVITY.regions


def line(*lengths: int, label: int = 3) -> np.ndarray:
    """Components of so many voxels in a row of oedema, two voxels apart: (1, 1, X) uint8."""
    pieces = [piece for length in lengths for piece in ([label] * length, [2, 2])]
    return np.array([[[2, *(value for piece in pieces for value in piece)]]], np.uint8)


def lengths(labels: np.ndarray, label: int = 3) -> list[int]:
    """The components' sizes, in their order."""
    numbers, count = scipy.ndimage.label(labels == label)
    return [int((numbers == number).sum()) for number in range(1, count + 1)]


def applied(name: str, labels: np.ndarray, et_probability: float | None = None) -> np.ndarray:
    """The preset on a label map; with a probability, the maps say the label map, ET with that probability."""
    maps = None
    if et_probability is not None:
        maps = np.stack([labels > 0, np.isin(labels, (1, 3)), (labels == 3) * et_probability]).astype(np.float32)
    return apply_rules(preset_rules(name, REGIONS), Volume(labels, REGIONS, (1, 1, 1), maps)).labels


def test_the_names_are_the_tables() -> None:
    assert list(PRESETS) == [
        "isensee2020",
        "kaist2021",
        "nvidia2021_paper",
        "nvidia2021_code",
        "nvidia2022_code",
        "fakingit2023",
        "fakingit2024",
        "biomedmbz",
    ]
    needing = [name for name, preset in PRESETS.items() if preset.uses_probabilities]
    assert needing == ["nvidia2021_paper", "nvidia2021_code", "nvidia2022_code"]


@pytest.mark.parametrize("name", ["isensee2020", "kaist2021", "biomedmbz"])
def test_under_200_voxels_of_enhancing_tumour_become_necrosis(name: str) -> None:
    few, enough = line(150, 49), line(150, 50)
    assert lengths(applied(name, few)) == []
    assert lengths(applied(name, few), label=1) == [150, 49]
    assert np.array_equal(applied(name, enough), enough)


@pytest.mark.parametrize(
    ("name", "left"),
    [
        # 100 likely voxels keep the total above the limits; of the unlikely ones, by size:
        ("nvidia2021_paper", [16, 17]),  # under 16 goes
        ("nvidia2021_code", [1, 8, 15, 16, 17]),  # 1 < size < 8 goes: single voxels stay
        ("nvidia2022_code", [1, 4, 7, 8, 15, 16, 17]),  # 1 < size < 4 goes
    ],
)
def test_which_unlikely_components_nvidia_drops(name: str, left: list[int]) -> None:
    sizes = [1, 2, 3, 4, 7, 8, 15, 16, 17]
    labels = line(100, *sizes)
    assert lengths(applied(name, labels, 0.95)) == [100, *sizes]  # likely ones stay
    after = applied(name, labels, 0.85)
    assert lengths(after) == [100, *left]
    assert (after[(labels == 3) & (after != 3)] == 1).all()


@pytest.mark.parametrize(("name", "limit"), [("nvidia2021_paper", 73), ("nvidia2021_code", 73), ("nvidia2022_code", 5)])
def test_under_which_total_nvidia_drops_unlikely_enhancing_tumour(name: str, limit: int) -> None:
    assert lengths(applied(name, line(limit - 1), 0.85)) == []
    assert lengths(applied(name, line(limit), 0.85)) == [limit]
    assert lengths(applied(name, line(limit - 1), 0.95)) == [limit - 1]


def nvidia_in_plain_words(maps: np.ndarray, preset: str) -> np.ndarray:
    """What the reference's table says, voxel by voxel and component by component."""
    wt, tc, et = maps
    limits = {"paper": (0.45, 0.4, 0.4), "2021_code": (0.5,) * 3, "2022_code": (0.4, 0.35, 0.375)}
    low, high, total = {"paper": (0, 16, 73), "2021_code": (1, 8, 73), "2022_code": (1, 4, 5)}[preset]
    a, b, c = (np.float32(limit) for limit in limits[preset])
    labels = np.zeros(wt.shape, np.uint8)
    for voxel in np.ndindex(wt.shape):
        if wt[voxel] > a:
            in_core = tc[voxel] > b
            enhances = et[voxel] > c and (in_core or preset != "paper")
            labels[voxel] = 3 if enhances else 1 if in_core else 2
    numbers, count = scipy.ndimage.label(labels == 3)
    for number in range(1, count + 1):
        here = numbers == number
        if low < here.sum() < high and et[here].mean(dtype=np.float64) < 0.9:
            labels[here] = 1
    left = labels == 3
    if 0 < left.sum() < total and et[left].mean(dtype=np.float64) < 0.9:
        labels[left] = 1
    return labels


@pytest.mark.parametrize("preset", ["paper", "2021_code", "2022_code"])
@pytest.mark.parametrize("seed", range(4))
def test_nvidia_rules_on_random_maps(preset: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    smooth = scipy.ndimage.gaussian_filter(rng.normal(size=(3, 8, 9, 10)), (0, 0.8, 0.8, 0.8))
    maps = scipy.special.expit(8 * smooth + np.array([2, 1, 2.0 - seed]).reshape(3, 1, 1, 1)).astype(np.float32)
    name = "nvidia2021_paper" if preset == "paper" else f"nvidia{preset}"
    empty = Volume(np.zeros(maps.shape[1:], np.uint8), REGIONS, None, maps)
    after = apply_rules(preset_rules(name, REGIONS), empty).labels
    assert np.array_equal(after, nvidia_in_plain_words(maps, preset))


def filtered_and_painted(labels: np.ndarray, wt: int, tc: int, et: int) -> np.ndarray:
    """Each region's 26-connected components by themselves, painted WT, TC, ET over one another."""
    painted = np.zeros_like(labels)
    for members, least, label in (((1, 2, 3), wt, 2), ((1, 3), tc, 1), ((3,), et, 3)):
        mask = np.isin(labels, members)
        numbers, _ = scipy.ndimage.label(mask, np.ones((3, 3, 3)))
        sizes = np.bincount(numbers.ravel())
        painted[mask & (sizes[numbers] >= least)] = label
    return painted


@pytest.mark.parametrize("seed", range(4))
def test_fakingit_filters_each_region_by_itself(seed: int) -> None:
    noise = scipy.ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(24, 24, 24)), 1.6)
    labels = np.digitize(noise / noise.std(), [0.9, 1.2, 1.5]).astype(np.uint8)
    labels = np.array([0, 2, 1, 3], np.uint8)[labels]  # from the outside in: oedema, necrosis, enhancing
    expected = filtered_and_painted(labels, 250, 150, 100)
    assert np.array_equal(applied("fakingit2023", labels), expected)
    assert not np.array_equal(expected, labels)
    assert np.array_equal(applied("fakingit2024", labels), filtered_and_painted(labels, 50, 0, 0))


def test_fakingit2024_drops_small_cavities_where_data_have_them() -> None:
    labels = line(49, 50, label=4)
    labels[labels == 2] = 0
    after = apply_rules(preset_rules("fakingit2024", CAVITY), Volume(labels, CAVITY)).labels
    assert lengths(after, label=4) == [50]
    assert [rule.region_names for rule in preset_rules("fakingit2024", REGIONS)] == [("whole tumor",)]


def test_an_unknown_preset_is_refused_with_the_names() -> None:
    with pytest.raises(ConfigurationError, match=r"hope.*isensee2020, kaist2021"):
        preset_named("hope")
    with pytest.raises(ConfigurationError, match="enhancing tumor"):
        preset_rules("isensee2020", Regions({"lesion": (1,)}))
