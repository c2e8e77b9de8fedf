"""Refines a whole volume: tiles around the voxels that may change, noise tied to position, blended residuals."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nnunetv2_comnet.errors import ConfigurationError
from nnunetv2_comnet.refinement.gate import logit_correction
from nnunetv2_comnet.refinement.refiner import Condition, Refiner, Sampling

Box = tuple[slice, slice, slice]
_SIGMA = 1 / 8  # of a tile's side: the Gaussian that nnU-Net blends its tiles with
_SEED_STRIDE = 1_000_003  # a prime: samples and seeds do not meet


@dataclass(frozen=True)
class RefinedVolume:
    """logits, correction, spread: (R, D, H, W), float32, on the coarse logits' device.

    logits = coarse logits + correction, bit-equal to the coarse ones where the gate is 0. spread: standard deviation
    over the samples of the refined probabilities, 0 with one sample. tiles_run of tiles passed through the refiner.
    """

    logits: Tensor
    correction: Tensor
    spread: Tensor
    tiles_run: int
    tiles: int


@torch.no_grad()
def refine_volume(
    refiner: Refiner,
    image: Tensor,
    logits: Tensor,
    *,
    strengths: Sequence[float],
    sampling: Sampling,
    tile_step: float = 0.5,
    skip: bool = True,
) -> RefinedVolume:
    """Corrects the coarse logits (R, D, H, W) of a preprocessed image (C, D, H, W) of any size.

    strengths: alpha in [0, 1] per region. skip: tiles without a voxel that may change are not computed (the result is
    the same). The same input gives the same output, whatever else is refined before or after.
    """
    coarse = logits.float()
    alpha = torch.as_tensor(strengths, dtype=torch.float32, device=coarse.device)
    if alpha.shape != coarse.shape[:1] or not bool(((alpha >= 0) & (alpha <= 1)).all()):
        raise ConfigurationError(f"refiner: expected {len(coarse)} strengths from 0 to 1, got {tuple(strengths)}")
    openness = refiner.gate(coarse[None])[0]
    # Placed for every region, whatever its strength: a region's correction must not depend on the others' strengths.
    tiles = list(
        place_tiles(openness.amax(dim=0) > 0, refiner.config.patch_size, tile_step, refiner.config.downsampling)
    )
    alpha_gate = alpha[:, None, None, None] * openness
    needed = [tile for tile in tiles if not skip or tile.may_change(alpha_gate)]
    if not needed:
        nothing = torch.zeros_like(coarse)
        return RefinedVolume(coarse, nothing, nothing.clone(), 0, len(tiles))
    residuals = _Residuals(refiner, image.to(coarse.device), coarse, needed)
    corrections = [
        alpha_gate * logit_correction(coarse, residuals.draw(sampling, number)) for number in range(sampling.samples)
    ]
    correction = torch.stack(corrections).mean(dim=0)
    refined = torch.where(alpha_gate > 0, coarse + correction, coarse)
    spread = torch.zeros_like(coarse)
    if sampling.samples > 1:
        spread = torch.stack([(coarse + c).sigmoid() for c in corrections]).std(dim=0, correction=0)
    return RefinedVolume(refined, correction, spread, len(needed), len(tiles))


@dataclass(frozen=True)
class Tile:
    """A patch of the padded volume, its first voxel (z, y, x) and the part of the volume that it covers."""

    start: tuple[int, int, int]
    size: tuple[int, int, int]
    inside: Box

    def of_padded(self, factor: int = 1) -> Box:
        """The patch in the padded volume, or in its latent grid."""
        z, y, x = (slice(a // factor, (a + s) // factor) for a, s in zip(self.start, self.size, strict=True))
        return z, y, x

    def may_change(self, openness: Tensor) -> bool:
        """Whether the gate (R, D, H, W) of the volume is open anywhere in the tile."""
        everywhere = (slice(None), *self.inside)
        return bool((openness[everywhere] > 0).any())


def place_tiles(active: Tensor, patch_size: Sequence[int], tile_step: float, multiple: int) -> Iterator[Tile]:
    """Tiles of `patch_size` over the bounding box of the active voxels (D, H, W), `tile_step` of a side apart at most.

    They start at multiples of `multiple`, so that latent voxels of all tiles lie on one grid. A box smaller than the
    patch gets one tile, centred on it as far as the volume allows; the volume counts as padded at its far ends.
    """
    if not 0 < tile_step <= 1:
        raise ConfigurationError(f"tile step must be above 0 and at most 1, got {tile_step}")
    if not bool(active.any()):
        return
    starts = []
    for axis, side in enumerate(patch_size):
        others = tuple(a for a in range(3) if a != axis)
        used = active.amax(dim=others).nonzero().flatten()
        starts.append(_starts(int(used[0]), int(used[-1]) + 1, active.shape[axis], side, tile_step, multiple))
    for start in itertools.product(*starts):
        z, y, x = (
            slice(first, min(first + side, whole))
            for first, side, whole in zip(start, patch_size, active.shape, strict=True)
        )
        yield Tile((start[0], start[1], start[2]), (patch_size[0], patch_size[1], patch_size[2]), (z, y, x))


def _starts(first: int, last: int, whole: int, side: int, tile_step: float, multiple: int) -> list[int]:
    """Starts of tiles that cover [first, last) of an axis of `whole` voxels."""
    furthest = max(0, math.ceil((whole - side) / multiple) * multiple)
    if last - first <= side - multiple:  # a multiple lies between the first start that reaches `last` and `first`
        earliest, latest = math.ceil((last - side) / multiple) * multiple, first // multiple * multiple
        centred = round((first + last - side) / 2 / multiple) * multiple
        return [max(0, min(max(earliest, min(centred, latest)), furthest))]
    begin = first // multiple * multiple
    end = min(furthest, math.ceil((last - side) / multiple) * multiple)
    begin = min(begin, end)
    count = math.ceil((end - begin) / (side * tile_step)) + 1
    if count == 1:
        return [begin]
    return sorted({begin + round((end - begin) * i / (count - 1) / multiple) * multiple for i in range(count)})


def noise_volume(shape: Sequence[int], channels: int, seed: int, sample: int = 0) -> Tensor:
    """Standard normal noise (channels, d, h, w) of a latent grid, a function of seed, sample and position alone."""
    generator = torch.Generator().manual_seed(_mixed(seed, sample))
    return torch.randn((channels, *shape), generator=generator)


class _Residuals:
    """Draws blended residuals of a volume; what the condition network says of each tile is kept between samples."""

    def __init__(self, refiner: Refiner, image: Tensor, coarse: Tensor, tiles: Sequence[Tile]) -> None:
        self.refiner, self.tiles, self.device = refiner, tiles, next(refiner.parameters()).device
        self._conditions: dict[tuple[int, int, int], Condition] = {}
        self.shape = coarse.shape
        ends = [max(tile.start[axis] + tile.size[axis] for tile in tiles) for axis in range(3)]
        factor = refiner.config.downsampling
        sides = [max(end, math.ceil(side / factor) * factor) for end, side in zip(ends, coarse.shape[1:], strict=True)]
        beyond = [n for a, b in zip(reversed(sides), reversed(coarse.shape[1:]), strict=True) for n in (0, a - b)]
        self.padded = tuple(sides)
        self.image = F.pad(image.float(), beyond)  # nnU-Net pads with 0, the value outside the brain
        self.coarse = F.pad(coarse, beyond, value=float(coarse.amin().clamp(max=-1)))
        self.weight = _gaussian(tiles[0].size).to(coarse.device)

    def draw(self, sampling: Sampling, number: int) -> Tensor:
        """Sample `number` of the residual, (R, D, H, W) in (-1, 1)."""
        factor = self.refiner.config.downsampling
        grid = [side // factor for side in self.padded]
        noise = noise_volume(grid, self.refiner.config.latent_channels, sampling.seed, number)
        residual = self.coarse.new_zeros((self.shape[0], *self.padded))
        weights = self.coarse.new_zeros(self.padded)
        for tile in self.tiles:
            z, y, x = tile.of_padded(factor)
            start = noise[:, z, y, x][None].to(self.device)
            generator = torch.Generator().manual_seed(_mixed(sampling.seed, number, *tile.start))
            condition = self._condition(tile, keep=sampling.samples > 1)
            drawn = self.refiner.draw_residual(condition, start, sampling, generator)[0].to(self.coarse.device)
            z, y, x = tile.of_padded()
            residual[:, z, y, x] += drawn * self.weight
            weights[z, y, x] += self.weight
        residual /= weights.clamp(min=1e-12)
        return residual[:, : self.shape[1], : self.shape[2], : self.shape[3]]

    def _condition(self, tile: Tile, *, keep: bool) -> Condition:
        """What the condition network says of a tile, computed once for all samples."""
        if tile.start in self._conditions:
            return self._conditions[tile.start]
        z, y, x = tile.of_padded()
        image, coarse = (volume[:, z, y, x][None].to(self.device) for volume in (self.image, self.coarse))
        condition = self.refiner.encode_condition(image, coarse)
        if keep:
            self._conditions[tile.start] = condition
        return condition


def _mixed(*numbers: int) -> int:
    """One seed of several numbers."""
    seed = 0
    for number in numbers:
        seed = (seed * _SEED_STRIDE + number) % 2**63
    return seed


def _gaussian(size: tuple[int, int, int]) -> Tensor:
    """Blending weights (D, H, W), 1 in the middle, never below 1e-3."""
    axes = [torch.arange(side, dtype=torch.float32) - (side - 1) / 2 for side in size]
    z, y, x = (torch.exp(-0.5 * (a / (side * _SIGMA)).square()) for a, side in zip(axes, size, strict=True))
    return (z[:, None, None] * y[:, None] * x).clamp(min=1e-3)
