"""The schedule's laws, and the sampler against the exact denoiser of a Gaussian."""

import itertools
import math

import pytest
import torch

from nnunetv2_comnet.errors import ConfigurationError
from nnunetv2_comnet.refinement.sampler import reverse_timesteps, sample
from nnunetv2_comnet.refinement.schedule import Schedule

MEAN, STD = 0.7, 0.5
T = 200


class ExactGaussian:
    """What the best denoiser says where z_0 ~ N(MEAN, STD^2): E[z_0 | z_t] is linear in z_t."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule

    def __call__(self, latent: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        signal, noise = float(self.schedule.signal[timestep[0]]), float(self.schedule.noise[timestep[0]])
        gain = signal * STD**2 / (signal**2 * STD**2 + noise**2)
        clean = MEAN + gain * (latent - signal * MEAN)
        eps = (latent - signal * clean) / max(noise, 1e-12)
        return eps if self.schedule.prediction_type == "epsilon" else signal * eps - noise * clean


@pytest.mark.parametrize("kind", ["v_prediction", "epsilon"])
def test_signal_falls_from_one_and_power_is_kept(kind: str) -> None:
    schedule = Schedule(T, kind)
    assert schedule.signal.shape == (T + 1,)
    assert float(schedule.signal[0]) == 1.0
    assert float(schedule.noise[0]) == 0.0
    assert (schedule.signal.diff() < 0).all()
    assert torch.allclose(schedule.signal.square() + schedule.noise.square(), torch.ones(T + 1), atol=1e-6)
    # v begins at pure noise; noise cannot, as its answer would be divided by 0.
    assert float(schedule.signal[-1]) == (0.0 if kind == "v_prediction" else pytest.approx(0.01))


def test_the_cosine_is_the_published_one() -> None:
    # Nichol and Dhariwal: alpha_bar_t = f(t) / f(0), f(t) = cos^2((t/T + s) / (1 + s) * pi/2), rescaled to end in 0.
    def root(t: int) -> float:
        return math.cos((t / T + 0.008) / 1.008 * math.pi / 2)

    schedule = Schedule(T, "v_prediction")
    for t in (1, 50, 100, 199):
        expected = (root(t) - root(T)) / (root(0) - root(T))
        assert float(schedule.signal[t]) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("kind", ["v_prediction", "epsilon"])
def test_target_and_its_inverse(kind: str) -> None:
    schedule = Schedule(T, kind)
    clean, eps = torch.randn(2, 3, 2, 2, 2), torch.randn(2, 3, 2, 2, 2)
    timestep = torch.tensor([20, 120])
    latent = schedule.add_noise(clean, eps, timestep)
    back, noise = schedule.clean_and_noise(latent, schedule.target(clean, eps, timestep), timestep)
    assert torch.allclose(back, clean, atol=1e-4)
    assert torch.allclose(noise, eps, atol=1e-4)


@pytest.mark.parametrize("kind", ["v_prediction", "epsilon"])
def test_an_exact_denoiser_gives_the_exact_mean_in_any_number_of_steps(kind: str) -> None:
    schedule = Schedule(T, kind)
    half = torch.randn(1, 1, 6, 6, 6, generator=torch.Generator().manual_seed(0))
    start = torch.cat([half, -half])  # antithetic: the noise's own mean is 0, so what is left is the sampler's error
    for steps in range(1, T + 1):
        drawn = sample(schedule, ExactGaussian(schedule), start, num_inference_steps=steps)
        assert abs(float(drawn.mean()) - MEAN) < 0.005, steps


def test_many_steps_give_the_exact_spread_and_one_gives_the_mean() -> None:
    schedule = Schedule(T, "v_prediction")
    start = torch.randn(1, 1, 30, 30, 30, generator=torch.Generator().manual_seed(0))
    assert float(sample(schedule, ExactGaussian(schedule), start, num_inference_steps=T).std()) == pytest.approx(
        STD, abs=0.01
    )
    assert float(sample(schedule, ExactGaussian(schedule), start, num_inference_steps=25).std()) == pytest.approx(
        STD, abs=0.04
    )
    one = sample(schedule, ExactGaussian(schedule), start, num_inference_steps=1)
    assert torch.allclose(one, torch.full_like(one, MEAN), atol=1e-5)


def test_the_stochastic_sampler_draws_the_same_distribution_from_the_same_seed() -> None:
    schedule = Schedule(T, "v_prediction")
    start = torch.randn(1, 1, 20, 20, 20, generator=torch.Generator().manual_seed(0))

    def draw(seed: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        return sample(schedule, ExactGaussian(schedule), start, num_inference_steps=50, eta=1.0, generator=generator)

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))
    assert float(draw(1).mean()) == pytest.approx(MEAN, abs=0.02)
    assert float(draw(1).std()) == pytest.approx(STD, abs=0.03)


def test_times_fall_from_the_last_to_zero() -> None:
    assert reverse_timesteps(200, 25) == list(range(200, -1, -8))
    assert reverse_timesteps(200, 1) == [200, 0]
    for steps in range(1, T + 1):
        times = reverse_timesteps(T, steps)
        assert times[0] == T
        assert times[-1] == 0
        assert all(a > b for a, b in itertools.pairwise(times))
    with pytest.raises(ConfigurationError, match="201"):
        reverse_timesteps(200, 201)


def test_the_segmentation_is_supervised_where_nothing_of_the_truth_is_left() -> None:
    v, noise = Schedule(T, "v_prediction"), Schedule(T, "epsilon")
    assert float(v.signal[v.noisy_timestep]) == 0.0
    assert noise.noisy_timestep > 0.8 * T
    assert 1 / float(noise.signal[noise.noisy_timestep]) <= 4
