"""Each rule on masks small enough to see the answer: . background, n necrosis, o oedema, e enhancing, x cavity."""

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st

from nnunetv2_comnet.errors import ConfigurationError
from nnunetv2_comnet.label_schemes import BRATS_123, BRATS_CAVITY, BRATS_PED
from nnunetv2_comnet.postprocessing.probability_rules import DropUnlikelyComponents, Thresholds
from nnunetv2_comnet.postprocessing.rule_list import apply_rules, parse_rule, require_usable
from nnunetv2_comnet.postprocessing.rules import DropSmallComponents, DropSmallTotal, FillHoles, Rule
from nnunetv2_comnet.postprocessing.volume import Volume
from nnunetv2_comnet.regions import ENHANCING_TUMOR, TUMOR_CORE, WHOLE_TUMOR, Regions
from tests.postprocessing.ascii_volumes import REGIONS, drawn, same, text, volume


def drop(region: str, **values: object) -> Rule:
    return parse_rule({"rule": "drop-small-components", "region": region, **values})


def test_a_small_component_of_each_region_becomes_what_is_left_around_it() -> None:
    picture = """
        oooooo......
        oeeooo..oo..
        oeeonn......
        oooonn..e..."""
    # ET: 4 voxels and 1. The single one stays in TC: necrosis.
    after_et = drop("ET", min_voxels=2).applied(volume(picture))
    left = """
        oooooo......
        oeeooo..oo..
        oeeonn......
        oooonn..n..."""
    same(after_et.labels, left)
    # TC: the block of 4 ET, the block of 4 necrosis, 1 voxel: what leaves TC is oedema, still in WT.
    after_tc = drop("TC", min_voxels=2).applied(after_et)
    left = """
        oooooo......
        oeeooo..oo..
        oeeonn......
        oooonn..o..."""
    same(after_tc.labels, left)
    # WT: the large one, the two of oedema (row 1), the one below; those under 2 voxels leave: background.
    after_wt = drop("WT", min_voxels=2).applied(after_tc)
    left = """
        oooooo......
        oeeooo..oo..
        oeeonn......
        oooonn......"""
    same(after_wt.labels, left)


def test_what_leaves_an_outer_region_leaves_the_inner_ones_too_unless_they_are_kept() -> None:
    picture = """
        oee..
        onn..
        ....."""
    left = """
        .....
        .....
        ....."""
    same(drop("WT", min_voxels=7).applied(volume(picture)).labels, left)
    # Filtered by itself, WT loses its six voxels, and the four of TC are painted again.
    left = """
        .ee..
        .nn..
        ....."""
    same(drop("WT", min_voxels=7, keep_inner=True).applied(volume(picture)).labels, left)
    left = """
        ooo..
        ooo..
        ....."""
    same(drop("TC", min_voxels=5).applied(volume(picture)).labels, left)


def test_the_least_size_stays_and_one_voxel_less_goes() -> None:
    picture = "ooo.oo.o"
    same(drop("WT", min_voxels=3).applied(volume(picture)).labels, "ooo.....")
    same(drop("WT", min_voxels=2).applied(volume(picture)).labels, "ooo.oo..")
    same(drop("WT", min_voxels=4).applied(volume(picture)).labels, "........")
    same(drop("WT", min_voxels=3, spare_up_to_voxels=1).applied(volume(picture)).labels, "ooo....o")


def test_connectivity_says_whether_corners_and_edges_join() -> None:
    # Two planes: voxels that meet at an edge (o, first plane) and at a corner (first to second plane).
    picture = """
        o.. ...
        .o. ...
        ... ..o"""
    for connectivity, left in ((26, 3), (18, 2), (6, 0)):
        after = drop("WT", min_voxels=2, connectivity=connectivity).applied(volume(picture))
        assert int((after.labels > 0).sum()) == left


@pytest.mark.parametrize("shape", [(1, 1, 7), (1, 5, 5), (3, 3, 3), (5, 5, 5)])
def test_every_second_voxel_is_a_component(shape: tuple[int, int, int]) -> None:
    # cc3d by itself raises on such masks: as many components as an array can hold.
    labels = (2 * (np.indices(shape) % 2 == 0).all(axis=0)).astype(np.uint8)
    assert Volume(labels, REGIONS).components(WHOLE_TUMOR, 26).sizes[1:].tolist() == [1] * int((labels > 0).sum())


