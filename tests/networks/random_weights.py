"""Random weights where a new network has zeros and ones, so that none of them hides a wrong formula; single blocks."""

from collections.abc import Callable

import mednext_formulas as formulas
import pytest
import torch
from torch import Tensor, nn

from nnunetv2_comnet.networks.blocks import BlockOptions, MedNeXtBlock, MedNeXtDownBlock, MedNeXtUpBlock

KINDS = pytest.mark.parametrize(
    ("kind", "channels", "channels_out", "formula"),
    [
        pytest.param(MedNeXtBlock, 6, 6, formulas.block, id="block"),
        pytest.param(MedNeXtDownBlock, 6, 12, formulas.down, id="down"),
        pytest.param(MedNeXtUpBlock, 6, 3, formulas.up, id="up"),
    ],
)


def randomise(module: nn.Module, seed: int = 0) -> None:
    """Random norms and GRN, as after training; the other weights have torch's own random start."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if "norm." in name or "grn_" in name:
                parameter += 0.3 * torch.randn(parameter.shape, generator=generator)


def random_block(kind: type[MedNeXtBlock], channels: int, channels_out: int, **options: object) -> MedNeXtBlock:
    """A block of expansion ratio 3 whose trained weights are all random."""
    torch.manual_seed(0)
    block = kind(channels, channels_out, BlockOptions(**{"expansion": 3, **options}))  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in block.parameters():
            if parameter.requires_grad:
                parameter += 0.3 * torch.randn_like(parameter)
    return block


def in_float64(module: nn.Module) -> dict[str, Tensor]:
    """The weights as leaves in float64, by the names that the formulas give those of a block "b"."""
    return {f"b.{name}": p.detach().double().requires_grad_() for name, p in module.named_parameters()}


def assert_same_with_gradients(
    ours: Callable[..., Tensor],
    expected: Callable[..., Tensor],
    leaves: list[Tensor],
    leaves_64: list[Tensor],
    *,
    output: float = 1e-5,
    gradients: float = 1e-5,
) -> None:
    """Both functions of no arguments; `output`: largest error, `gradients`: share of the norm, of every leaf."""
    y, y_64 = ours(), expected()
    torch.testing.assert_close(y.double(), y_64, atol=output, rtol=output)
    direction = torch.randn_like(y)
    y.backward(direction)
    y_64.backward(direction.double())
    for leaf, leaf_64 in zip(leaves, leaves_64, strict=True):
        assert (leaf.grad.double() - leaf_64.grad).norm() <= gradients * leaf_64.grad.norm()


def assert_is_formula(
    block: MedNeXtBlock, x: Tensor, formula: Callable[..., Tensor], form: str | None = "mean", bound: float = 1e-5
) -> None:
    """The block against its formula in float64, in output and gradients."""
    x.requires_grad_()
    x_64, weights = x.detach().double().requires_grad_(), in_float64(block)
    trained = {f"b.{name}": p for name, p in block.named_parameters() if p.requires_grad}
    leaves, leaves_64 = [x, *trained.values()], [x_64, *(weights[name] for name in trained)]
    assert_same_with_gradients(
        lambda: block(x), lambda: formula(x_64, weights, "b", form or "mean"), leaves, leaves_64,
        output=bound, gradients=bound,
    )  # fmt: skip
