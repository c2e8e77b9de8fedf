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

Box = tuple[slice, ...]
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
    at_once: int | None = None,
) -> RefinedVolume:
    """Corrects the coarse logits (R, D, H, W) of a preprocessed image (C, D, H, W) of any size.

    The same input gives the same output, whatever else is refined before or after.

    Args:
        refiner: The trained refiner.
        image: (C, D, H, W).
        logits: (R, D, H, W).
        strengths: alpha per region, in [0, 1].
        sampling: How residuals are drawn.
        tile_step: Distance of tiles at most, as a share of their side, in (0, 1].
        skip: Tiles without a voxel that may change are not computed; the result is the same.
        at_once: Tiles in a batch; None takes four on a GPU and one elsewhere.
    """
    coarse = logits.float()
    alpha = torch.as_tensor(strengths, dtype=torch.float32, device=coarse.device)
    if alpha.shape != coarse.shape[:1] or not bool(((alpha >= 0) & (alpha <= 1)).all()):
        raise ConfigurationError(f"refiner: expected {len(coarse)} strengths from 0 to 1, got {tuple(strengths)}")
    alpha_gate = refiner.gate(coarse[None])[0]
    # Placed for every region, whatever its strength: a region's correction must not depend on the others' strengths.
    config = refiner.config
    tiles = list(place_tiles(alpha_gate.amax(dim=0) > 0, config.patch_size, tile_step, config.downsampling))
    alpha_gate *= alpha[:, None, None, None]
    needed = [tile for tile in tiles if not skip or tile.may_change(alpha_gate)]
    correction, spread = torch.zeros_like(coarse), torch.zeros_like(coarse)
    if not needed:
        return RefinedVolume(coarse, correction, spread, 0, len(tiles))
    residuals = _Residuals(refiner, image, coarse, tiles, needed, at_once)
    # Beyond it nothing changes, and nothing is computed. It goes around all tiles, needed or not: where a box begins
    # decides which voxels a processor's vectors take together, and with it their last bits.
    box = (slice(None), *residuals.box)
    before, openness = coarse[box], alpha_gate[box]
    drawn = [openness * logit_correction(before, residuals.draw(sampling, n)) for n in range(sampling.samples)]
    correction[box] = torch.stack(drawn).mean(dim=0) if len(drawn) > 1 else drawn[0]
    refined = coarse.clone()
    refined[box] = torch.where(openness > 0, before + correction[box], before)
    if len(drawn) > 1:
        spread[box] = torch.stack([(before + one).sigmoid() for one in drawn]).std(dim=0, correction=0)
    return RefinedVolume(refined, correction, spread, len(needed), len(tiles))


