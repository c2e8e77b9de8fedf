"""The residual autoencoder's pieces against plain formulas."""

import pytest
import torch

from nnunetv2_comnet.refinement.residual_vae import (
    ResidualDecoder,
    active_tokens,
    depth_to_space,
    reconstruction_loss,
)
from tests.refinement.conftest import small_refiner


def test_depth_to_space_puts_every_channel_where_it_belongs() -> None:
    x = torch.arange(2 * 8 * 2 * 3 * 2, dtype=torch.float32).reshape(1, 16, 2, 3, 2)
    y = depth_to_space(x, 2)
    assert y.shape == (1, 2, 4, 6, 4)
    for c, z, h, w in [(0, 0, 0, 0), (1, 3, 5, 2), (0, 1, 4, 3), (1, 2, 1, 1)]:
        channel = c * 8 + (z % 2) * 4 + (h % 2) * 2 + w % 2
        assert y[0, c, z, h, w] == x[0, channel, z // 2, h // 2, w // 2]


@pytest.mark.parametrize("factor", [2, 4])
def test_an_untrained_decoder_says_nothing(factor: int) -> None:
    refiner = small_refiner(downsampling=factor, patch_size=(16, 16, 32))
    latent = refiner.encoder(torch.randn(1, 3, 16, 16, 32))
    assert latent.shape == (1, 4, 16 // factor, 16 // factor, 32 // factor)
    residual = refiner.decode(latent)
    assert residual.shape == (1, 3, 16, 16, 32)
    assert torch.equal(residual, torch.zeros_like(residual))


def test_the_loss_weighs_errors_and_the_rest_alike() -> None:
    residual = torch.zeros(1, 1, 1, 1, 100)
    residual[..., 0] = 0.8
    residual[..., 1] = 0.01  # below the threshold: not an error
    decoded = torch.full_like(residual, 0.02)
    by_hand = abs(0.8 - 0.02) + (98 * 0.02 + 0.01) / 99
    assert float(reconstruction_loss(decoded, residual)) == pytest.approx(by_hand, rel=1e-5)
    both = torch.cat([residual, torch.zeros_like(residual)], dim=1)  # a second region without an error
    second = abs(0.3) * torch.ones_like(residual)
    assert float(reconstruction_loss(torch.cat([decoded, second], dim=1), both)) == pytest.approx((by_hand + 0.3) / 2)
    nothing = torch.zeros_like(residual)
    # What an unweighted L1 would call a good answer costs almost all there is.
    assert float(reconstruction_loss(nothing, residual)) > 0.79
    assert float(reconstruction_loss(nothing, nothing)) == 0


def test_tokens_are_active_where_they_cover_an_error() -> None:
    residual = torch.zeros(1, 3, 4, 4, 4)
    residual[0, 2, 3, 0, 1] = -0.06
    expected = torch.zeros(1, 2, 2, 2, dtype=torch.bool)
    expected[0, 1, 0, 0] = True
    assert torch.equal(active_tokens(residual, 2), expected)


@pytest.mark.chain
def test_it_learns_what_a_small_lesion_was_missed() -> None:
    refiner = small_refiner(autoencoder_channels=16, codebook_size=64).train()
    generator = torch.Generator().manual_seed(0)
    residual = torch.zeros(4, 3, 16, 16, 16)
    for sample in range(4):
        z, y, x = torch.randint(2, 12, (3,), generator=generator).tolist()
        residual[sample, :, z : z + 2, y : y + 2, x : x + 2] = 0.9
    parameters = [*refiner.encoder.parameters(), *refiner.decoder.parameters()]
    optimizer = torch.optim.AdamW(parameters, 3e-3)
    for step in range(300):
        refiner.quantizer.update(refiner.encoder(residual), active_tokens(residual, 2), generator)
        latent = refiner.encoder(residual)
        values, _ = refiner.quantizer.lookup(latent)
        decoded = refiner.decode(refiner.quantizer.straight_through(latent, values))
        loss = reconstruction_loss(decoded, residual) + 0.25 * refiner.quantizer.losses(latent, values)
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * (1 - step / 300)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert torch.isfinite(loss), step
    assert bool(refiner.quantizer.started)
    found = (decoded > 0.5) & (residual > 0.5)
    assert found.sum() > 0.9 * (residual > 0.5).sum()
    spurious = (decoded > 0.5) & (residual == 0)
    assert spurious.sum() < 0.01 * (residual == 0).sum()


def test_the_decoder_starts_at_zero_whatever_the_code() -> None:
    decoder = ResidualDecoder(small_refiner().config, 3)
    assert not decoder(10 * torch.randn(1, 4, 3, 3, 3)).any()
