"""The losses by hand-worked numbers, finite differences and the laws that a segmentation loss must keep."""

import pytest
import torch
from torch import Tensor

from nnunetv2_comnet.errors import ConfigurationError
from nnunetv2_comnet.losses import (
    DeepSupervisionLoss,
    DSCPlusPlusBCELoss,
    deep_supervision_weights,
    dice_bce_loss,
    dsc_plus_plus,
)

LN2 = 0.6931471805599453
SURE = 40.0  # a logit whose sigmoid is 1 (or, negated, 0) in float32, or as good as


def _row(*values: float) -> Tensor:
    """One sample, one region, one row of voxels."""
    return torch.tensor(values).view(1, 1, 1, 1, -1)


def _logits(*probabilities: float) -> Tensor:
    return torch.logit(_row(*probabilities).double())


def test_dsc_plus_plus_by_hand() -> None:
    # overlap 0.5; sums of squares 0.25 + 0.25 and 1; so (1 + 1) / (1.5 + 1) with smooth = 1.
    p, y = _row(0.5, 0.5, 0.0), _row(1, 0, 0)
    assert dsc_plus_plus(p, y, smooth=1.0).item() == pytest.approx(2 / 2.5)
    assert dsc_plus_plus(p, y).item() == pytest.approx(1 / 1.5, abs=1e-5)
    # The standard Dice has no squares: (1 + 1) / (1 + 1 + 1).
    assert dsc_plus_plus(p, y, smooth=1.0, squared=False).item() == pytest.approx(2 / 3)


def test_the_loss_by_hand() -> None:
    # At p = 0.5 everywhere: DSC++ = 1 / (0.5 + 1) for one of two voxels, BCE = ln 2.
    logits, target = _logits(0.5, 0.5), _row(1, 0)
    assert DSCPlusPlusBCELoss()(logits, target).item() == pytest.approx(1 / 3 + LN2, abs=1e-5)
    assert DSCPlusPlusBCELoss(squared=False)(logits, target).item() == pytest.approx(1 / 2 + LN2, abs=1e-5)
    assert dice_bce_loss()(logits, target).item() == pytest.approx(1 / 2 + LN2, abs=1e-5)  # the baseline's
    # p = 0.8 where y = 1 and p = 0.6 where y = 0: DSC++ = 1.6 / (0.64 + 0.36 + 1), BCE by its formula.
    unequal = DSCPlusPlusBCELoss()(_logits(0.8, 0.6), target)
    assert unequal.item() == pytest.approx(1 - 0.8 + (0.2231436 + 0.9162907) / 2, abs=1e-5)


def test_a_perfect_prediction_costs_nothing() -> None:
    target = _row(1, 0, 1, 1, 0)
    assert DSCPlusPlusBCELoss()(SURE * (2 * target - 1), target).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("squared", [True, False])
def test_an_absent_region_costs_nothing_if_not_predicted_and_something_if_predicted(squared: bool) -> None:
    def loss(logits: Tensor, target: Tensor) -> Tensor:
        return 1 - dsc_plus_plus(logits.sigmoid(), target, squared=squared).mean()

    target = torch.zeros(1, 1, 4, 4, 4)
    nothing = torch.full_like(target, -SURE)
    assert loss(nothing, target).item() == pytest.approx(0, abs=1e-6)
    one_voxel = nothing.clone()
    one_voxel[0, 0, 1, 2, 3] = SURE
    assert loss(one_voxel, target).item() == pytest.approx(1, abs=1e-4)
    hesitant = nothing.clone()
    hesitant[0, 0, 1, 2, 3] = -5.0
    hesitant.requires_grad_()
    loss(hesitant, target).backward()
    assert hesitant.grad[0, 0, 1, 2, 3] > 0  # downhill is: predict less


