"""The refiner's loss: 1 L_diff + 1 L_recon + 0.25 L_vq + 1 L_seg (CoMNeT, stage 2), each term by itself."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nnunetv2_comnet.losses import dice_bce_loss
from nnunetv2_comnet.refinement.gate import logit_correction
from nnunetv2_comnet.refinement.refiner import Condition, Refiner, coarse_probabilities
from nnunetv2_comnet.refinement.residual_vae import active_tokens, reconstruction_loss

USAGE = "usage"  # beside the terms: how often each code stood for an error, (K,)
TERMS = ("diffusion", "reconstruction", "quantisation", "segmentation")
CLOSED_WEIGHT = 0.05  # of the diffusion loss at latent voxels whose gate is closed: context only, never in the result


@dataclass(frozen=True)
class Draw:
    """The random part of one training step: timesteps (B,) from 1 to T, and standard normal noise (2B, L, d, h, w)."""

    timestep: Tensor
    noise: Tensor


def draw(refiner: Refiner, shape: tuple[int, ...], generator: torch.Generator) -> Draw:
    """Draws timesteps and noise for a batch of coarse maps of `shape` (B, R, D, H, W), from a generator on the CPU."""
    config = refiner.config
    grid = [side // config.downsampling for side in shape[2:]]
    timestep = torch.randint(1, config.num_train_timesteps + 1, (shape[0],), generator=generator)
    return Draw(timestep, torch.randn((2 * shape[0], config.latent_channels, *grid), generator=generator))


class RefinerObjective(nn.Module):
    """Computes the terms for a batch; it has no parameters."""

    def __init__(self, *, smooth: float, has_ignore_channel: bool) -> None:
        super().__init__()
        self.segmentation_loss = dice_bce_loss(smooth=smooth, has_ignore_channel=has_ignore_channel)

    def forward(
        self, refiner: Refiner, image: Tensor, logits: Tensor, target: Tensor, drawn: Draw, *, learn_codes: bool
    ) -> dict[str, Tensor]:
        """Computes TERMS and USAGE of image (B, C, D, H, W), coarse logits (B, R, D, H, W) and the loss's target.

        learn_codes: whether the autoencoder's encoder still learns; afterwards the denoiser's target stands still.
        """
        condition = refiner.encode_condition(image, logits)
        residual = self._residual(logits, target)
        if refiner.config.objective == "deterministic":
            return self._regression(refiner, condition, logits, target)
        latent, values, numbers = self._codes(refiner, residual, learn_codes)
        decoded = refiner.decode(refiner.quantizer.straight_through(latent, values))
        openness = refiner.gate(logits)
        tokens = refiner.open_tokens(openness)
        diffusion, clean = self._diffusion(refiner, condition, values.detach(), tokens, drawn)
        final = logits + openness * logit_correction(logits, refiner.decode(refiner.destandardise(clean)))
        return {
            "diffusion": diffusion,
            "reconstruction": reconstruction_loss(decoded, residual),
            "quantisation": refiner.quantizer.losses(latent, values),
            "segmentation": self.segmentation_loss(final, target),
            USAGE: torch.bincount(
                numbers[active_tokens(residual, refiner.config.downsampling)], minlength=refiner.quantizer.size
            ),
        }

    @torch.no_grad()
    def update_codes(self, refiner: Refiner, logits: Tensor, target: Tensor, generator: torch.Generator) -> None:
        """Moves codebook and latent statistics towards a batch; the loss itself changes nothing."""
        residual = self._residual(logits, target)
        latent = refiner.encoder(residual)
        refiner.quantizer.update(latent, active_tokens(residual, refiner.config.downsampling), generator)
        values, _ = refiner.quantizer.lookup(latent)
        refiner.update_moments(values, refiner.open_tokens(refiner.gate(logits)))

    def _residual(self, logits: Tensor, target: Tensor) -> Tensor:
        """Computes y - p (B, R, D, H, W); 0 where a voxel is ignored."""
        regions = target[:, : logits.shape[1]].float()
        residual = regions - coarse_probabilities(logits)
        return residual * (1 - target[:, -1:].float()) if self.segmentation_loss.has_ignore_channel else residual

    def _codes(self, refiner: Refiner, residual: Tensor, learn_codes: bool) -> tuple[Tensor, Tensor, Tensor]:
        with torch.set_grad_enabled(learn_codes and torch.is_grad_enabled()):
            latent = refiner.encoder(residual)
        return latent, *refiner.quantizer.lookup(latent)

    def _diffusion(
        self, refiner: Refiner, condition: Condition, values: Tensor, tokens: Tensor, drawn: Draw
    ) -> tuple[Tensor, Tensor]:
        """Computes L_diff at the drawn timestep and at the noisiest, and the clean latent that the latter predicts.

        Only that one may supervise the segmentation: at small timesteps the noisy latent holds the truth.
        """
        schedule, batch = refiner.schedule, len(values)
        clean = refiner.standardise(values).repeat(2, 1, 1, 1, 1)
        noisy = torch.full_like(drawn.timestep, schedule.noisy_timestep)
        timestep = torch.cat([drawn.timestep, noisy]).to(values.device)
        noise = drawn.noise.to(values.device)
        latent = schedule.add_noise(clean, noise, timestep)
        twice = tuple(level.repeat(2, 1, 1, 1, 1) for level in condition)
        prediction = refiner.denoiser(latent, timestep, twice).float()
        error = (prediction - schedule.target(clean, noise, timestep)).square().mean(dim=1)  # (2B, d, h, w)
        weight = torch.where(tokens, 1.0, CLOSED_WEIGHT).repeat(2, 1, 1, 1)
        predicted, _ = schedule.clean_and_noise(latent[batch:], prediction[batch:], timestep[batch:])
        return (weight * error).sum() / weight.sum(), predicted

    def _regression(self, refiner: Refiner, condition: Condition, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Computes the baseline's terms: same network and inputs, no noise, no codes, the segmentation loss alone."""
        predicted = refiner.decode(refiner.destandardise(refiner.regress(condition)))
        final = logits + refiner.gate(logits) * logit_correction(logits, predicted)
        nothing = torch.zeros((), device=logits.device)
        return {
            "diffusion": nothing,
            "reconstruction": nothing,
            "quantisation": nothing,
            "segmentation": self.segmentation_loss(final, target),
        }


def total(terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Sums `TERMS`, each by its weight."""
    return torch.stack([weights[name] * terms[name] for name in TERMS]).sum()