@pytest.mark.parametrize(
    ("spacing_mm", "min_mm3", "left"),
    [
        ((1, 1, 1), 3, "ooo....."),
        ((2, 1, 1), 4, "ooo.oo.."),  # 6, 4 and 2 mm3
        ((2, 1, 1), 4.1, "ooo....."),
        ((0.5, 0.5, 0.5), 0.25, "ooo.oo.."),  # 0.375, 0.25 and 0.125 mm3
        ((0.99999994, 0.99999994, 0.99999994), 3, "ooo....."),  # 1 mm in single precision
        ((1.0000001, 1, 1), 3, "ooo....."),
    ],
)
def test_sizes_in_mm3(spacing_mm: tuple[float, ...], min_mm3: float, left: str) -> None:
    rule = drop("WT", min_mm3=min_mm3)
    case = volume("ooo.oo.o", spacing_mm=spacing_mm)
    same(rule.applied(case).labels, left)
    same(rule.in_voxels(case.voxel_mm3).applied(volume("ooo.oo.o")).labels, left)


def test_mm3_without_a_spacing_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        drop("WT", min_mm3=3).applied(volume("ooo"))


def test_too_little_enhancing_tumour_in_all_becomes_necrosis() -> None:
    picture = "eeo.e"  # 3 voxels in two components
    rule = DropSmallTotal(region="ET", min_voxels=4)
    same(rule.applied(volume(picture)).labels, "nno.n")
    same(DropSmallTotal(region="ET", min_voxels=3).applied(volume(picture)).labels, picture)
    nothing = volume("noo")
    assert rule.applied(nothing) is nothing
    same(DropSmallTotal(region="WT", min_mm3=41).applied(volume(picture, spacing_mm=(2, 2, 2.5))).labels, ".....")
    same(DropSmallTotal(region="WT", min_mm3=40).applied(volume(picture, spacing_mm=(2, 2, 2.5))).labels, picture)


def test_holes_are_filled_in_three_dimensions() -> None:
    # A closed box of oedema around one voxel, beside it a ring that is open in the third direction.
    picture = """
        ooo.... ooo.ooo ooo....
        ooo.... o.o.o.o ooo....
        ooo.... ooo.ooo ooo...."""
    left = """
        ooo.... ooo.ooo ooo....
        ooo.... ooo.o.o ooo....
        ooo.... ooo.ooo ooo...."""
    same(FillHoles(region="WT").applied(volume(picture)).labels, left)


def test_a_filled_hole_joins_the_regions_around_and_keeps_what_lies_inside() -> None:
    # TC (necrosis) around a voxel of oedema and one of background; ET in the hole's place stays ET.
    picture = """
        nnnnn nnnnn nnnnn
        nnnnn no.en nnnnn
        nnnnn nnnnn nnnnn"""
    left = """
        nnnnn nnnnn nnnnn
        nnnnn nnnen nnnnn
        nnnnn nnnnn nnnnn"""
    same(FillHoles(region="TC").applied(volume(picture)).labels, left)
    # For WT only the background is a hole: oedema. One hole of one voxel.
    left = """
        nnnnn nnnnn nnnnn
        nnnnn nooen nnnnn
        nnnnn nnnnn nnnnn"""
    same(FillHoles(region="WT").applied(volume(picture)).labels, left)
    ring = "eee eee eee\neee ene eee\neee eee eee"
    same(FillHoles(region="ET").applied(volume(ring)).labels, "eee eee eee\neee eee eee\neee eee eee")


