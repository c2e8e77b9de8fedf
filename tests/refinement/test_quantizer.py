"""Both quantisers: pure lookups against brute force, moving averages by hand, dead codes, autocast."""

import pytest
import torch
from pydantic import ValidationError

from nnunetv2_comnet.configurations import RefinerConfig
from nnunetv2_comnet.refinement.quantizer import EMAQuantizer, FiniteScalarQuantizer, build_quantizer, perplexity


def started(size: int = 8, channels: int = 4, **options: float) -> EMAQuantizer:
    quantizer = EMAQuantizer(size, channels, **options)  # type: ignore[arg-type]
    quantizer.started.fill_(True)
    return quantizer


def state(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def test_lookup_finds_the_nearest_code_and_changes_nothing() -> None:
    quantizer = started().train()
    latent = torch.randn(2, 4, 3, 4, 5)
    before = state(quantizer)
    values, numbers = quantizer.lookup(latent)
    tokens = latent.movedim(1, -1).reshape(-1, 4)
    expected = torch.cdist(tokens.double(), quantizer.codes.double()).argmin(dim=1)
    assert torch.equal(numbers.flatten(), expected)
    assert torch.equal(values.movedim(1, -1).reshape(-1, 4), quantizer.codes[expected])
    assert all(torch.equal(before[name], value) for name, value in quantizer.state_dict().items())


def test_a_code_moves_to_the_mean_of_its_tokens() -> None:
    quantizer = started(size=2, channels=1, decay=0.75, dead_below=0.0)
    quantizer.codes.copy_(torch.tensor([[0.0], [10.0]]))
    quantizer.sums.copy_(quantizer.codes)
    latent = torch.tensor([1.0, 2.0, 9.0, 9.0]).reshape(1, 1, 4, 1, 1)
    quantizer.update(latent, torch.ones(1, 4, 1, 1, dtype=torch.bool), torch.Generator())
    # Code 0: count 0.75 * 1 + 0.25 * 2 = 1.25, sum 0.75 * 0 + 0.25 * 3 = 0.75. Code 1: count 1.25, sum 7.5 + 4.5 = 12.
    assert torch.allclose(quantizer.codes, torch.tensor([[0.6], [9.6]]))


def test_dead_codes_come_back_as_tokens_of_errors_and_stay_there() -> None:
    quantizer = started(size=4, channels=1, dead_below=0.5)
    quantizer.codes.copy_(torch.tensor([[0.0], [100.0], [200.0], [300.0]]))
    quantizer.sums.copy_(quantizer.codes)
    latent = torch.tensor([0.0] * 60 + [5.0, 6.0]).reshape(1, 1, 62, 1, 1)
    active = latent[0] > 1
    generator = torch.Generator().manual_seed(0)
    for _ in range(30):
        quantizer.update(latent, active, generator)
    assert float(quantizer.codes.max()) <= 6.0 + 1e-4
    _, numbers = quantizer.lookup(latent)
    assert len({int(n) for n in numbers.flatten()[-2:]} & {int(numbers.flatten()[0])}) == 0


def test_the_codebook_starts_after_its_warm_up_on_what_the_encoder_says_then() -> None:
    quantizer = EMAQuantizer(4, 2, warm_up=2)
    latent = torch.randn(1, 2, 4, 4, 4, generator=torch.Generator().manual_seed(0)) + 50
    active = torch.ones(1, 4, 4, 4, dtype=torch.bool)
    assert torch.equal(quantizer.lookup(latent)[0], latent)  # nothing is quantised yet
    for _ in range(2):
        quantizer.update(latent, active, torch.Generator())
        assert not bool(quantizer.started)
    quantizer.update(latent, active, torch.Generator())
    assert bool(quantizer.started)
    assert (quantizer.codes - 50).abs().max() < 5
    assert len(set(quantizer.lookup(latent)[1].flatten().tolist())) == 4


def test_half_precision_cannot_corrupt_the_codebook() -> None:
    quantizer = EMAQuantizer(64, 4, warm_up=0)
    generator = torch.Generator().manual_seed(0)
    latent = 5 * torch.randn(1, 4, 40, 40, 40, generator=generator)
    active = torch.ones(1, 40, 40, 40, dtype=torch.bool)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for _ in range(3):
            quantizer.update(latent, active, generator)
        values, numbers = quantizer.lookup(latent)
    assert quantizer.codes.dtype == values.dtype == torch.float32
    assert torch.isfinite(quantizer.codes).all()
    exact = torch.cdist(latent.movedim(1, -1).reshape(-1, 4).double(), quantizer.codes.double()).argmin(dim=1)
    assert (numbers.flatten() == exact).float().mean() > 0.9999
    assert perplexity(torch.bincount(numbers.flatten(), minlength=64)) > 50


def test_the_straight_path_passes_the_gradient() -> None:
    quantizer = started()
    latent = torch.randn(1, 4, 2, 2, 2, requires_grad=True)
    values, _ = quantizer.lookup(latent)
    out = quantizer.straight_through(latent, values)
    assert torch.allclose(out, values)
    out.sum().backward()
    assert torch.equal(latent.grad, torch.ones_like(latent))
    # codebook term + commitment term, each a mean square
    expected = 2 * (latent.detach() - values).square().mean()
    assert float(quantizer.losses(latent, values)) == pytest.approx(float(expected), rel=1e-6)


def test_scalar_quantisation_has_a_thousand_codes_evenly_spaced() -> None:
    quantizer = FiniteScalarQuantizer(4)
    latent = torch.rand(1, 4, 40, 40, 40, generator=torch.Generator().manual_seed(0)).mul(1.998).sub(0.999).atanh()
    values, numbers = quantizer.lookup(latent)
    for channel, levels in enumerate((8, 5, 5, 5)):
        found = values[:, channel].unique()
        assert torch.allclose(found, torch.linspace(-1, 1, levels), atol=1e-6)
    assert len(values.movedim(1, -1).reshape(-1, 4).unique(dim=0)) == len(numbers.unique()) == quantizer.size == 1000
    assert torch.equal(quantizer.snap(values), values)
    assert torch.equal(quantizer.snap(values + 0.05), values)
    wider = FiniteScalarQuantizer(8)
    assert wider.size == 3**8
    assert wider.lookup(torch.randn(1, 8, 9, 9, 9))[0].unique().tolist() == [-1, 0, 1]


def test_perplexity_counts_codes_in_effect() -> None:
    assert perplexity(torch.tensor([5, 5, 5, 5, 0])) == pytest.approx(4)
    assert perplexity(torch.tensor([7, 0, 0])) == pytest.approx(1)
    assert perplexity(torch.tensor([3, 1])) == pytest.approx((4 / 3) ** 0.75 * 4**0.25)
    assert perplexity(torch.zeros(4)) == 0


def test_the_configuration_names_the_quantiser() -> None:
    assert isinstance(build_quantizer(RefinerConfig()), EMAQuantizer)
    assert isinstance(build_quantizer(RefinerConfig(quantizer="fsq")), FiniteScalarQuantizer)
    with pytest.raises(ValidationError, match=r"quantizer\n.*'ema' or 'fsq'"):
        RefinerConfig(quantizer="vq")
