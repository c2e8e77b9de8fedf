"""The CPU's channels-last forms against the formulas in float64, also where a volume is cut into many passes."""

import sys

import mednext_formulas as formulas
import pytest
import torch
import torch.nn.functional as F
from random_weights import KINDS, assert_is_formula, assert_same_with_gradients, in_float64, random_block

from nnunetv2_comnet.networks import backends, cpu
from nnunetv2_comnet.networks.blocks import MedNeXtBlock, MedNeXtDownBlock, MedNeXtUpBlock
from nnunetv2_comnet.networks.cpu import layout
from nnunetv2_comnet.networks.cpu.branch import linear_gelu

cpu_branch = sys.modules[linear_gelu.__module__]  # the package's name `branch` is the function


@pytest.fixture
def small_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven rows at a time: a volume of 480 voxels takes 69 passes, the last one shorter."""
    monkeypatch.setattr(layout, "FLOATS_PER_THREAD", 0)
    monkeypatch.setattr(layout, "LEAST_ROWS", 7)


@pytest.mark.usefixtures("small_passes")
@pytest.mark.parametrize("checkpointing", ["none", "expansion", "block"])
@pytest.mark.parametrize("form", ["mean", "sum", None])
@KINDS
def test_many_passes_give_the_formula_and_its_gradients(
    kind, channels, channels_out, formula, form, checkpointing
) -> None:
    options = {"grn": form is not None, "grn_denominator": form or "mean", "checkpointing": checkpointing}
    x = torch.randn(2, channels, 8, 6, 10)
    assert cpu.fits(x)
    assert_is_formula(random_block(kind, channels, channels_out, **options), x, formula, form)


@pytest.mark.usefixtures("small_passes")
def test_without_gradients_the_same_numbers() -> None:
    block, x = random_block(MedNeXtBlock, 6, 6), torch.randn(2, 6, 5, 6, 7)
    with torch.no_grad():
        torch.testing.assert_close(block(x), block(x.requires_grad_()), atol=1e-5, rtol=1e-5)
    with torch.inference_mode():
        assert block(x).shape == x.shape


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_gradients_the_fast_form_is_taken_though_the_weights_could_be_trained(mode, monkeypatch) -> None:
    calls = []
    monkeypatch.setattr(cpu_branch, "linear_gelu", lambda *a: calls.append(1) or linear_gelu(*a))
    block, x = random_block(MedNeXtBlock, 6, 6), torch.randn(1, 6, 4, 4, 4)
    block(x)
    assert calls == []  # the gradient needs what the fused form does not give
    with mode():
        block(x)
    assert calls == [1]


def test_a_mean_far_from_zero_does_not_spoil_the_norm() -> None:
    """Mean 300, deviation 1: a variance taken as E[x^2] - E[x]^2 in float32 would be off by a per cent."""
    block = random_block(MedNeXtBlock, 4, 4)
    with torch.no_grad():
        block.conv1.weight.zero_()
        block.conv1.weight[:, :, 1, 1, 1] = 1  # hands its input on to the norm
    x = 300 + torch.randn(1, 4, 16, 32, 32)
    # 300 + 1e-5 is the next float32: what the input's own rounding costs.
    torch.testing.assert_close(
        (block(x) - x).double(), formulas.block(x.double(), in_float64(block), "b") - x, atol=3e-4, rtol=0
    )


@pytest.mark.parametrize("kernel_size", [3, 5])
@pytest.mark.parametrize("sides", [(8, 9, 10), (2, 4, 3), (1, 1, 1), (5, 1, 2)])
@pytest.mark.parametrize("kind", ["stride 1", "stride 2", "transposed"])
def test_depthwise_convolutions_and_their_gradients_are_torchs(kind: str, sides, kernel_size: int) -> None:
    leaves = [torch.randn(shape, requires_grad=True) for shape in ((2, 4, *sides), (4, 1, *[kernel_size] * 3))]
    leaves_64 = [leaf.detach().double().requires_grad_() for leaf in leaves]
    stride, options = 1 if kind == "stride 1" else 2, {"padding": kernel_size // 2, "groups": 4}
    if kind == "transposed":
        ours, theirs = backends.depthwise_conv_transpose3d, F.conv_transpose3d
    else:
        ours, theirs = lambda x, weight: backends.depthwise_conv3d(x, weight, stride), F.conv3d
    assert cpu.fits(leaves[0])
    assert_same_with_gradients(
        lambda: ours(*leaves), lambda: theirs(*leaves_64, stride=stride, **options), leaves, leaves_64
    )


def test_frozen_weights_get_no_gradient_and_pass_it_on() -> None:
    block = random_block(MedNeXtUpBlock, 4, 2).requires_grad_(False)
    x = torch.randn(1, 4, 4, 4, 4, requires_grad=True)
    block(x).sum().backward()
    assert x.grad is not None
    assert all(parameter.grad is None for parameter in block.parameters())


def test_one_sample_does_not_depend_on_the_others() -> None:
    block, x = random_block(MedNeXtDownBlock, 6, 12), torch.randn(3, 6, 8, 8, 8)
    assert torch.equal(block(x)[1:2], block(x[1:2]))


def test_fused_gelu_is_torchs() -> None:
    x, weight, bias = torch.randn(100, 8) * 4, torch.randn(16, 8), torch.randn(16)
    expected = F.gelu(F.linear(x.double(), weight.double(), bias.double()))
    torch.testing.assert_close(linear_gelu(x, weight, bias).double(), expected, atol=2e-5, rtol=1e-5)


def test_where_the_layout_is_not_used() -> None:
    x = torch.zeros(1, 2, 4, 4, 4)
    assert cpu.fits(x)
    assert not cpu.fits(x.double())
    assert not cpu.fits(x.to("meta"))
    with torch.autocast("cpu", torch.bfloat16):
        assert not cpu.fits(x)
    with torch.backends.mkldnn.flags(enabled=False):
        assert not cpu.fits(x)
