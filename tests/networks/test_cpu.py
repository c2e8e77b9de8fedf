"""The CPU's channels-last forms against the formulas in float64, also where a volume is cut into many passes."""

import sys

import mednext_formulas as formulas
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nnunetv2_comnet.networks import cpu
from nnunetv2_comnet.networks.blocks import BlockOptions, MedNeXtBlock, MedNeXtDownBlock, MedNeXtUpBlock
from nnunetv2_comnet.networks.cpu import layout
from nnunetv2_comnet.networks.cpu.branch import linear_gelu

cpu_branch = sys.modules[linear_gelu.__module__]  # the package's name `branch` is the function
SIDES = [(8, 9, 10), (2, 4, 3), (1, 1, 1), (5, 1, 2)]
KINDS = [
    pytest.param(MedNeXtBlock, 6, 6, formulas.block, id="block"),
    pytest.param(MedNeXtDownBlock, 6, 12, formulas.down, id="down"),
    pytest.param(MedNeXtUpBlock, 6, 3, formulas.up, id="up"),
]


@pytest.fixture
def small_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven rows at a time: a volume of 480 voxels takes 69 passes, the last one shorter."""
    monkeypatch.setattr(layout, "FLOATS_PER_THREAD", 0)
    monkeypatch.setattr(layout, "LEAST_ROWS", 7)


def relative(ours: Tensor, expected: Tensor) -> float:
    return float((ours.double() - expected).norm() / expected.norm())


def block_of(kind: type[MedNeXtBlock], channels: int, channels_out: int, **options: object) -> MedNeXtBlock:
    torch.manual_seed(0)
    block = kind(channels, channels_out, BlockOptions(**{"expansion": 3, **options}))  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in block.parameters():
            if parameter.requires_grad:
                parameter += 0.3 * torch.randn_like(parameter)
    return block


@pytest.mark.usefixtures("small_passes")
@pytest.mark.parametrize("checkpointing", ["none", "expansion", "block"])
@pytest.mark.parametrize("form", ["mean", "sum", None])
@pytest.mark.parametrize(("kind", "channels", "channels_out", "formula"), KINDS)
def test_many_passes_give_the_formula_and_its_gradients(
    kind, channels, channels_out, formula, form, checkpointing
) -> None:
    options = {"grn": form is not None, "grn_denominator": form or "mean", "checkpointing": checkpointing}
    block = block_of(kind, channels, channels_out, **options)
    x = torch.randn(2, channels, 8, 6, 10, requires_grad=True)
    assert cpu.fits(x)
    x_64 = x.detach().double().requires_grad_()
    weights = {f"b.{name}": p.detach().double().requires_grad_() for name, p in block.named_parameters()}
    ours, expected = block(x), formula(x_64, weights, "b", form or "mean")
    torch.testing.assert_close(ours.double(), expected, atol=1e-5, rtol=1e-5)

    direction = torch.randn_like(ours)
    ours.backward(direction)
    expected.backward(direction.double())
    assert relative(x.grad, x_64.grad) < 1e-5
    for name, parameter in block.named_parameters():
        if parameter.requires_grad:
            assert relative(parameter.grad, weights[f"b.{name}"].grad) < 1e-5, name


@pytest.mark.usefixtures("small_passes")
def test_without_gradients_the_same_numbers() -> None:
    block, x = block_of(MedNeXtBlock, 6, 6), torch.randn(2, 6, 5, 6, 7)
    with torch.no_grad():
        torch.testing.assert_close(block(x), block(x.requires_grad_()), atol=1e-5, rtol=1e-5)
    with torch.inference_mode():
        assert block(x).shape == x.shape


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_gradients_the_fast_form_is_taken_though_the_weights_could_be_trained(mode, monkeypatch) -> None:
    calls = []
    monkeypatch.setattr(cpu_branch, "linear_gelu", lambda *a: calls.append(1) or linear_gelu(*a))
    block, x = block_of(MedNeXtBlock, 6, 6), torch.randn(1, 6, 4, 4, 4)
    block(x)
    assert calls == []  # the gradient needs what the fused form does not give
    with mode():
        block(x)
    assert calls == [1]


def test_a_mean_far_from_zero_does_not_spoil_the_norm() -> None:
    """Mean 300, deviation 1: a variance taken as E[x^2] - E[x]^2 in float32 would be off by a per cent."""
    block = block_of(MedNeXtBlock, 4, 4)
    with torch.no_grad():
        block.conv1.weight.zero_()
        block.conv1.weight[:, :, 1, 1, 1] = 1  # hands its input on to the norm
    x = 300 + torch.randn(1, 4, 16, 32, 32)
    weights = {f"b.{name}": p.double() for name, p in block.named_parameters()}
    # 300 + 1e-5 is the next float32: what the input's own rounding costs.
    torch.testing.assert_close((block(x) - x).double(), formulas.block(x.double(), weights, "b") - x, atol=3e-4, rtol=0)


@pytest.mark.parametrize("kernel_size", [3, 5])
@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize("stride", [1, 2])
def test_depthwise_convolutions_and_gradients_of_both_strides_are_torchs(stride, sides, kernel_size) -> None:
    x = torch.randn(2, 4, *sides, requires_grad=True)
    weight = torch.randn(4, 1, kernel_size, kernel_size, kernel_size, requires_grad=True)
    x_64, weight_64 = (t.detach().double().requires_grad_() for t in (x, weight))
    expected = F.conv3d(x_64, weight_64, None, stride, kernel_size // 2, groups=4)
    _same_with_gradients(cpu.depthwise_conv3d(x, weight, stride), expected, (x, weight), (x_64, weight_64))


@pytest.mark.parametrize("kernel_size", [3, 5])
@pytest.mark.parametrize("sides", SIDES)
def test_the_transposed_convolution_and_its_gradients_are_torchs(sides, kernel_size) -> None:
    x = torch.randn(2, 4, *sides, requires_grad=True)
    weight = torch.randn(4, 1, kernel_size, kernel_size, kernel_size, requires_grad=True)
    x_64, weight_64 = (t.detach().double().requires_grad_() for t in (x, weight))
    expected = F.conv_transpose3d(x_64, weight_64, None, 2, kernel_size // 2, groups=4)
    _same_with_gradients(cpu.depthwise_conv_transpose3d(x, weight), expected, (x, weight), (x_64, weight_64))


def _same_with_gradients(ours: Tensor, expected: Tensor, leaves: tuple[Tensor, ...], leaves_64: tuple[Tensor, ...]):
    torch.testing.assert_close(ours.double(), expected, atol=1e-4, rtol=1e-5)
    direction = torch.randn_like(ours)
    ours.backward(direction)
    expected.backward(direction.double())
    for leaf, leaf_64 in zip(leaves, leaves_64, strict=True):
        torch.testing.assert_close(leaf.grad.double(), leaf_64.grad, atol=1e-3, rtol=1e-4)


def test_frozen_weights_get_no_gradient_and_pass_it_on() -> None:
    block = block_of(MedNeXtUpBlock, 4, 2).requires_grad_(False)
    x = torch.randn(1, 4, 4, 4, 4, requires_grad=True)
    block(x).sum().backward()
    assert x.grad is not None
    assert all(parameter.grad is None for parameter in block.parameters())


def test_one_sample_does_not_depend_on_the_others() -> None:
    block, x = block_of(MedNeXtDownBlock, 6, 12), torch.randn(3, 6, 8, 8, 8)
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


@pytest.mark.parametrize(("kind", "channels", "channels_out", "formula"), KINDS)
def test_the_plain_formula_stays_as_the_fallback(kind, channels, channels_out, formula) -> None:
    """float64 takes the plain path; so do GPUs, torch.compile and processors without oneDNN."""
    block = block_of(kind, channels, channels_out).double()
    x = torch.randn(2, channels, 8, 6, 10, dtype=torch.float64, requires_grad=True)
    weights = {f"b.{name}": p.detach().requires_grad_() for name, p in block.named_parameters()}
    ours, expected = block(x), formula(x, weights, "b")
    torch.testing.assert_close(ours, expected, atol=1e-10, rtol=1e-10)
    direction = torch.randn_like(ours)
    ours.backward(direction)
    expected.backward(direction)
    for name, parameter in block.named_parameters():
        if parameter.requires_grad:
            assert relative(parameter.grad, weights[f"b.{name}"].grad) < 1e-10, name
