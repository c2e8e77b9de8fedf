"""CorrDiff: condition -> sampled latent residual -> decoded residual (CoMNeT, stage 2; docs/evidence/method.md)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nnunetv2_comnet.configurations import RefinerConfig
from nnunetv2_comnet.errors import ConfigurationError
from nnunetv2_comnet.refinement.condition import LEAST_PROBABILITY, ConditionEncoder, condition_channels
from nnunetv2_comnet.refinement.denoiser import Denoiser
from nnunetv2_comnet.refinement.gate import gate
from nnunetv2_comnet.refinement.quantizer import build_quantizer
from nnunetv2_comnet.refinement.residual_vae import ResidualDecoder, ResidualEncoder
from nnunetv2_comnet.refinement.sampler import sample
from nnunetv2_comnet.refinement.schedule import Schedule

Condition = tuple[Tensor, ...]  # at 1, 1/2 and 1/4 of the latent grid
_LEAST_STD = 1e-3


@dataclass(frozen=True)
class Sampling:
    """How a residual is drawn: reverse steps (1 to T), eta (0: deterministic), samples averaged, seed of the noise."""

    num_inference_steps: int
    eta: float = 0.0
    samples: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.num_inference_steps < 1 or self.samples < 1 or self.eta < 0 or self.seed < 0:
            raise ConfigurationError(
                f"sampling needs num_inference_steps and samples of 1 or more, eta and seed of 0 or more, got {self}"
            )


class Refiner(nn.Module):
    """The autoencoder of residuals, the condition network and the denoiser, with the statistics that join them."""

    latent_mean: Tensor
    latent_square: Tensor
    latent_weight: Tensor

    def __init__(self, config: RefinerConfig, *, image_channels: int, regions: int) -> None:
        super().__init__()
        self.config = config
        self.image_channels, self.regions = image_channels, regions
        self.encoder, self.decoder = ResidualEncoder(config, regions), ResidualDecoder(config, regions)
        self.quantizer = build_quantizer(config)
        self.condition = ConditionEncoder(config, image_channels=image_channels, regions=regions)
        self.denoiser = Denoiser(config)
        self.schedule = Schedule(config.num_train_timesteps, config.prediction_type)
        # Moments of the codes where the gate is open, as moving averages with the weight that they hold.
        self.register_buffer("latent_mean", torch.zeros(config.latent_channels))
        self.register_buffer("latent_square", torch.zeros(config.latent_channels))
        self.register_buffer("latent_weight", torch.zeros(()))

    def encode_condition(self, image: Tensor, logits: Tensor) -> Condition:
        """Encodes image (B, C, D, H, W) and coarse logits (B, R, D, H, W), once for all reverse steps."""
        sides = logits.shape[2:]
        if image.shape[1] != self.image_channels or logits.shape[1] != self.regions:
            raise ConfigurationError(
                f"refiner: expected {self.image_channels} image channels and {self.regions} regions, "
                f"got {image.shape[1]} and {logits.shape[1]}"
            )
        if image.shape[2:] != sides or any(side % self.config.side_divisor for side in sides):
            raise ConfigurationError(
                f"refiner: image and coarse map must share sides that divide by {self.config.side_divisor}, got "
                f"{tuple(image.shape[2:])} and {tuple(sides)}"
            )
        features: Condition = self.condition(condition_channels(image, logits))
        return features

    def draw_residual(
        self, condition: Condition, noise: Tensor, sampling: Sampling, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draws a residual (B, R, D, H, W) in (-1, 1) from standard normal noise (B, L, d, h, w)."""
        if self.config.objective == "deterministic":
            return self.decode(self.destandardise(self.regress(condition)))
        clean = sample(
            self.schedule,
            lambda latent, timestep: self.denoiser(latent, timestep, condition),
            noise,
            num_inference_steps=sampling.num_inference_steps,
            eta=sampling.eta,
            generator=generator,
        )
        values = self.destandardise(clean)
        return self.decode(self.quantizer.snap(values) if self.config.snap else values)

    def regress(self, condition: Condition) -> Tensor:
        """Predicts the latent by the network without diffusion: no noise goes in."""
        at_0 = condition[0]
        nothing = at_0.new_zeros((at_0.shape[0], self.config.latent_channels, *at_0.shape[2:]), dtype=torch.float32)
        timestep = torch.full((at_0.shape[0],), self.config.num_train_timesteps, device=at_0.device)
        latent: Tensor = self.denoiser(nothing, timestep, condition)
        return latent.float()

    def decode(self, values: Tensor) -> Tensor:
        """Decodes codes (B, L, d, h, w) into a residual (B, R, D, H, W) in (-1, 1), float32."""
        residual: Tensor = self.decoder(values)
        return residual

    def gate(self, logits: Tensor) -> Tensor:
        """Computes where coarse logits (B, R, D, H, W) may be corrected, in [0, 1]."""
        return gate(logits, low=self.config.gate_low, high=self.config.gate_high, reach=self.config.gate_reach)

    def open_tokens(self, openness: Tensor) -> Tensor:
        """Finds the latent voxels (B, d, h, w) whose residual can reach the result, of a gate (B, R, D, H, W)."""
        factor = self.config.downsampling
        return F.max_pool3d(openness.amax(dim=1, keepdim=True), factor)[:, 0] > 0

    @property
    def latent_std(self) -> Tensor:
        """(L,): standard deviation of the codes; 1 before any was seen."""
        if not bool(self.latent_weight > 0):
            return torch.ones_like(self.latent_mean)
        return (self.latent_square - self.latent_mean.square()).clamp(min=_LEAST_STD**2).sqrt()

    def standardise(self, values: Tensor) -> Tensor:
        """Scales codes to mean 0 and deviation 1 per channel."""
        return (values.float() - _per_channel(self.latent_mean)) / _per_channel(self.latent_std)

    def destandardise(self, latent: Tensor) -> Tensor:
        """Inverts `standardise`."""
        return latent.float() * _per_channel(self.latent_std) + _per_channel(self.latent_mean)

    @torch.no_grad()
    def update_moments(self, values: Tensor, counted: Tensor, momentum: float = 0.02) -> None:
        """Takes the codes (B, L, d, h, w) of the counted tokens (B, d, h, w) into the latent's statistics."""
        tokens = values.float().movedim(1, -1)[counted]
        if not len(tokens):
            return
        self.latent_weight.copy_(self.latent_weight * (1 - momentum) + momentum)
        step = momentum / self.latent_weight
        self.latent_mean.lerp_(tokens.mean(dim=0), step)
        self.latent_square.lerp_(tokens.square().mean(dim=0), step)


def coarse_probabilities(logits: Tensor) -> Tensor:
    """Computes sigmoid(logits), clamped so that residuals are bounded and no number is denormal."""
    return logits.float().sigmoid().clamp(LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)


def _per_channel(values: Tensor) -> Tensor:
    return values[None, :, None, None, None]
