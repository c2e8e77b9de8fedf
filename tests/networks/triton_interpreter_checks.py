"""The Triton kernels against plain formulas, on a CPU by Triton's interpreter; run by test_triton_kernels.py.

In a process of its own, because the interpreter is chosen once for a whole process. It runs every program of a kernel
one after the other in Python: the shapes are tiny, but odd, and larger than one program's part where it matters.
"""

import os

os.environ["TRITON_INTERPRET"] = "1"  # before triton is imported

from collections.abc import Callable, Sequence

import pytest
import torch
import torch.nn.functional as F
from mednext_formulas import block, chain
from torch import Tensor, nn

from nnunetv2_comnet.errors import ConfigurationError
from nnunetv2_comnet.networks.experimental.triton import available, depthwise_conv3d, expansion, fused_branch, launch
from nnunetv2_comnet.networks.experimental.triton.compression import (
    _compress,
    _compress_gradient,
    grn_compress,
    grn_scale,
)
from nnunetv2_comnet.networks.experimental.triton.depthwise import _convolution, _weight_gradient
from nnunetv2_comnet.networks.experimental.triton.expansion import _expand, norm_expand_gelu

HALVES = (torch.float16, torch.bfloat16)
QUICK = ("test_schema", "test_autograd_registration", "test_faketensor")  # the compiled step below shows the rest


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def gradients(function: Callable[..., Tensor], inputs: Sequence[Tensor], by: Tensor) -> list[Tensor]:
    """The output and the gradients of sum(output * by) by every input, all in float64."""
    inputs = [t.detach().clone().requires_grad_() for t in inputs]
    output = function(*inputs)
    output.backward(by.to(output.dtype))
    return [output.detach().double()] + [t.grad.double() for t in inputs if t.grad is not None]


def largest(found: Tensor, expected: Tensor) -> float:
    """The largest difference, as a share of the largest expected value."""
    return float((found - expected).abs().max() / expected.abs().max())


def typical(found: Tensor, expected: Tensor) -> float:
    """Root mean square of the difference over that of the expected values."""
    return float((found - expected).norm() / expected.norm())