@dataclass(frozen=True)
class Tile:
    """A patch of the padded volume, its first voxel (z, y, x) and the part of the volume that it covers."""

    start: tuple[int, ...]
    size: tuple[int, ...]
    inside: Box

    def of_padded(self, factor: int = 1, origin: Sequence[int] = (0, 0, 0)) -> Box:
        """Returns the patch's place in the padded volume, or in its latent grid, counted from `origin`."""
        starts = (start - first for start, first in zip(self.start, origin, strict=True))
        return tuple(slice(a // factor, (a + s) // factor) for a, s in zip(starts, self.size, strict=True))

    def cut(self, volume: Tensor, beyond: float) -> Tensor:
        """Cuts the patch (C, *size) out of a volume (C, D, H, W), float32; `beyond` is the value past its far ends."""
        z, y, x = self.inside
        part = volume[:, z, y, x].float()
        missing = [size - side for size, side in zip(self.size, part.shape[1:], strict=True)]
        return F.pad(part, [n for count in reversed(missing) for n in (0, count)], value=beyond)

    def may_change(self, openness: Tensor) -> bool:
        """Returns whether the volume's gate (R, D, H, W) is open anywhere in the tile."""
        z, y, x = self.inside
        return bool((openness[:, z, y, x] > 0).any())


def place_tiles(active: Tensor, patch_size: Sequence[int], tile_step: float, multiple: int) -> Iterator[Tile]:
    """Places tiles of `patch_size` over the box around active voxels (D, H, W), at most `tile_step` of a side apart.

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
        sides = zip(start, patch_size, active.shape, strict=True)
        yield Tile(start, tuple(patch_size), tuple(slice(a, min(a + side, whole)) for a, side, whole in sides))


def _starts(first: int, last: int, whole: int, side: int, tile_step: float, multiple: int) -> list[int]:
    """Computes the starts of tiles that cover [first, last) of an axis of `whole` voxels."""
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
    """Draws standard normal noise (channels, d, h, w) of a latent grid, a function of seed, sample and position."""
    generator = torch.Generator().manual_seed(_mixed(seed, sample))
    return torch.randn((channels, *shape), generator=generator)


class _Residuals:
    """Draws blended residuals of the box around some tiles; their condition is kept between samples."""

    def __init__(
        self,
        refiner: Refiner,
        image: Tensor,
        coarse: Tensor,
        tiles: Sequence[Tile],
        needed: Sequence[Tile],
        at_once: int | None,
    ) -> None:
        self.refiner, self.image, self.coarse = refiner, image, coarse
        self.device = next(refiner.parameters()).device
        if at_once is None:
            at_once = 4 if self.device.type == "cuda" else 1
        self.batches = [needed[first : first + at_once] for first in range(0, len(needed), at_once)]
        self._conditions: dict[int, Condition] = {}
        self.first = [min(tile.start[axis] for tile in tiles) for axis in range(3)]
        self.ends = [max(tile.start[axis] + tile.size[axis] for tile in tiles) for axis in range(3)]
        factor, sides = refiner.config.downsampling, coarse.shape[1:]
        self.noise_grid = [
            max(end, math.ceil(side / factor) * factor) // factor for end, side in zip(self.ends, sides, strict=True)
        ]
        self.beyond = float(coarse.amin().clamp(max=-1))  # of the coarse map; nnU-Net pads the image with 0
        self.weight = _gaussian(tiles[0].size).to(coarse.device)

    @property
    def box(self) -> Box:
        """The part of the volume that the tiles cover."""
        axes = zip(self.first, self.ends, self.coarse.shape[1:], strict=True)
        return tuple(slice(first, min(end, side)) for first, end, side in axes)

    def draw(self, sampling: Sampling, number: int) -> Tensor:
        """Draws sample `number` of the residual in the box, (R, d, h, w) in (-1, 1)."""
        noise = noise_volume(self.noise_grid, self.refiner.config.latent_channels, sampling.seed, number)
        sides = [end - first for first, end in zip(self.first, self.ends, strict=True)]
        residual = self.coarse.new_zeros((len(self.coarse), *sides))
        weights = self.coarse.new_zeros(sides)
        for index, tiles in enumerate(self.batches):
            condition = self._condition(index, keep=sampling.samples > 1)
            for tile, drawn in zip(tiles, self._drawn(tiles, condition, noise, sampling, number), strict=True):
                z, y, x = tile.of_padded(origin=self.first)
                residual[:, z, y, x] += drawn.to(residual.device) * self.weight
                weights[z, y, x] += self.weight
        residual /= weights.clamp(min=1e-12)
        z, y, x = (slice(0, part.stop - part.start) for part in self.box)
        return residual[:, z, y, x]

    def _drawn(
        self, tiles: Sequence[Tile], condition: Condition, noise: Tensor, sampling: Sampling, number: int
    ) -> Tensor:
        """Draws residuals (B, R, *patch) of a batch of tiles."""
        factor = self.refiner.config.downsampling
        boxes = [(slice(None), *tile.of_padded(factor)) for tile in tiles]
        start = torch.stack([noise[box] for box in boxes]).to(self.device)
        generators = [torch.Generator().manual_seed(_mixed(sampling.seed, number, *tile.start)) for tile in tiles]
        if sampling.eta == 0 or len(tiles) == 1:  # the generator of a single tile, or one that nothing is drawn from
            return self.refiner.draw_residual(condition, start, sampling, generators[0])
        alone = []
        for i, generator in enumerate(generators):
            own = tuple(features[i : i + 1] for features in condition)
            alone.append(self.refiner.draw_residual(own, start[i : i + 1], sampling, generator))
        return torch.cat(alone)

    def _condition(self, index: int, *, keep: bool) -> Condition:
        """Encodes the condition of a batch, once for all samples."""
        if index in self._conditions:
            return self._conditions[index]
        parts = [(tile.cut(self.image, 0.0), tile.cut(self.coarse, self.beyond)) for tile in self.batches[index]]
        image, coarse = (torch.stack(volumes).to(self.device) for volumes in zip(*parts, strict=True))
        condition = self.refiner.encode_condition(image, coarse)
        if keep:
            self._conditions[index] = condition
        return condition


def _mixed(*numbers: int) -> int:
    """Makes one seed of several numbers."""
    seed = 0
    for number in numbers:
        seed = (seed * _SEED_STRIDE + number) % 2**63
    return seed


def _gaussian(size: Sequence[int]) -> Tensor:
    """Makes blending weights (D, H, W), 1 in the middle, never below 1e-3."""
    axes = [torch.arange(side, dtype=torch.float32) - (side - 1) / 2 for side in size]
    z, y, x = (torch.exp(-0.5 * (a / (side * _SIGMA)).square()) for a, side in zip(axes, size, strict=True))
    return (z[:, None, None] * y[:, None] * x).clamp(min=1e-3)
