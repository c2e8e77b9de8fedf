"""Frozen stage 1 and its refiner as one network: what a checkpoint of the refiner's trainer holds."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nnunetv2_comnet.refinement.objective import Draw, RefinerObjective
from nnunetv2_comnet.refinement.refiner import Refiner, Sampling
from nnunetv2_comnet.refinement.volume import refine_volume


class RefinedNetwork(nn.Module):
    """Image (B, C, D, H, W) -> refined logits (B, R, D, H, W), as stock nnU-Net predicts with it, tile by tile.

    coarse: the frozen segmentation network, without deep supervision. refiner: what is trained. ema: the
    exponential moving average of its weights, used wherever no gradient is wanted. strengths: alpha per region.
    `train()` reaches the refiner alone. In a call with a target the answer is the terms of the loss instead.
    """

    def __init__(
        self,
        coarse: nn.Module,
        refiner: Refiner,
        *,
        objective: RefinerObjective,
        strengths: Sequence[float],
        sampling: Sampling,
    ) -> None:
        super().__init__()
        self.coarse = coarse.requires_grad_(False).eval()
        self.refiner = refiner
        self.average = copy.deepcopy(refiner).requires_grad_(False).eval()  # its name in checkpoints
        self.objective = objective
        self.strengths = tuple(strengths)
        self.sampling = sampling
        self.register_buffer("averaged_steps", torch.zeros((), dtype=torch.long))

    averaged_steps: Tensor

    @property
    def ema(self) -> Refiner:
        return self.average

    def train(self, mode: bool = True) -> "RefinedNetwork":
        super().train(mode)
        self.coarse.eval()
        self.ema.eval()
        return self

    def forward(
        self,
        image: Tensor,
        logits: Tensor | None = None,
        target: Tensor | None = None,
        drawn: Draw | None = None,
        *,
        learn_codes: bool = True,
    ) -> Tensor | dict[str, Tensor]:
        """Computes refined logits; or, with coarse logits, target and a draw, the loss terms of the refiner."""
        if target is None:
            with torch.no_grad():
                return self.refine(image, self.coarse(image) if logits is None else logits)
        assert logits is not None
        assert drawn is not None
        terms: dict[str, Tensor] = self.objective(self.refiner, image, logits, target, drawn, learn_codes=learn_codes)
        return terms

    def refine(self, image: Tensor, logits: Tensor) -> Tensor:
        """Corrects coarse logits (B, R, D, H, W) of one tile each; noise is tied to the tile's voxels."""
        refined = [
            refine_volume(self.ema, one, coarse, strengths=self.strengths, sampling=self.sampling).logits
            for one, coarse in zip(image, logits, strict=True)
        ]
        return torch.stack(refined).to(logits.dtype)

    @torch.no_grad()
    def update_ema(self, decay: float) -> None:
        """Moves the average towards the trained weights; quickly at first (min(decay, (1 + n) / (10 + n)))."""
        step = int(self.averaged_steps)
        keep = min(decay, (1 + step) / (10 + step))
        trained = self.refiner.state_dict()
        for name, value in self.ema.state_dict().items():
            if value.is_floating_point() and not name.startswith("quantizer."):
                value.lerp_(trained[name], 1 - keep)
            else:
                value.copy_(trained[name])
        self.averaged_steps += 1