def conv(x: Tensor, weight: Tensor) -> Tensor:
    return F.conv3d(x, weight, padding=weight.shape[-1] // 2, groups=x.shape[1])


# Two blocks of a plane and two chunks of slices; several samples and channels; nothing but an edge.
@pytest.mark.parametrize(
    ("size", "shape"), [(3, (1, 1, 17, 11, 6)), (3, (2, 2, 3, 5, 7)), (5, (2, 1, 3, 4, 5)), (5, (1, 2, 2, 1, 1))]
)
def test_depthwise_convolution_equals_the_plain_one(size: int, shape: tuple[int, ...]) -> None:
    x, weight, by = torch.randn(shape), torch.randn(shape[1], 1, size, size, size), torch.randn(shape)
    found = gradients(depthwise_conv3d, [x, weight], by)
    expected = gradients(conv, [x.double(), weight.double()], by)
    assert len(found) == 3
    for ours, plain in zip(found, expected, strict=True):
        assert largest(ours, plain) <= 1e-6


@pytest.mark.parametrize("dtype", HALVES)
def test_depthwise_convolution_in_half_precision_rounds_once(dtype: torch.dtype) -> None:
    """Inputs are exact and sums float32: output and input gradient are off by their own rounding, eps at most."""
    x, by = torch.randn(1, 2, 3, 4, 5).to(dtype), torch.randn(1, 2, 3, 4, 5).to(dtype)
    weight = torch.randn(2, 1, 3, 3, 3)  # float32, as under autocast
    found = gradients(depthwise_conv3d, [x, weight], by)
    expected = gradients(conv, [x.double(), weight.double()], by)
    for ours, plain in zip(found[:2], expected[:2], strict=True):
        assert ((ours - plain).abs() <= 1.01 * torch.finfo(dtype).eps * plain.abs() + 1e-6).all()
    assert largest(found[2], expected[2]) <= 1e-6


def branch_inputs(
    batch: int, channels: int, expanded: int, out: int, space: tuple[int, ...], mean: float = 0
) -> list[Tensor]:
    """x, residual, norm weight and bias, expansion, GRN's two, compression; x with `mean` deviations of mean."""
    x = torch.randn(batch, channels, *space) * (0.5 + torch.rand(channels, 1, 1, 1)) + mean
    return [
        x,
        torch.randn(batch, out, *space),
        1 + 0.2 * torch.randn(channels),
        0.2 * torch.randn(channels),
        torch.randn(expanded, channels, 1, 1, 1) / channels**0.5,
        0.2 * torch.randn(expanded),
        torch.randn(1, expanded, 1, 1, 1),
        0.3 * torch.randn(1, expanded, 1, 1, 1),
        torch.randn(out, expanded, 1, 1, 1) / expanded**0.5,
        0.2 * torch.randn(out),
    ]


NAMES = (
    "norm.weight",
    "norm.bias",
    "conv2.weight",
    "conv2.bias",
    "grn_gamma",
    "grn_beta",
    "conv3.weight",
    "conv3.bias",
)


def plain_branch(x: Tensor, residual: Tensor, *parameters: Tensor) -> Tensor:
    return residual + chain(x, {f"b.{name}": p for name, p in zip(NAMES, parameters, strict=True)}, "b")


def our_branch(x: Tensor, residual: Tensor, *parameters: Tensor) -> Tensor:
    norm_weight, norm_bias, weight, bias, gamma, beta, out_weight, out_bias = parameters
    hidden, squares = norm_expand_gelu(x, norm_weight, norm_bias, weight.flatten(1), bias)
    scale = grn_scale(squares, gamma.flatten())
    return grn_compress(hidden, scale, beta.flatten(), out_weight.flatten(1), out_bias, residual)


# Voxels, expanded channels and channels beyond one program's block, and below a matrix product's smallest tile; the
# same cut into two parts of several blocks each, as at real sizes.
@pytest.mark.parametrize(
    ("shape", "programs"),
    [((2, 5, 7, 6, (3, 5, 7)), 2048), ((1, 17, 70, 33, (5, 7, 9)), 2048), ((1, 17, 70, 33, (5, 7, 9)), 4)],
    ids=str,
)
def test_branch_equals_the_formula(shape: tuple, programs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "PROGRAMS", programs)
    monkeypatch.setattr(expansion, "MOMENTS_BLOCK", 64)
    inputs = branch_inputs(*shape)
    by = torch.randn(inputs[1].shape)
    found = gradients(our_branch, inputs, by)
    expected = gradients(plain_branch, [t.double() for t in inputs], by)
    assert len(found) == 11
    for number, (ours, plain) in enumerate(zip(found, expected, strict=True)):
        assert largest(ours, plain) <= 1e-5, number


# A rounding changes a number by at most eps of itself, and independent errors add by their squares. The output went
# through four (folded expansion, expanded tensor, folded compression, output): 2 eps. A gradient through at most eight
# (the same in reverse besides): 3 eps. A fold whose bias is not made of the rounded weights is off by 8 eps and more at
# this mean.
@pytest.mark.parametrize("dtype", HALVES)
def test_branch_in_half_precision_is_as_good_as_its_roundings(dtype: torch.dtype) -> None:
    inputs = branch_inputs(2, 17, 70, 17, (3, 5, 7), mean=30)
    inputs[:2] = [t.to(dtype) for t in inputs[:2]]
    by = torch.randn(inputs[1].shape).to(dtype)
    found = gradients(our_branch, inputs, by)
    expected = gradients(plain_branch, [t.double() for t in inputs], by)
    eps = torch.finfo(dtype).eps
    assert typical(found[0], expected[0]) <= 2 * eps
    for number, (ours, plain) in enumerate(zip(found[1:], expected[1:], strict=True)):
        assert typical(ours, plain) <= 3 * eps, number


def test_squares_have_a_gradient_of_their_own() -> None:
    x, _, norm_weight, norm_bias, weight, bias, *_ = branch_inputs(1, 4, 6, 4, (2, 3, 3))
    by = torch.randn(1, 6)

    def ours(x: Tensor, norm_weight: Tensor, norm_bias: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return norm_expand_gelu(x, norm_weight, norm_bias, weight.flatten(1), bias)[1]

    def plain(x: Tensor, norm_weight: Tensor, norm_bias: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        h = F.gelu(F.conv3d(F.group_norm(x, 4, norm_weight, norm_bias), weight, bias))
        return (h * h).sum(dim=(2, 3, 4))

    inputs = [x, norm_weight, norm_bias, weight, bias]
    for found, expected in zip(
        gradients(ours, inputs, by), gradients(plain, [t.double() for t in inputs], by), strict=True
    ):
        assert largest(found, expected) <= 1e-5


def test_a_block_s_layers_give_the_block() -> None:
    """Depthwise convolution, then the branch with the input as its residual; without GRN and with it, both forms."""
    channels, expanded = 4, 8
    norm = nn.GroupNorm(channels, channels)
    expansion, compression = nn.Conv3d(channels, expanded, 1), nn.Conv3d(expanded, channels, 1)
    kernel, gamma, beta = (
        torch.randn(channels, 1, 3, 3, 3),
        torch.randn(1, expanded, 1, 1, 1),
        torch.randn(1, expanded, 1, 1, 1),
    )
    x = torch.randn(1, channels, 3, 2, 3)
    plain = {"b.conv1.weight": kernel, "b.conv1.bias": torch.zeros(channels)}
    for name, layer in (("norm", norm), ("conv2", expansion), ("conv3", compression)):
        plain |= {f"b.{name}.{key}": value.detach() for key, value in layer.state_dict().items()}
    with torch.no_grad():
        spatial = depthwise_conv3d(x, kernel)
        without = fused_branch(spatial, norm, expansion, compression, residual=x)
        assert largest(without, block(x, plain, "b")) <= 1e-5
        plain |= {"b.grn_gamma": gamma, "b.grn_beta": beta}
        for form in ("mean", "sum"):
            found = fused_branch(
                spatial, norm, expansion, compression, grn_gamma=gamma, grn_beta=beta, grn_denominator=form, residual=x
            )
            assert largest(found, block(x, plain, "b", form)) <= 1e-5


def test_a_silent_channel_has_no_gradient_but_no_nan_either() -> None:
    """Weights and bias of zero: gelu(0) = 0 everywhere, whose norm is 0, where the norm's gradient is set to 0."""
    inputs = branch_inputs(1, 4, 6, 4, (2, 3, 3))
    inputs[4][2], inputs[5][2] = 0, 0
    for found in gradients(our_branch, inputs, torch.randn(1, 4, 2, 3, 3)):
        assert found.isfinite().all()


def test_autocast_decides_the_type() -> None:
    x, weight = torch.randn(1, 2, 2, 3, 3), torch.randn(2, 1, 3, 3, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert depthwise_conv3d(x, weight).dtype == torch.bfloat16
    assert depthwise_conv3d(x, weight).dtype == torch.float32


def test_memory_order_does_not_matter() -> None:
    x, weight = torch.randn(1, 2, 2, 3, 3), torch.randn(2, 1, 3, 3, 3)
    turned = x.to(memory_format=torch.channels_last_3d)
    assert torch.equal(depthwise_conv3d(turned, weight), depthwise_conv3d(x, weight))


def test_torch_compile_takes_the_operators_whole() -> None:
    inputs = branch_inputs(1, 4, 6, 4, (2, 3, 3))
    kernel = torch.randn(4, 1, 3, 3, 3)

    def step(kernel: Tensor, *inputs: Tensor) -> Tensor:
        return our_branch(depthwise_conv3d(inputs[0], kernel), *inputs[1:])

    by = torch.randn(1, 4, 2, 3, 3)
    eager = gradients(step, [kernel, *inputs], by)
    compiled = gradients(torch.compile(step, fullgraph=True, backend="aot_eager"), [kernel, *inputs], by)
    assert len(eager) == 12
    for one, other in zip(eager, compiled, strict=True):
        assert largest(one, other) <= 1e-5


def test_the_operators_keep_torch_s_rules() -> None:
    """Schemas, shapes and types without data, gradients: torch's own checks of an operator."""
    x = torch.randn(1, 2, 2, 2, 3, requires_grad=True)
    kernel = torch.randn(2, 1, 3, 3, 3, requires_grad=True)
    torch.library.opcheck(_convolution, (x, kernel), test_utils=QUICK)
    torch.library.opcheck(_weight_gradient, (x.detach(), x.detach(), 3), test_utils=QUICK)
    weight, bias, norm = torch.randn(3, 2, requires_grad=True), torch.randn(3), torch.randn(2)
    torch.library.opcheck(_expand, (x, norm, norm.clone(), weight, bias, 1e-5), test_utils=QUICK)
    hidden, scale, out = torch.randn(1, 3, 2, 2, 3, requires_grad=True), torch.rand(1, 3), torch.randn(2, 3)
    torch.library.opcheck(_compress, (hidden, scale, bias, out, norm, x), test_utils=QUICK)
    torch.library.opcheck(_compress_gradient, (x.detach(), hidden.detach(), scale, bias, out), test_utils=QUICK)


def test_mistakes_are_named() -> None:
    assert available("cpu")  # by the interpreter
    x, kernel = torch.randn(1, 2, 2, 2, 3), torch.randn(2, 1, 3, 3, 3)
    with pytest.raises(ConfigurationError, match=r"torch\.float64"):
        depthwise_conv3d(x.double(), kernel)
    with pytest.raises(ConfigurationError, match=r"\(2, 2, 2, 3\)"):
        depthwise_conv3d(x[0], kernel)
    with pytest.raises(ConfigurationError, match="7"):
        depthwise_conv3d(x, torch.randn(2, 1, 7, 7, 7))
    with pytest.raises(ConfigurationError, match=r"\(2, 1, 3, 3, 3\).*\(3, 1, 3, 3, 3\)"):
        depthwise_conv3d(x, torch.randn(3, 1, 3, 3, 3))
    with pytest.raises(ConfigurationError, match=r"129.*128"):
        norm_expand_gelu(torch.randn(1, 129, 1, 1, 1), *[torch.randn(129)] * 2, torch.randn(2, 129), torch.randn(2))
