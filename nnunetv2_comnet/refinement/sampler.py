"""Reverse diffusion in any number of steps from 1 to T: DDIM (Song et al., 2021), eta 0, or with noise put back.

The times are evenly spaced from T downwards ("trailing") and every step knows where it goes, so any number of steps
gives the exact mean for an exact denoiser; schedulers that assume a fixed stride do not.
"""

import itertools
from collections.abc import Callable

import torch
from torch import Tensor

from nnunetv2_comnet.errors import ConfigurationError
from nnunetv2_comnet.refinement.schedule import Schedule

Denoise = Callable[[Tensor, Tensor], Tensor]  # latent z_t (B, L, d, h, w), times (B,) -> the denoiser's prediction


def reverse_times(training_steps: int, steps: int) -> list[int]:
    """The times of `steps` reverse steps, from T down to the last, and 0: steps + 1 numbers, strictly falling."""
    if not 1 <= steps <= training_steps:
        raise ConfigurationError(f"sampling steps must be from 1 to {training_steps}, got {steps}")
    return [round(training_steps * (steps - i) / steps) for i in range(steps + 1)]


def sample(
    schedule: Schedule,
    denoise: Denoise,
    start: Tensor,
    *,
    steps: int,
    eta: float = 0.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Clean latents from standard normal noise `start` (B, L, d, h, w), both float32.

    eta: 0 is deterministic, 1 draws from the posterior of DDPM (Ho et al., 2020), with fresh noise from `generator`
    (on the CPU, so that every device draws the same).
    """
    if eta < 0:
        raise ConfigurationError(f"eta must be 0 or more, got {eta}")
    latent = start.float()
    times = reverse_times(schedule.training_steps, steps)
    for now, then in itertools.pairwise(times):
        time = torch.full((latent.shape[0],), now, device=latent.device)
        prediction = denoise(latent, time).float()
        with torch.autocast(latent.device.type, enabled=False):
            clean, eps = schedule.clean_and_noise(latent, prediction, time)
            fresh = _fresh_noise(schedule, now, then, eta)
            direction = (schedule.noise[then].square() - fresh.square()).clamp(min=0).sqrt()
            latent = schedule.signal[then] * clean + direction * eps
            if eta > 0 and then > 0:
                drawn = torch.randn(latent.shape, generator=generator, dtype=torch.float32)
                latent = latent + fresh * drawn.to(latent.device)
    return latent


def _fresh_noise(schedule: Schedule, now: int, then: int, eta: float) -> Tensor:
    """DDIM's sigma (its equation 16)."""
    kept = (schedule.signal[now] / schedule.signal[then]).square()
    return eta * (schedule.noise[then] / schedule.noise[now]) * (1 - kept).clamp(min=0).sqrt()
