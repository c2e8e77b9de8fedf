"""Reverse diffusion in any number of steps from 1 to T: DDIM (Song et al., 2021), eta 0, or with noise put back.

The timesteps are evenly spaced from T downwards ("trailing") and every step knows where it goes, so any number of steps
gives the exact mean for an exact denoiser; schedulers that assume a fixed stride do not.
"""

import itertools
from collections.abc import Callable

import torch
from torch import Tensor

from nnunetv2_comnet.errors import ConfigurationError
from nnunetv2_comnet.refinement.schedule import Schedule

Denoise = Callable[[Tensor, Tensor], Tensor]  # latent z_t (B, L, d, h, w), timesteps (B,) -> the denoiser's prediction


def reverse_timesteps(num_train_timesteps: int, num_inference_steps: int) -> list[int]:
    """Computes the timesteps of the reverse steps, from T down to 0: one more than steps, strictly falling."""
    if not 1 <= num_inference_steps <= num_train_timesteps:
        raise ConfigurationError(
            f"num_inference_steps must be from 1 to {num_train_timesteps}, got {num_inference_steps}"
        )
    left = range(num_inference_steps, -1, -1)
    return [round(num_train_timesteps * steps / num_inference_steps) for steps in left]


def sample(
    schedule: Schedule,
    denoise: Denoise,
    start: Tensor,
    *,
    num_inference_steps: int,
    eta: float = 0.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Samples clean latents from standard normal noise `start` (B, L, d, h, w), both float32.

    eta: 0 is deterministic, 1 draws from the posterior of DDPM (Ho et al., 2020), with fresh noise from `generator`
    (on the CPU, so that every device draws the same).
    """
    if eta < 0:
        raise ConfigurationError(f"eta must be 0 or more, got {eta}")
    latent = start.float()
    for now, then in itertools.pairwise(reverse_timesteps(schedule.num_train_timesteps, num_inference_steps)):
        timestep = torch.full((latent.shape[0],), now, device=latent.device)
        prediction = denoise(latent, timestep).float()
        with torch.autocast(latent.device.type, enabled=False):
            clean, eps = schedule.clean_and_noise(latent, prediction, timestep)
            fresh = _fresh_noise(schedule, now, then, eta)
            direction = (schedule.noise[then].square() - fresh.square()).clamp(min=0).sqrt()
            latent = schedule.signal[then] * clean + direction * eps
            if eta > 0 and then > 0:
                drawn = torch.randn(latent.shape, generator=generator, dtype=torch.float32)
                latent = latent + fresh * drawn.to(latent.device)
    return latent


def _fresh_noise(schedule: Schedule, now: int, then: int, eta: float) -> Tensor:
    """Computes DDIM's sigma (its equation 16)."""
    kept = (schedule.signal[now] / schedule.signal[then]).square()
    return eta * (schedule.noise[then] / schedule.noise[now]) * (1 - kept).clamp(min=0).sqrt()
