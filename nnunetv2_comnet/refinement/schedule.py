"""How much signal and noise a latent holds at each timestep, and what the denoiser's prediction means for both.

Timesteps run from 0 (clean) to T (pure noise): z_t = signal_t * z_0 + noise_t * eps, signal_t^2 + noise_t^2 = 1.
Cosine schedule (Nichol and Dhariwal, 2021); with `v_prediction` rescaled so that nothing of the truth is left at T (Lin
et al., arXiv 2305.08891). `epsilon`, the paper's, cannot be inverted there and keeps a little signal.
"""

import math

import torch
from torch import Tensor, nn

_OFFSET = 0.008  # Nichol and Dhariwal's s
_LEAST_SIGNAL = 0.01  # of the `epsilon` schedule at T: an error of the predicted noise is multiplied by 1 / signal
_CLIP = 6.0  # standardised latents; `epsilon` divides by a small signal, and one wild voxel would spoil its neighbours


class Schedule(nn.Module):
    """The tables signal and noise, float32 buffers (T + 1,) stored with the model, and what follows from them."""

    signal: Tensor
    noise: Tensor

    def __init__(self, num_train_timesteps: int, prediction_type: str) -> None:
        super().__init__()
        self.num_train_timesteps, self.prediction_type = num_train_timesteps, prediction_type
        signal = _cosine_signal(num_train_timesteps, 0.0 if prediction_type == "v_prediction" else _LEAST_SIGNAL)
        self.register_buffer("signal", signal.float())
        self.register_buffer("noise", (1 - signal.square()).clamp(min=0).sqrt().float())

    def add_noise(self, clean: Tensor, eps: Tensor, timestep: Tensor) -> Tensor:
        """Computes z_t of clean latents (B, L, d, h, w), standard normal noise of that shape and timesteps (B,)."""
        signal, noise = self._at(timestep, clean)
        return signal * clean + noise * eps

    def target(self, clean: Tensor, eps: Tensor, timestep: Tensor) -> Tensor:
        """Computes what the denoiser learns to predict: eps, or v = signal * eps - noise * z_0."""
        if self.prediction_type == "epsilon":
            return eps
        signal, noise = self._at(timestep, clean)
        return signal * eps - noise * clean

    def clean_and_noise(self, latent: Tensor, prediction: Tensor, timestep: Tensor) -> tuple[Tensor, Tensor]:
        """Computes the z_0 and eps that a prediction at z_t stands for."""
        signal, noise = self._at(timestep, latent)
        if self.prediction_type == "epsilon":
            clean = ((latent - noise * prediction) / signal.clamp(min=1e-6)).clamp(-_CLIP, _CLIP)
            return clean, prediction
        return signal * latent - noise * prediction, noise * latent + signal * prediction

    @property
    def noisy_timestep(self) -> int:
        """The timestep whose latent serves to supervise the segmentation: at small ones the truth shines through.

        T with `v_prediction`; with `epsilon` the last timestep at which its error is multiplied by less than 4.
        """
        if self.prediction_type == "v_prediction":
            return self.num_train_timesteps
        return int((self.signal >= 0.25).nonzero().max())

    def _at(self, timestep: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        shape = (-1, *[1] * (like.ndim - 1))
        return self.signal[timestep].reshape(shape), self.noise[timestep].reshape(shape)


def _cosine_signal(num_train_timesteps: int, last: float) -> Tensor:
    """Computes signal_0 .. signal_T, float64, falling from 1 to `last`."""
    times = torch.arange(num_train_timesteps + 1, dtype=torch.float64) / num_train_timesteps
    angle = (times + _OFFSET) / (1 + _OFFSET) * math.pi / 2
    signal = torch.cos(angle)
    return last + (signal - signal[-1]) / (signal[0] - signal[-1]) * (1 - last)