def test_regions_and_samples_count_alike_whatever_their_size() -> None:
    # A region of one voxel missed and a region of 63 found: the mean of 1 and 0, not a ratio of pooled sums.
    target = torch.zeros(1, 2, 4, 4, 4)
    target[0, 0, 0, 0, 0] = 1
    target[0, 1] = 1 - target[0, 0]
    logits = SURE * (2 * target - 1)
    logits[0, 0] = -SURE
    # One voxel of the 128 is missed by 40 in its logit: that is the cross-entropy's mean.
    expected = pytest.approx(0.5 + SURE / 128, abs=1e-4)
    assert DSCPlusPlusBCELoss()(logits, target).item() == expected
    # The same two as two samples of one region.
    assert DSCPlusPlusBCELoss()(logits.transpose(0, 1), target.transpose(0, 1)).item() == expected


def test_the_order_of_samples_and_of_voxels_does_not_matter() -> None:
    logits, target = torch.randn(3, 2, 2, 3, 4), torch.rand(3, 2, 2, 3, 4) > 0.5
    loss = DSCPlusPlusBCELoss()
    expected = loss(logits, target)
    torch.testing.assert_close(loss(logits.flip(0), target.flip(0)), expected)
    torch.testing.assert_close(loss(logits.flip(2, 4), target.flip(2, 4)), expected)


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int16, torch.float16, torch.float32])
def test_targets_of_any_type_give_the_same_loss(dtype: torch.dtype) -> None:
    logits, target = torch.randn(1, 3, 4, 4, 4), torch.rand(1, 4, 4, 4, 4) > 0.5
    loss = DSCPlusPlusBCELoss(has_ignore_channel=True)
    torch.testing.assert_close(loss(logits, target.to(dtype)), loss(logits, target.float()))


@pytest.mark.parametrize("squared", [True, False])
@pytest.mark.parametrize("has_ignore_channel", [True, False])
def test_gradients_against_finite_differences(squared: bool, has_ignore_channel: bool) -> None:
    loss = DSCPlusPlusBCELoss(squared=squared, has_ignore_channel=has_ignore_channel)
    logits = torch.randn(2, 3, 2, 3, 2, dtype=torch.float64, requires_grad=True)
    target = torch.rand(2, 3 + has_ignore_channel, 2, 3, 2) > 0.6
    target[0, 1] = False  # an absent region
    assert torch.autograd.gradcheck(lambda x: loss(x, target), (logits,))