def test_only_holes_up_to_the_size_are_filled() -> None:
    picture = """
        oooooo oooooo oooooo
        oooooo o..o.o oooooo
        oooooo oooooo oooooo"""
    one = """
        oooooo oooooo oooooo
        oooooo o..ooo oooooo
        oooooo oooooo oooooo"""
    same(FillHoles(region="WT", max_voxels=1).applied(volume(picture)).labels, one)
    same(FillHoles(region="WT", max_mm3=2).applied(volume(picture, spacing_mm=(1, 1, 2))).labels, one)
    both = FillHoles(region="WT", max_voxels=2).applied(volume(picture)).labels
    assert (both > 0).all()
    nothing = FillHoles(region="WT", max_mm3=1).applied(volume(picture, spacing_mm=(1, 1, 2)))
    same(nothing.labels, picture)
    in_voxels = FillHoles(region="WT", max_mm3=1).in_voxels(2.0)
    same(in_voxels.applied(volume(picture)).labels, picture)


def test_a_hole_at_the_border_is_none() -> None:
    picture = "ooo ooo\no.o ooo\nooo ooo"  # open to the first plane's side, which is the border
    same(FillHoles(region="WT").applied(volume(picture)).labels, picture)


def test_the_resection_cavity_and_labels_of_no_region_are_left_alone() -> None:
    cavity = BRATS_CAVITY.regions
    picture = "ooo ooo ooo\nooo oxo ooo\nooo ooo ooo"
    before = Volume(drawn(picture), cavity)
    same(FillHoles(region="WT").applied(before).labels, picture)
    same(
        DropSmallComponents(region="WT", min_voxels=99).applied(before).labels, "... ... ...\n... .x. ...\n... ... ..."
    )
    same(DropSmallComponents(region="RC", min_voxels=2).applied(before).labels, "ooo ooo ooo\nooo o.o ooo\nooo ooo ooo")
    strange = volume("oo.o")
    strange.labels[0, 0, 2] = 77
    after = drop("WT", min_voxels=2).applied(strange).labels
    assert after.tolist() == [[[2, 2, 77, 0]]]


def test_labels_follow_from_regions_and_nothing_else() -> None:
    # The documented numbering: 1 necrosis, 2 oedema, 3 enhancing; background 0.
    assert REGIONS.left(ENHANCING_TUMOR).tolist() == [0, 1, 2, 1]
    assert REGIONS.left(TUMOR_CORE).tolist() == [0, 2, 2, 2]
    assert REGIONS.left(WHOLE_TUMOR).tolist() == [0, 0, 0, 0]
    assert REGIONS.left(TUMOR_CORE, keep_inner=True).tolist() == [0, 2, 2, 3]
    assert REGIONS.left(WHOLE_TUMOR, keep_inner=True).tolist() == [0, 1, 0, 3]
    assert REGIONS.joined(WHOLE_TUMOR).tolist() == [2, 1, 2, 3]
    assert REGIONS.joined(TUMOR_CORE).tolist() == [1, 1, 1, 3]
    assert REGIONS.joined(ENHANCING_TUMOR).tolist() == [3, 3, 3, 3]
    # Children's tumours: the cystic component (4) lies in TC; out of it a voxel is the rest of the core (1).
    assert BRATS_PED.regions.left("cystic component").tolist() == [0, 1, 2, 3, 1]


def test_regions_that_a_label_map_cannot_tell_apart_are_refused() -> None:
    with pytest.raises(ConfigurationError):
        Regions({"enhancing tumor": (3,), "tumor core": (1, 3), "whole tumor": (1, 2, 3)}).require_plain_labels()


# Probabilities (3, 1, 1, 6), in the order WT, TC, ET.
MAPS = np.array(
    [
        [0.9, 0.46, 0.9, 0.9, 0.3, 0.9],
        [0.9, 0.9, 0.45, 0.3, 0.9, 0.9],
        [0.9, 0.2, 0.45, 0.9, 0.9, 0.3],
    ],
    np.float32,
)[:, None, None]


@pytest.mark.parametrize(
    ("values", "picture"),
    [
        # nnU-Net: over 0.5 each, painted WT, TC, ET over one another.
        ({}, "enoeen"),
        # ET wherever it is likely, but inside WT: voxel 4 is outside WT, 3 is ET though not in TC; 1 is outside WT.
        ({"nesting": "outermost"}, "e.oe.n"),
        # ET in TC in WT: voxel 3 is out of TC.
        ({"nesting": "full"}, "e.oo.n"),
        ({"nesting": "full", "thresholds": {"WT": 0.45, "tumor core": 0.4, "et": 0.4}}, "eneo.n"),
        ({"thresholds": {"ET": 0.95}}, "nnoonn"),
    ],
)
def test_thresholds_decide_every_voxel(values: dict, picture: str) -> None:
    rule = Thresholds(**values)
    same(rule.applied(volume("......", probabilities=MAPS)).labels, picture)


