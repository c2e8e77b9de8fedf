"""The fingerprint that `comnet plan` extracts against stock: the same geometry, statistics within the sampling."""

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.conftest import DATASET, Run

CHANNELS = ("0", "1", "2", "3")


@pytest.mark.chain
def test_geometry_is_stock_and_intensities_are_within_sampling(
    blobs: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = json.loads((blobs / "dataset_fingerprint.json").read_text())
    raw = tmp_path / "raw"
    shutil.copytree(Path(os.environ["nnUNet_raw"]) / DATASET, raw / DATASET)
    stock = run(
        "nnUNetv2_extract_fingerprint", "-d", "501", "-np", "1",
        env={"nnUNet_raw": str(raw), "nnUNet_preprocessed": str(tmp_path / "preprocessed")},
    )  # fmt: skip
    assert stock.returncode == 0, stock.stderr
    theirs = json.loads((tmp_path / "preprocessed" / DATASET / "dataset_fingerprint.json").read_text())
    assert ours.keys() == theirs.keys()
    intensities = "foreground_intensity_properties_per_channel"
    assert {k: v for k, v in ours.items() if k != intensities} == {k: v for k, v in theirs.items() if k != intensities}
    for channel in CHANNELS:
        for name, value in theirs[intensities][channel].items():
            assert ours[intensities][channel][name] == pytest.approx(value, rel=0.01), (channel, name)
