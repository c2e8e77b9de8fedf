"""The experimental GPU code in a prediction: asked for by the options only, refused where it cannot run."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import nn

from nnunetv2_comnet.errors import ConfigurationError
from nnunetv2_comnet.inference.fold_maps import FoldMaps, FoldWeights
from nnunetv2_comnet.inference.options import Options
from nnunetv2_comnet.inference.predictor import CoMNeTPredictor
from nnunetv2_comnet.inference.sliding_window import MirroredNetwork
from nnunetv2_comnet.networks.experimental.cuda_graphs import GraphedNetwork
from nnunetv2_comnet.settings import Settings


@pytest.mark.parametrize("wanted", [False, True])
def test_tiles_go_through_it_where_wanted(wanted: bool) -> None:
    network = nn.Conv3d(4, 3, 3, padding=1).eval()
    maps = FoldMaps(
        network,
        (0,),
        cast(FoldWeights, [network.state_dict()]),
        options=Options(refine="none", cuda_graphs=wanted),
        steps=0,
        patch_size=(8, 8, 8),
        mirror_axes=(0, 2),
        skip_background=False,
        keep_on_device=False,
    )
    assert isinstance(maps.mirrored.network, GraphedNetwork) is wanted
    window = maps.window(torch.randn(4, 9, 12, 8))
    with torch.inference_mode():
        plain = window.logits(MirroredNetwork(network, (0, 2)))
        assert torch.equal(maps.coarse(window), plain)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
@pytest.mark.parametrize("option", ["cuda_graphs", "triton_kernels"])
def test_a_gpu_predicts_the_same_probabilities(model: Path, patients: Path, option: str) -> None:
    images = sorted(patients.glob("LPS_*.nii.gz"))
    found = [
        CoMNeTPredictor(model, options=Options(**options), device="cuda").predict(images).probabilities
        for options in ({}, {option: True})
    ]
    np.testing.assert_allclose(*found, atol=0.02)


@pytest.mark.parametrize("option", ["cuda_graphs", "triton_kernels"])
def test_a_cpu_refuses_it(model: Path, option: str) -> None:
    said = f"{option} is for a CUDA GPU, but this prediction runs on cpu: leave it out"
    with pytest.raises(ConfigurationError, match=said):
        CoMNeTPredictor(model, options=Options(**{option: True}), device="cpu")


def test_averaged_logits_refuse_it() -> None:
    with pytest.raises(ConfigurationError, match="cuda_graphs"):
        Options(cuda_graphs=True, average="logits")


def test_no_flag_asks_for_it_but_plans_of_before_still_load(comnet: Any) -> None:
    for words in (("predict", "--cuda-graphs"), ("predict", "--triton-kernels"), ("plan", "--gpu-kernels", "triton")):
        code, _, err = comnet(*words)
        assert code == 2
        assert f"No such option: {words[1]}" in err
    settings = Settings.model_validate({"gpu_kernels": "triton"})
    assert settings.architecture()["arch_kwargs"]["gpu_kernels"] == "triton"
