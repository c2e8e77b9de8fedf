"""Rules as files: the JSON round trip, and nnU-Net's pickle, which does the same as our own application."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from nnunetv2.postprocessing.remove_connected_components import apply_postprocessing

from nnunetv2_comnet.errors import ConfigurationError, DataError
from nnunetv2_comnet.inference.options import Options
from nnunetv2_comnet.inference.prediction import Prediction, load_postprocessing
from nnunetv2_comnet.label_schemes import BRATS_123, BRATS_CAVITY
from nnunetv2_comnet.postprocessing.presets import PRESETS, preset_rules
from nnunetv2_comnet.postprocessing.probability_rules import DropUnlikelyComponents, Thresholds
from nnunetv2_comnet.postprocessing.rule_file import FILE, RuleFile, read_rule_file, write_rules
from nnunetv2_comnet.postprocessing.rule_list import Rules, apply_rules
from nnunetv2_comnet.postprocessing.rules import DropSmallComponents, DropSmallTotal, FillHoles
from nnunetv2_comnet.postprocessing.volume import Volume
from tests.postprocessing.ascii_volumes import REGIONS, drawn, same

PICTURE = "ooo.oeeen.oo.onne"
LABEL_RULES: Rules = (
    DropSmallComponents(region="WT", min_voxels=3),
    DropSmallComponents(region="ET", min_mm3=3.5, connectivity=18),
    DropSmallTotal(region="enhancing tumor", min_voxels=2),
    FillHoles(region="TC", max_mm3=20.5),
    FillHoles(region="WT"),
)
EVERY_RULE: Rules = (
    Thresholds(thresholds={"WT": 0.4, "enhancing tumor": 0.55}, nesting="full"),
    DropUnlikelyComponents(region="ET", min_mean_probability=0.9, below_voxels=8, spare_up_to_voxels=1),
    *LABEL_RULES,
)


@pytest.mark.parametrize("rules", [(), EVERY_RULE, *(preset_rules(name, REGIONS) for name in PRESETS)])
def test_rules_come_back_from_their_file(tmp_path: Path, rules: Rules) -> None:
    RuleFile(rules, BRATS_123.regions, {"cases": 3}).write(tmp_path / FILE)
    back = read_rule_file(tmp_path / FILE)
    assert back.rules == rules
    assert back.regions == BRATS_123.regions
    assert back.evidence == {"cases": 3}
    text = json.loads((tmp_path / FILE).read_text())
    assert all(entry["description"] for entry in text["rules"])


def test_a_file_by_hand_needs_no_more_than_the_rules(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text('{"rules": [{"rule": "drop-small-total", "region": "et", "min_voxels": 5}]}')
    found = read_rule_file(path)
    labels = found.for_regions(BRATS_123.regions)
    same(apply_rules(found.rules, Volume(drawn(PICTURE), labels)).labels, "ooo.onnnn.oo.onnn")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "JSON"),
        ("[]", "rules"),
        ('{"input_folder": {}, "postprocessing_fns": []}', "rules"),  # nnU-Net's postprocessing.json
        ('{"rules": [], "format": 9}', "format 9"),
        ('{"rules": [{"rule": "fill"}]}', "fill"),
        ('{"rules": [], "regions": {"whole tumor": 3}}', "regions"),
        ('{"rules": [], "regions": [1]}', "regions"),
        ('{"rules": [{"rule": "fill-holes", "region": "RC"}], "regions": {"lesion": [1]}}', "RC"),
    ],
)
def test_another_file_is_refused_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "rules.json"
    path.write_text(text)
    with pytest.raises((ConfigurationError, DataError)) as caught:
        read_rule_file(path)
    assert said in str(caught.value)
    assert "rules.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_rules_of_other_regions_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"whole tumor \[1, 2, 3\]"):
        RuleFile((), BRATS_123.regions).for_regions(BRATS_CAVITY.regions)
    with pytest.raises(ConfigurationError, match="RC"):
        RuleFile((FillHoles(region="RC"),)).for_regions(BRATS_123.regions)


def noisy(seed: int) -> np.ndarray:
    """A label map of many components, as nnU-Net's readers give it: float32."""
    return np.random.default_rng(seed).choice([0, 0, 1, 2, 3], size=(9, 8, 7)).astype(np.float32)


