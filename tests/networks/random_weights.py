"""Random weights where a new network has zeros and ones, so that none of them hides a wrong formula."""

import torch
from torch import nn


def randomise(module: nn.Module, seed: int = 0) -> None:
    """Random norms and GRN, as after training; the other weights have torch's own random start."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if "norm." in name or "grn_" in name:
                parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
