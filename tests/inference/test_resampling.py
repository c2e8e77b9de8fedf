"""What is left alone: tiles without brain, maps whose grid fits already; and when the background is known."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from nnunetv2_comnet.inference.options import Options
from nnunetv2_comnet.inference.predictor import CoMNeTPredictor
from nnunetv2_comnet.inference.resampling import Grids


@pytest.mark.parametrize(
    ("schemes", "masked", "known"),
    [
        (["ZScoreNormalization"] * 2, [True, True], True),
        (["ZScoreNormalization"] * 2, [True, False], False),  # 0 became (0 - mean) / deviation
        (["ZScoreNormalization", "CTNormalization"], [True, True], False),
    ],
)
def test_the_background_is_known_to_be_0_only_after_masked_z_scores(schemes: list, masked: list, known: bool) -> None:
    configuration = SimpleNamespace(normalization_schemes=schemes, use_mask_for_norm=masked)
    given: dict[str, Any] = dict.fromkeys(("plans", "labels", "dataset_json", "channels", "writer"))
    assert Grids(configuration=configuration, **given).zero_outside is known


def test_the_predictor_leaves_out_tiles_without_brain_and_copies_nothing_that_fits(model: Path) -> None:
    predictor = CoMNeTPredictor(model, (0,), options=Options(use_mirroring=False), device="cpu")
    data = torch.zeros(4, 32, 32, 96)  # patches of 32: starts 0, 16, 32, 48, 64
    data[:, 8:24, 8:24, 40:60] = torch.randn((4, 16, 16, 20), generator=torch.Generator().manual_seed(0))
    window = predictor.fold_maps.window(data)
    assert (len(window.tiles), window.skipped) == (3, 2)  # 16 to 48, 32 to 64, 48 to 80
    assert window.image.data_ptr() == data.data_ptr()

    maps = torch.randn(3, 10, 12, 14)
    properties = {"spacing": (2.0, 2.0, 2.0), "shape_after_cropping_and_before_resampling": (10, 12, 14)}
    assert np.shares_memory(predictor.grids.resampled(maps, properties), maps.numpy())
    properties["shape_after_cropping_and_before_resampling"] = (20, 12, 14)
    assert predictor.grids.resampled(maps, properties).shape == (3, 20, 12, 14)