def test_a_threshold_itself_is_outside() -> None:
    maps = np.array([0.25, np.nextafter(np.float32(0.25), np.float32(1))], np.float32)
    probabilities = np.broadcast_to(maps, (3, 1, 1, 2))
    rule = Thresholds(thresholds=dict.fromkeys(("WT", "TC", "ET"), 0.25))
    same(rule.applied(volume("..", probabilities=probabilities)).labels, ".e")


def test_components_are_kept_by_their_mean_probability() -> None:
    maps = np.zeros((3, 1, 1, 7), np.float32)
    maps[2, 0, 0] = [1.0, 0.8, 0.0, 0.7, 0.0, 0.9, 0.87]  # means 0.9, 0.7 and 0.885
    case = volume("ee.e.ee", probabilities=maps)
    same(DropUnlikelyComponents(region="ET", min_mean_probability=0.89).applied(case).labels, "ee.n.nn")
    same(DropUnlikelyComponents(region="ET", min_mean_probability=0.89, below_voxels=2).applied(case).labels, "ee.n.ee")
    spared = DropUnlikelyComponents(region="ET", min_mean_probability=0.89, spare_up_to_voxels=1)
    same(spared.applied(case).labels, "ee.e.nn")
    # All ET: 5 voxels of mean 4.27 / 5 = 0.854.
    total = {"region": "ET", "min_voxels": 6}
    same(DropSmallTotal(**total, below_mean_probability=0.86).applied(case).labels, "nn.n.nn")
    same(DropSmallTotal(**total, below_mean_probability=0.85).applied(case).labels, "ee.e.ee")


def test_a_rule_on_probabilities_without_them_is_refused() -> None:
    for rule in (
        Thresholds(),
        DropUnlikelyComponents(region="ET", min_mean_probability=0.5),
        DropSmallTotal(region="ET", min_voxels=9, below_mean_probability=0.9),
    ):
        assert rule.uses_probabilities
        with pytest.raises(ConfigurationError):
            rule.applied(volume("ee"))
    assert not DropSmallTotal(region="ET", min_voxels=9).uses_probabilities


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"rule": "drop-smal"}, "thresholds, drop-unlikely-components,"),
        ("fill-holes", "fill-holes"),
        ({"rule": "fill-holes"}, "fill-holes: region"),
        ({"rule": "fill-holes", "region": "WT", "size": 3}, "fill-holes: size"),
        ({"rule": "fill-holes", "region": "WT", "max_voxels": 1, "max_mm3": 1}, "max_mm3"),
        ({"rule": "drop-small-components", "region": "WT"}, "min_mm3"),
        ({"rule": "drop-small-components", "region": "WT", "min_voxels": 0}, "min_voxels"),
        (
            {"rule": "drop-small-components", "region": "WT", "min_voxels": 2, "connectivity": 8},
            "connectivity",
        ),
        ({"rule": "thresholds", "thresholds": {"ET": 1.5}}, "thresholds.ET"),
        ({"rule": "drop-unlikely-components", "region": "ET", "min_mean_probability": 0}, "min_mean_probability"),
    ],
)
def test_a_rule_that_cannot_be_is_refused_by_name(values: object, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_rule(values)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_regions_and_late_thresholds_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"oedema.*whole tumor \(WT\), tumor core"):
        require_usable([FillHoles(region="oedema")], REGIONS)
    with pytest.raises(ConfigurationError):
        require_usable([FillHoles(region="WT"), Thresholds()], REGIONS)
    require_usable([Thresholds(thresholds={"et": 0.4}), FillHoles(region="Whole Tumor")], REGIONS)


LABEL_RULES = [
    drop("WT", min_voxels=6),
    drop("TC", min_voxels=4),
    drop("ET", min_voxels=3, spare_up_to_voxels=1),
    drop("WT", min_voxels=9, keep_inner=True),
    DropSmallTotal(region="ET", min_voxels=20),
    FillHoles(region="WT"),
    FillHoles(region="TC", max_voxels=2),
    FillHoles(region="ET"),
]
BLOBS = st.tuples(st.integers(0, 2**32 - 1), st.floats(0.2, 2))


