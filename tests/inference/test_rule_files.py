"""comnet predict with the rules of comnet_postprocessing.json: thresholds first, then the rules on labels."""

import csv
import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import scipy.ndimage

from tests.inference.conftest import SPACING_MM

FAST = ("--disable_tta", "-step_size", 1, "-device", "cpu")
WT_THRESHOLD = 0.7


def voxels(path: Path) -> np.ndarray:
    return np.asarray(nibabel.load(path).dataobj)


def rules_file(folder: Path, *rules: dict) -> Path:
    path = folder / "rules.json"
    path.write_text(json.dumps({"rules": list(rules)}))
    return path


def test_thresholds_and_sizes_in_mm3_are_applied_to_each_patient(
    model: Path, patients: Path, tmp_path: Path, comnet: Any
) -> None:
    voxel_mm3 = float(np.prod(SPACING_MM))
    rules = rules_file(
        tmp_path,
        {"rule": "thresholds", "thresholds": {"WT": WT_THRESHOLD}, "nesting": "full"},
        {"rule": "drop-small-components", "region": "WT", "min_mm3": 20.5 * voxel_mm3},
        {"rule": "fill-holes", "region": "WT"},
    )
    out = tmp_path / "out"
    words = ("-i", patients, "-o", out, "-m", model, *FAST, "--probability-maps", "--postprocessing", rules)
    assert comnet("predict", *words)[0] == 0
    with open(out / "volumes.csv", newline="") as stream:
        volumes = {row["case"]: row for row in csv.DictReader(stream)}
    dropped = 0
    for case in ("LPS", "OBLIQUE", "RAS"):
        maps = {region: voxels(out / "probabilities" / f"{case}_{region}.nii.gz") for region in ("WT", "TC", "ET")}
        # What the rules say, in plain words: each region inside those around it; components of 21 voxels or more.
        wt = maps["WT"] > WT_THRESHOLD
        tc = wt & (maps["TC"] > 0.5)
        et = tc & (maps["ET"] > 0.5)
        numbers, _ = scipy.ndimage.label(wt, np.ones((3, 3, 3)))
        small = wt & (np.bincount(numbers.ravel())[numbers] < 21)
        wt, tc, et = wt & ~small, tc & ~small, et & ~small
        dropped += int(small.sum())
        mask = voxels(out / f"{case}.nii.gz")
        # Probability maps are written in half precision: a voxel at a threshold may fall on either side.
        close = np.logical_or.reduce(
            [np.abs(maps[name] - limit) < 1e-3 for name, limit in (("WT", WT_THRESHOLD), ("TC", 0.5), ("ET", 0.5))]
        )
        expected = np.select([et, tc, scipy.ndimage.binary_fill_holes(wt)], [3, 1, 2], 0)
        assert not ((mask != expected) & ~close).any()
        assert float(volumes[case]["WT_mm3"]) == pytest.approx((mask > 0).sum() * voxel_mm3, rel=1e-3, abs=0.1)
    assert dropped > 0
    assert json.loads((out / "comnet_run.json").read_text())["postprocessing"]


@pytest.mark.parametrize(
    ("rule", "words", "said"),
    [
        ({"rule": "fill"}, [], "fill"),
        ({"rule": "fill-holes", "region": "RC"}, [], "RC"),
        ({"rule": "thresholds"}, ["--nested"], "--nested"),
    ],
)
def test_rules_that_cannot_be_applied_get_one_line(
    model: Path, patients: Path, tmp_path: Path, comnet: Any, rule: dict, words: list[str], said: str
) -> None:
    rules = rules_file(tmp_path, rule)
    code, _, error = comnet(
        "predict", "-i", patients, "-o", tmp_path / "out", "-m", model, *FAST, "--postprocessing", rules, *words
    )
    assert code == 1
    assert error.startswith("comnet: error: ")
    assert error.count("\n") == 1
    assert said in error
    assert not (tmp_path / "out").exists()
