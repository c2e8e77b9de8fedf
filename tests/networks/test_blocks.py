"""The blocks and GRN against their formulas, and the forms of an operation against torch's own."""

import mednext_formulas as formulas
import pytest
import torch
import torch.nn.functional as F
from random_weights import KINDS, assert_is_formula, in_float64, random_block
from torch import Tensor

from nnunetv2_comnet.networks.backends import depthwise_conv3d, pointwise
from nnunetv2_comnet.networks.blocks import BlockOptions, MedNeXtBlock, MedNeXtDownBlock, MedNeXtUpBlock
from nnunetv2_comnet.networks.grn import channel_norm, fold_grn, grn_response


def grn(x: Tensor, gamma: Tensor, beta: Tensor, form: str = "mean") -> Tensor:
    """GRN folded into the convolution that changes nothing."""
    channels = x.shape[1]
    return pointwise(x, *fold_grn(x, gamma, beta, torch.eye(channels), torch.zeros(channels), form))


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("form", ["mean", "sum", None])
@pytest.mark.parametrize("kernel_size", [3, 5])
@KINDS
def test_a_block_is_its_formula_in_output_and_gradients(
    kind, channels, channels_out, formula, kernel_size, form, batch
) -> None:
    options = {"kernel_size": kernel_size, "grn": form is not None, "grn_denominator": form or "mean"}
    block = random_block(kind, channels, channels_out, **options)
    assert_is_formula(block, torch.randn(batch, channels, 8, 6, 10), formula, form)


@KINDS
def test_the_plain_formula_stays_as_the_fallback(kind, channels, channels_out, formula) -> None:
    """float64 takes the plain path; so do GPUs, torch.compile and processors without oneDNN."""
    block = random_block(kind, channels, channels_out).double()
    assert_is_formula(block, torch.randn(2, channels, 8, 6, 10, dtype=torch.float64), formula, bound=1e-10)


@KINDS
def test_the_depthwise_bias_has_no_effect_and_stays_at_zero(kind, channels, channels_out, formula) -> None:
    block = random_block(kind, channels, channels_out)
    assert not block.conv1.bias.requires_grad
    assert not block.conv1.bias.any()
    x = torch.randn(1, channels, 8, 8, 8)
    with_bias = {**in_float64(block), "b.conv1.bias": torch.randn(channels).double()}
    torch.testing.assert_close(formula(x.double(), with_bias, "b"), block(x).double(), atol=1e-4, rtol=1e-4)


def test_grn_by_hand() -> None:
    # Two channels with norms 3 and 1, mean 2: shares 1.5 and 0.5. y = gamma * x * n + beta + x.
    x = torch.tensor([3.0, 1.0]).view(1, 2, 1, 1, 1)
    gamma, beta = torch.tensor([2.0, 4.0]).view(1, 2, 1, 1, 1), torch.tensor([0.5, 0.0]).view(1, 2, 1, 1, 1)
    torch.testing.assert_close(grn_response(x), torch.tensor([[1.5, 0.5]]))
    torch.testing.assert_close(grn_response(x, "sum"), torch.tensor([[0.75, 0.25]]))
    expected = torch.tensor([2 * 3 * 1.5 + 0.5 + 3, 4 * 1 * 0.5 + 1]).view(1, 2, 1, 1, 1)
    torch.testing.assert_close(grn(x, gamma, beta), expected)


@pytest.mark.parametrize("form", ["mean", "sum"])
def test_grn_is_the_formula_and_takes_each_sample_alone(form: str) -> None:
    x = torch.randn(3, 7, 4, 5, 6)
    gamma, beta = torch.randn(1, 7, 1, 1, 1), torch.randn(1, 7, 1, 1, 1)
    together = grn(x, gamma, beta, form)
    torch.testing.assert_close(together, formulas.grn(x, gamma, beta, form))
    torch.testing.assert_close(together[1:2], grn(x[1:2], gamma, beta, form))


def test_the_two_forms_of_grn_differ_by_the_number_of_channels() -> None:
    x, beta, gamma = torch.randn(2, 8, 4, 4, 4), torch.zeros(1, 8, 1, 1, 1), torch.randn(1, 8, 1, 1, 1)
    torch.testing.assert_close(grn(x, gamma, beta, "mean"), grn(x, 8 * gamma, beta, "sum"))


@pytest.mark.parametrize("kind", [MedNeXtBlock, MedNeXtDownBlock, MedNeXtUpBlock])
def test_a_new_block_with_grn_equals_one_without(kind) -> None:
    with_grn, without = (kind(6, 6, BlockOptions(expansion=2, grn=grn)) for grn in (True, False))
    with_grn.load_state_dict(without.state_dict(), strict=False)
    x = torch.randn(2, 6, 8, 8, 8)
    torch.testing.assert_close(with_grn(x), without(x))


def test_a_silent_channel_has_a_finite_gradient() -> None:
    x = torch.zeros(1, 2, 4, 4, 4)
    x[:, 1] = 1
    x.requires_grad_()
    channel_norm(x).sum().backward()
    assert x.grad is not None
    assert not x.grad[:, 0].any()
    torch.testing.assert_close(x.grad[:, 1], torch.full((1, 4, 4, 4), 0.125))  # x / norm = 1 / 8


def test_the_channel_norm_against_finite_differences() -> None:
    x = torch.randn(2, 3, 2, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(channel_norm, (x,))


def test_large_half_precision_values_do_not_overflow_the_norm() -> None:
    x = torch.full((1, 1, 8, 8, 8), 6e4, dtype=torch.float16)
    torch.testing.assert_close(channel_norm(x), torch.tensor([[x[0, 0, 0, 0, 0].item() * 512**0.5]]))


def test_a_frozen_depthwise_kernel_or_input_gets_no_gradient() -> None:
    x, weight = torch.randn(1, 4, 6, 6, 6, requires_grad=True), torch.randn(4, 1, 3, 3, 3)
    depthwise_conv3d(x, weight).sum().backward()
    assert x.grad is not None
    x, weight = x.detach(), weight.requires_grad_()
    depthwise_conv3d(x, weight).sum().backward()
    assert weight.grad is not None


@pytest.mark.parametrize("batch", [1, 3])
def test_the_pointwise_convolution_is_torchs(batch: int) -> None:
    x, weight, bias = torch.randn(batch, 5, 2, 3, 4), torch.randn(7, 5), torch.randn(7)
    expected = F.conv3d(x, weight.view(7, 5, 1, 1, 1), bias)
    torch.testing.assert_close(pointwise(x, weight, bias), expected, atol=1e-5, rtol=1e-5)
    per_sample = torch.stack([weight * (i + 1) for i in range(batch)])
    expected = torch.cat([F.conv3d(x[i : i + 1], per_sample[i].view(7, 5, 1, 1, 1), bias) for i in range(batch)])
    torch.testing.assert_close(pointwise(x, per_sample, bias), expected, atol=1e-5, rtol=1e-5)