def test_float32_gradients_against_finite_differences() -> None:
    loss, target = DSCPlusPlusBCELoss(), torch.rand(1, 2, 3, 3, 3) > 0.6
    logits = torch.randn(1, 2, 3, 3, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(loss(logits, target), logits)
    with torch.no_grad():
        for index in ((0, 0, 0, 0, 0), (0, 1, 2, 1, 0), (0, 1, 2, 2, 2)):
            step = torch.zeros_like(logits)
            step[index] = 1e-2
            slope = (loss(logits + step, target) - loss(logits - step, target)) / 2e-2
            assert gradient[index].item() == pytest.approx(slope.item(), abs=5e-5)


def test_ignored_voxels_count_in_neither_term() -> None:
    loss, ignoring = DSCPlusPlusBCELoss(), DSCPlusPlusBCELoss(has_ignore_channel=True)
    logits, target = torch.randn(1, 2, 1, 1, 6, requires_grad=True), torch.rand(1, 2, 1, 1, 6).round()
    ignored = _row(0, 1, 0, 0, 1, 1)
    kept = ignored.flatten() == 0
    with_ignore = ignoring(logits, torch.cat([target, ignored], dim=1))
    torch.testing.assert_close(with_ignore, loss(logits[..., kept], target[..., kept]))
    (gradient,) = torch.autograd.grad(with_ignore, logits)
    assert not gradient[..., ~kept].any()
    assert gradient[..., kept].all()
    # A mask that ignores nothing changes nothing.
    nothing = torch.zeros_like(ignored)
    torch.testing.assert_close(ignoring(logits, torch.cat([target, nothing], dim=1)), loss(logits, target))


def test_with_every_voxel_ignored_loss_and_gradient_are_zero() -> None:
    logits = torch.randn(2, 3, 2, 2, 2, requires_grad=True)
    value = DSCPlusPlusBCELoss(has_ignore_channel=True)(logits, torch.ones(2, 4, 2, 2, 2, dtype=torch.bool))
    value.backward()
    assert value.item() == 0
    assert not logits.grad.any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_loss_is_float32_inside_autocast(dtype: torch.dtype) -> None:
    # 64^3 voxels at p near 1: sums far above float16's largest number, 65504.
    logits = torch.randn(1, 1, 64, 64, 64, dtype=dtype) + 3
    target = torch.ones(1, 1, 64, 64, 64, dtype=torch.bool)
    loss = DSCPlusPlusBCELoss()
    with torch.autocast("cpu", dtype=dtype):
        inside = loss(logits.requires_grad_(), target)
    assert inside.dtype == torch.float32
    torch.testing.assert_close(inside, loss(logits.float(), target))
    inside.backward()
    assert logits.grad.dtype == dtype
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("logit", [-1e4, 1e4])
@pytest.mark.parametrize("label", [0, 1])
def test_extreme_logits_give_finite_losses_and_gradients(logit: float, label: int) -> None:
    logits = torch.full((1, 3, 4, 4, 4), logit, requires_grad=True)
    value = DSCPlusPlusBCELoss()(logits, torch.full((1, 3, 4, 4, 4), label))
    value.backward()
    assert value.isfinite()
    assert logits.grad.isfinite().all()


def test_the_weights_of_deep_supervision_halve_and_sum_to_one() -> None:
    assert deep_supervision_weights(5) == pytest.approx([16 / 31, 8 / 31, 4 / 31, 2 / 31, 1 / 31])
    assert sum(deep_supervision_weights(5)) == pytest.approx(1)
    assert deep_supervision_weights(1) == (1.0,)
    with pytest.raises(ConfigurationError):
        deep_supervision_weights(0)


def test_deep_supervision_is_the_weighted_sum_and_every_level_gets_a_gradient() -> None:
    loss = DSCPlusPlusBCELoss()
    outputs = [torch.randn(1, 3, side, side, side, requires_grad=True) for side in (16, 8, 4, 2, 1)]
    targets = [torch.rand(output.shape) > 0.5 for output in outputs]
    value = DeepSupervisionLoss(loss)(outputs, targets)
    expected = sum(w * loss(o, t) for w, o, t in zip((16, 8, 4, 2, 1), outputs, targets, strict=True)) / 31
    torch.testing.assert_close(value, expected)
    value.backward()
    assert all(output.grad.any() for output in outputs)


def test_what_does_not_fit_is_named() -> None:
    loss = DSCPlusPlusBCELoss()
    with pytest.raises(ConfigurationError, match=r"\(1, 3, 4, 4, 4\).*\(1, 4, 4, 4, 4\)"):
        loss(torch.zeros(1, 3, 4, 4, 4), torch.zeros(1, 4, 4, 4, 4))
    with pytest.raises(ConfigurationError, match=r"\(1, 4, 4, 4, 4\).*\(1, 3, 4, 4, 4\)"):
        DSCPlusPlusBCELoss(has_ignore_channel=True)(torch.zeros(1, 3, 4, 4, 4), torch.zeros(1, 3, 4, 4, 4))
    with pytest.raises(ConfigurationError, match="smooth"):
        DSCPlusPlusBCELoss(smooth=0)
    with pytest.raises(ConfigurationError):
        DeepSupervisionLoss(loss)([torch.zeros(1)] * 2, [torch.zeros(1)] * 2)


def test_the_loss_compiles_as_one_graph() -> None:
    torch._dynamo.reset()
    loss = DeepSupervisionLoss(DSCPlusPlusBCELoss(has_ignore_channel=True), n_levels=2)
    outputs = [torch.randn(2, 3, side, side, side, requires_grad=True) for side in (4, 2)]
    targets = [torch.rand(2, 4, side, side, side) > 0.5 for side in (4, 2)]
    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)(outputs, targets)
    torch.testing.assert_close(compiled, loss(outputs, targets))
    compiled.backward()
    torch._dynamo.reset()
