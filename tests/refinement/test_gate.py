"""Gate and correction by hand and against scipy."""

import math

import numpy as np
import pytest
import scipy.ndimage
import scipy.special
import scipy.stats
import torch

from nnunetv2_comnet.refinement.condition import LARGEST_LOGIT, binary_entropy, condition_channels
from nnunetv2_comnet.refinement.gate import gate, logit_correction


def test_entropy_in_bits() -> None:
    p = torch.tensor([0.0, 1e-6, 0.1, 0.5, 0.9, 1.0])
    expected = [scipy.stats.entropy([q, 1 - q], base=2) for q in p.tolist()]
    assert np.allclose(binary_entropy(p).numpy(), expected, atol=1e-6)
    assert binary_entropy(torch.tensor([0.0, 1.0])).tolist() == [0.0, 0.0]


def test_the_gate_opens_with_uncertainty_and_reaches_its_neighbours() -> None:
    logits = torch.full((1, 2, 1, 1, 9), -20.0)
    logits[0, 0, 0, 0, 4] = 0.0  # one bit of entropy
    opened = gate(logits, low=0.02, high=0.2, reach=2)
    assert opened[0, 0, 0, 0].tolist() == [0, 0, 1, 1, 1, 1, 1, 0, 0]
    assert opened[0, 1].abs().max() == 0  # the other region is sure
    p = 0.01
    logits[0, 0, 0, 0, 4] = math.log(p / (1 - p))
    entropy = -(p * math.log2(p) + (1 - p) * math.log2(1 - p))
    partly = gate(logits, low=0.02, high=0.2, reach=0)
    assert float(partly[0, 0, 0, 0, 4]) == pytest.approx((entropy - 0.02) / 0.18, rel=1e-4)


def test_the_gate_reaches_a_cube() -> None:
    logits = 4 * torch.randn((1, 2, 9, 10, 11), generator=torch.Generator().manual_seed(0))
    opened = gate(logits, low=0.1, high=0.4, reach=2)[0].numpy()
    entropy = binary_entropy(logits[0].sigmoid()).numpy()
    largest = np.stack([scipy.ndimage.maximum_filter(one, size=5, mode="constant") for one in entropy])
    assert np.allclose(opened, np.clip((largest - 0.1) / 0.3, 0, 1), atol=1e-6)


def test_a_correction_makes_p_plus_r_of_p() -> None:
    rng = np.random.default_rng(0)
    p = rng.uniform(0.05, 0.95, (1, 3, 4, 4, 4))
    r = np.clip(rng.normal(0, 0.3, p.shape), 0.02 - p, 0.98 - p)
    logits = torch.from_numpy(scipy.special.logit(p)).float()
    final = logits + logit_correction(logits, torch.from_numpy(r).float())
    assert np.allclose(final.sigmoid().numpy(), p + r, atol=1e-4)


def test_no_residual_no_correction_bit_for_bit() -> None:
    logits = 30 * torch.randn(1, 3, 8, 8, 8)
    assert torch.equal(logit_correction(logits, torch.zeros_like(logits)), torch.zeros_like(logits))


@pytest.mark.parametrize(
    ("residual", "truth", "learns"), [(0.9, 0, True), (0.9, 1, False), (-0.9, 1, True), (-0.9, 0, False)]
)
def test_beyond_the_clamp_only_a_wrong_residual_learns(residual: float, truth: float, learns: bool) -> None:
    r = torch.full((1, 1, 1, 1, 1), residual, requires_grad=True)
    final = logit_correction(torch.zeros(1, 1, 1, 1, 1), r)  # p = 1/2, so p + r lies outside (0, 1)
    torch.nn.functional.binary_cross_entropy_with_logits(final, torch.full_like(final, truth)).backward()
    assert (float(r.grad) != 0) == learns
    if learns:
        assert float(r.grad) * residual > 0  # descent brings it back


def test_what_the_refiner_is_shown() -> None:
    image, logits = (
        torch.randn(1, 4, 2, 2, 2),
        torch.tensor([-50.0, 0.0, 1.5]).reshape(1, 3, 1, 1, 1).expand(1, 3, 2, 2, 2),
    )
    shown = condition_channels(image, logits)
    assert shown.shape == (1, 13, 2, 2, 2)
    assert torch.equal(shown[:, :4], image)
    assert shown[0, 4:7, 0, 0, 0].tolist() == pytest.approx([-1.0, 0.0, 1.5 / LARGEST_LOGIT])
    assert shown[0, 7:10, 0, 0, 0].tolist() == pytest.approx([0.0, 0.5, 1 / (1 + math.exp(-1.5))])
    assert shown[0, 11, 0, 0, 0] == 1.0