def blobs(drawn_values: tuple[int, float]) -> np.ndarray:
    """A random label map of many components and holes, 9 x 10 x 11."""
    seed, level = drawn_values
    noise = scipy.ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(9, 10, 11)), 0.7)
    return np.digitize(noise / noise.std(), [-level / 3, level / 3, level]).astype(np.uint8)


@settings(max_examples=25, deadline=None)
@given(BLOBS)
def test_rules_done_twice_are_rules_done_once(case: tuple[int, float]) -> None:
    for rule in LABEL_RULES:
        once = rule.applied(Volume(blobs(case), REGIONS))
        assert np.array_equal(rule.applied(once.with_labels(once.labels)).labels, once.labels), rule.describe()


@settings(max_examples=25, deadline=None)
@given(BLOBS, st.sampled_from([(0,), (1,), (2,), (0, 1, 2)]), st.permutations([0, 1, 2]))
def test_rules_do_not_depend_on_how_the_patient_lies(
    case: tuple[int, float], flips: tuple[int, ...], order: list[int]
) -> None:
    labels = blobs(case)
    turned = np.ascontiguousarray(np.flip(labels, flips).transpose(order))
    after = apply_rules(LABEL_RULES, Volume(labels, REGIONS)).labels
    assert np.array_equal(
        apply_rules(LABEL_RULES, Volume(turned, REGIONS)).labels, np.flip(after, flips).transpose(order)
    )


@settings(max_examples=25, deadline=None)
@given(BLOBS)
def test_filling_and_dropping_agree_with_scipy(case: tuple[int, float]) -> None:
    labels = blobs(case)
    before = Volume(labels, REGIONS)
    filled = FillHoles(region="WT").applied(before).labels
    assert np.array_equal(filled > 0, scipy.ndimage.binary_fill_holes(labels > 0))
    dropped = drop("WT", min_voxels=6).applied(before).labels
    numbers, count = scipy.ndimage.label(labels > 0, np.ones((3, 3, 3)))
    sizes = scipy.ndimage.sum_labels(labels > 0, numbers, range(1, count + 1))
    assert np.array_equal(dropped > 0, np.isin(numbers, 1 + np.flatnonzero(sizes >= 6)))
    assert np.array_equal(dropped[dropped > 0], labels[dropped > 0])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["none", "outermost", "full"]))
def test_regions_are_nested_whatever_is_applied(seed: int, nesting: str) -> None:
    maps = np.random.default_rng(seed).uniform(size=(3, 6, 7, 8)).astype(np.float32)
    rules = (Thresholds.model_validate({"nesting": nesting, "thresholds": {"ET": 0.3}}), *LABEL_RULES)
    after = apply_rules(rules, Volume(np.zeros((6, 7, 8), np.uint8), REGIONS, probabilities=maps))
    wt, tc, et = (np.isin(after.labels, BRATS_123.regions[name]) for name in (WHOLE_TUMOR, TUMOR_CORE, ENHANCING_TUMOR))
    assert not (et & ~tc).any()
    assert not (tc & ~wt).any()
    assert set(np.unique(after.labels)) <= {0, 1, 2, 3}
    if nesting == "full":
        decided = rules[0].applied(Volume(np.zeros((6, 7, 8), np.uint8), REGIONS, probabilities=maps)).labels
        assert not ((decided > 0) & ~(maps[0] > 0.5)).any()
        assert not (np.isin(decided, (1, 3)) & ~(maps[1] > 0.5)).any()


def test_rules_leave_their_input_alone_and_say_so_when_nothing_changes() -> None:
    before = volume("oo.o ....")
    copy = before.labels.copy()
    drop("WT", min_voxels=2).applied(before)
    assert np.array_equal(before.labels, copy)
    assert drop("TC", min_voxels=2).applied(before) is before
    empty = volume("....")
    assert apply_rules(LABEL_RULES, empty) is empty
    assert text(empty.labels) == "...."