@pytest.mark.parametrize("seed", range(4))
def test_the_pickle_does_what_our_own_application_does(tmp_path: Path, seed: int) -> None:
    written, left_out = write_rules(tmp_path, LABEL_RULES, BRATS_123.regions, {}, voxel_mm3=0.75)
    assert [path.name for path in written] == ["comnet_postprocessing.json", "postprocessing.pkl"]
    assert left_out == ""
    functions, keywords = pickle.loads((tmp_path / "postprocessing.pkl").read_bytes())
    assert {f"{function.__module__}.{function.__name__}" for function in functions} == {
        "nnunetv2_comnet.postprocessing.stock.apply_rule"
    }
    segmentation = noisy(seed)
    theirs = apply_postprocessing(segmentation.copy(), functions, keywords)
    volume = Volume(segmentation.astype(np.uint8), REGIONS, (0.75, 1, 1))
    ours = apply_rules(read_rule_file(tmp_path / FILE).rules, volume).labels
    assert theirs.dtype == np.float32
    assert np.array_equal(theirs, ours)
    assert not np.array_equal(theirs, segmentation)
    # And what `comnet predict` makes of the two files.
    prediction = predicted(segmentation.astype(np.uint8), spacing_mm=(0.75, 1.0, 1.0))
    for name in (FILE, "postprocessing.pkl"):
        after = load_postprocessing(tmp_path / name, BRATS_123.regions, Options())(prediction)
        assert after.dtype == np.uint8
        assert np.array_equal(after, ours)


def predicted(labels: np.ndarray, spacing_mm: tuple[float, ...], probabilities: np.ndarray | None = None) -> Prediction:
    maps = np.zeros((3, *labels.shape), np.float32) if probabilities is None else probabilities
    return Prediction(labels, maps, None, None, None, BRATS_123.regions, spacing_mm, {}, None)


def test_no_rules_are_an_empty_pickle(tmp_path: Path) -> None:
    write_rules(tmp_path, (), BRATS_123.regions, {}, voxel_mm3=None)
    assert pickle.loads((tmp_path / "postprocessing.pkl").read_bytes()) == ([], [])


@pytest.mark.parametrize(
    ("rules", "voxel_mm3", "said"),
    [
        (EVERY_RULE, 1.0, "decide by probability over WT 0.4, enhancing tumor 0.55"),
        (LABEL_RULES, None, "3.5 mm3"),
    ],
)
def test_what_the_stock_command_cannot_apply_gets_no_pickle(
    tmp_path: Path, rules: Rules, voxel_mm3: float | None, said: str
) -> None:
    write_rules(tmp_path, (), BRATS_123.regions, {}, voxel_mm3=1.0)  # an earlier fit
    written, left_out = write_rules(tmp_path, rules, BRATS_123.regions, {}, voxel_mm3)
    assert [path.name for path in written] == [FILE]
    assert said in left_out
    assert not (tmp_path / "postprocessing.pkl").exists()  # that of the earlier fit would be of other rules


def test_thresholds_in_the_file_stand_before_the_rules_on_labels(tmp_path: Path) -> None:
    rules = (Thresholds(thresholds={"ET": 0.3}), DropSmallTotal(region="ET", min_voxels=2))
    RuleFile(rules, BRATS_123.regions).write(tmp_path / FILE)
    maps = np.array([[0.9, 0.9, 0.9], [0.9, 0.9, 0.9], [0.6, 0.4, 0.2]], np.float32)[:, None, None]
    before = drawn("enn")  # what 0.5 gives: a single ET voxel, which the second rule alone would drop
    load = load_postprocessing(tmp_path / FILE, BRATS_123.regions, Options())
    same(load(predicted(before, (1, 1, 1), maps)), "een")
    for options in (Options(nested=True), Options(thresholds={"whole tumor": 0.4})):
        with pytest.raises(ConfigurationError, match=r"--thresholds.*--nested"):
            load_postprocessing(tmp_path / FILE, BRATS_123.regions, options)
