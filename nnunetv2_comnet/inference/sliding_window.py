"""nnU-Net's sliding window with its tiles and weights, with sums in float32; tiles outside the brain are left out."""

import contextlib
from collections.abc import Callable, Sequence
from itertools import combinations, product

import torch
from acvl_utils.cropping_and_padding.padding import pad_nd_image
from nnunetv2.inference.sliding_window_prediction import compute_gaussian, compute_steps_for_sliding_window
from torch import Tensor, nn

from nnunetv2_comnet.errors import DataError

Tile = tuple[slice, slice, slice]
Answer = Callable[[Tensor], Tensor]  # (1, C, *patch) -> (1, R, *patch), as MirroredNetwork
OUTSIDE_LOGIT = -20.0  # of voxels that only left-out tiles cover: probability 2e-9, entropy and correction 0
BACKGROUND_TOLERANCE = 1e-3  # in standard deviations: cubic resampling rings at the brain's edge and never ends at 0
_SIGMA, _SCALE = 1 / 8, 10  # nnU-Net's Gaussian: of a tile's side; its largest value


class MirroredNetwork:
    """A network averaged over mirrored images: of a tile (1, C, D, H, W), the mean answer (1, R, D, H, W), float32.

    axes: those that are mirrored, 0 to 2; none for the network alone. at_once: images in a batch; None takes all of
    them on a GPU and one elsewhere. Where they do not fit into a GPU's memory, half as many are tried from then on. One
    by one, the result is nnU-Net's to the bit; a batch may differ in its last bits.
    """

    def __init__(self, network: nn.Module, axes: Sequence[int] = (), at_once: int | None = None) -> None:
        self.network = network
        self.flips = [
            tuple(axis + 2 for axis in chosen) for count in range(len(axes) + 1) for chosen in combinations(axes, count)
        ]
        self.at_once = at_once

    def __call__(self, tile: Tensor) -> Tensor:
        if self.at_once is None:
            # On a CPU a batch costs memory and saves nothing: one image keeps all cores busy.
            self.at_once = len(self.flips) if tile.device.type == "cuda" else 1
        while True:
            try:
                return self._mean(tile, self.at_once)
            except torch.cuda.OutOfMemoryError:
                if self.at_once == 1:
                    raise
                self.at_once = (self.at_once + 1) // 2
            torch.cuda.empty_cache()

    def _mean(self, tile: Tensor, at_once: int) -> Tensor:
        total: Tensor | None = None
        for first in range(0, len(self.flips), at_once):
            flips = self.flips[first : first + at_once]
            batch = torch.cat([tile.flip(flip) for flip in flips]) if len(flips) > 1 or flips[0] else tile
            with _as_nnunet_computes(tile.device):
                answers = self.network(batch)
            for answer, flip in zip(answers.split(1), flips, strict=True):
                mirrored_back = answer.flip(flip) if flip else answer
                if total is None:
                    # A copy: a network may use the memory of its answer again.
                    total = mirrored_back.to(torch.float32, copy=True)
                else:
                    total += mirrored_back
        assert total is not None
        return total if len(self.flips) == 1 else total.div_(len(self.flips))


def _as_nnunet_computes(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Returns the context of nnU-Net's precision: half on a GPU, float32 elsewhere."""
    return torch.autocast(device.type) if device.type == "cuda" else contextlib.nullcontext()


class SlidingWindow:
    """The tiles of one preprocessed image (C, D, H, W), for the networks of all folds.

    The image is padded by 0 where it is smaller than `patch_size`, and lies on `device` once, whatever the number of
    folds. tile_step: of a patch's side, in (0, 1]. With `skip_background`, which is for images that are 0 in all
    channels outside the brain, tiles are left out that hold nothing else. A voxel of the brain lies in no such tile: it
    gets what all tiles would give, to the bit. Outside the brain, a voxel gets the mean of the computed tiles that
    cover it, and `OUTSIDE_LOGIT` where there is none.
    accumulate: type of the sums; with torch.half and all tiles, nnU-Net's own result to the bit.
    """

    def __init__(
        self,
        image: Tensor,
        *,
        patch_size: Sequence[int],
        tile_step: float = 0.5,
        skip_background: bool = False,
        device: torch.device | str = "cpu",
        accumulate: torch.dtype = torch.float32,
    ) -> None:
        padded, inside = pad_nd_image(image, tuple(patch_size), "constant", {"value": 0}, True, None)
        self._padded, self._inside = padded.to(device), (inside[1], inside[2], inside[3])
        self._accumulate = accumulate
        steps = compute_steps_for_sliding_window(tuple(padded.shape[1:]), tuple(patch_size), tile_step)
        all_tiles = [_tile(start, patch_size) for start in product(*steps)]
        brain = _brain(self._padded) if skip_background else None
        with_brain = [tile for tile in all_tiles if brain is None or bool(brain[tile].any())]
        self.tiles = with_brain or all_tiles  # an image that is 0 everywhere does not show where the brain is
        self.skipped = len(all_tiles) - len(self.tiles)
        # Rounded to half as nnU-Net's, so that only the sums differ.
        half = compute_gaussian(tuple(patch_size), sigma_scale=_SIGMA, value_scaling_factor=_SCALE, device=self.device)
        self._gaussian = half.float()
        self._weights = torch.zeros(padded.shape[1:], dtype=accumulate, device=device)
        for tile in self.tiles:
            self._weights[tile] += half

    @property
    def device(self) -> torch.device:
        """Where image and sums lie; the network may be elsewhere."""
        return self._padded.device

    @property
    def image(self) -> Tensor:
        """The image (C, D, H, W) without its padding, a view."""
        return self._padded[_of_all_channels(self._inside)]

    def logits(self, answer: Answer, network_device: torch.device | str = "cpu") -> Tensor:
        """Computes the Gaussian-weighted mean (R, D, H, W) of the network's answers, half as nnU-Net's, on `device`.

        Raises `DataError` where the network answered with numbers that are not finite.
        """
        sums = torch.zeros(0)
        for tile in self.tiles:
            patch = self._padded[_of_all_channels(tile)][None].to(network_device, memory_format=torch.contiguous_format)
            weighted = answer(patch)[0].to(self.device, torch.float32).mul_(self._gaussian)
            if not len(sums):
                shape = (len(weighted), *self._weights.shape)
                sums = torch.zeros(shape, dtype=self._accumulate, device=self.device)
            sums[_of_all_channels(tile)] += weighted
        torch.div(sums, self._weights, out=sums)
        if self.skipped:
            sums.masked_fill_(self._weights == 0, OUTSIDE_LOGIT)
        logits = sums[_of_all_channels(self._inside)].half()
        if not bool(torch.isfinite(logits).all()):
            raise DataError("the network answered with numbers that are not finite")
        return logits


def _tile(start: Sequence[int], patch_size: Sequence[int]) -> Tile:
    z, y, x = (slice(first, first + side) for first, side in zip(start, patch_size, strict=True))
    return z, y, x


def _of_all_channels(tile: Tile) -> tuple[slice, ...]:
    return (slice(None), *tile)


def _brain(image: Tensor) -> Tensor:
    """Finds the voxels (D, H, W) that differ from 0 in some channel, without a copy of the image."""
    brain = torch.zeros(image.shape[1:], dtype=torch.bool, device=image.device)
    for channel in image:
        brain |= channel > BACKGROUND_TOLERANCE
        brain |= channel < -BACKGROUND_TOLERANCE
    return brain
