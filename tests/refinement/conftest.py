"""Small refiners: untrained ones are the identity, `awake` ones had their zero layers filled."""

import pytest
import torch

from nnunetv2_comnet.refinement import RefinedNetwork, Refiner, RefinerConfig, RefinerObjective, Sampling

SIDES = (16, 32, 16)
SMALL = {"channels": 4, "autoencoder_channels": 8, "codebook_size": 16, "latent_channels": 4, "patch_size": SIDES}


def small_refiner(**changes: object) -> Refiner:
    torch.manual_seed(0)
    return Refiner(RefinerConfig(**{**SMALL, **changes}), image_channels=4, regions=3).eval()  # type: ignore[arg-type]


def awake(refiner: Refiner) -> Refiner:
    """Random weights instead of the zero ones, a started codebook, latent statistics: as after some training."""
    torch.manual_seed(1)
    for layer in (refiner.decoder.unfold, refiner.denoiser.head):
        torch.nn.init.normal_(layer.weight, std=0.3)
    for module in refiner.denoiser.modules():
        if hasattr(module, "modulation"):
            torch.nn.init.normal_(module.modulation.weight, std=0.1)
    refiner.update_moments(torch.randn(1, 4, 4, 4, 4), torch.ones(1, 4, 4, 4, dtype=torch.bool))
    if hasattr(refiner.quantizer, "started"):
        refiner.quantizer.started.fill_(True)
    return refiner


def refined_network(refiner: Refiner, **options: object) -> RefinedNetwork:
    torch.manual_seed(2)
    coarse = torch.nn.Conv3d(4, 3, 3, padding=1)
    return RefinedNetwork(
        coarse,
        refiner,
        objective=RefinerObjective(smooth=1e-5, has_ignore_channel=False),
        strengths=(1.0, 1.0, 1.0),
        sampling=Sampling(num_inference_steps=3),
        **options,  # type: ignore[arg-type]
    )


@pytest.fixture
def patch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Image (1, 4, D, H, W), coarse logits (1, 3, D, H, W) with a sure background, truth."""
    generator = torch.Generator().manual_seed(3)
    image = torch.randn((1, 4, *SIDES), generator=generator)
    logits = torch.full((1, 3, *SIDES), -12.0)
    logits[:, :, 4:10, 6:14, 4:10] = 2 * torch.randn((1, 3, 6, 8, 6), generator=generator)
    truth = torch.zeros(1, 3, *SIDES)
    truth[:, :, 5:10, 7:14, 5:10] = 1
    return image, logits, truth
