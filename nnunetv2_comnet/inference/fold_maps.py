"""The maps of a model's folds on the preprocessed grid: coarse logits by the sliding window, and refined ones."""

import contextlib
import functools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from nnunetv2_comnet.crossval import Fold
from nnunetv2_comnet.inference.averaging import RunningMean
from nnunetv2_comnet.inference.options import Options
from nnunetv2_comnet.inference.sliding_window import MirroredNetwork, SlidingWindow
from nnunetv2_comnet.networks.experimental.cuda_graphs import GraphedNetwork
from nnunetv2_comnet.refinement import RefinedNetwork, RefinedVolume, Sampling, refine_volume
from nnunetv2_comnet.trust.checkpoints import read_checkpoint

LEAST_PROBABILITY = 1e-6  # of the averaged map, before its logits are taken
Weights = dict[str, Tensor]
FoldMap = tuple[Tensor, RefinedVolume | None]


class FoldWeights(Sequence[Weights]):
    """The folds' weights, where nnU-Net keeps all of them in memory at once.

    Each access maps a checkpoint into memory, and only what is copied into the network is read, not the optimiser's
    state. prefix: only the weights whose names start with it, under the rest of the name. Raises `DataError` for a
    checkpoint that cannot be read.
    """

    def __init__(self, checkpoints: Sequence[Path], prefix: str = "") -> None:
        self.checkpoints, self.prefix = tuple(checkpoints), prefix

    def __len__(self) -> int:
        return len(self.checkpoints)

    def __getitem__(self, index: Any) -> Any:  # as nnU-Net's list: a number gives Weights, a slice FoldWeights
        if isinstance(index, slice):
            return FoldWeights(self.checkpoints[index], self.prefix)
        weights: Weights = read_checkpoint(self.checkpoints[index])["network_weights"]
        return {
            name.removeprefix(self.prefix): value for name, value in weights.items() if name.startswith(self.prefix)
        }

    def below(self, prefix: str) -> "FoldWeights":
        """Returns the same checkpoints for one part of the network."""
        return FoldWeights(self.checkpoints, self.prefix + prefix)


def read_ahead(folds: FoldWeights) -> Iterator[Weights]:
    """Yields the folds' weights; while the caller works with one, a thread reads the next from disk, no further.

    Raises `DataError` when it comes to a checkpoint that cannot be read.
    """
    with ThreadPoolExecutor(max_workers=1) as reader:
        coming = reader.submit(_read, folds, 0)
        for index in range(len(folds)):
            read = [coming.result()]
            if index + 1 < len(folds):
                coming = reader.submit(_read, folds, index + 1)
            else:
                del coming
            yield read.pop()  # no name is left for it here: the caller alone decides how long it lives


def _read(folds: FoldWeights, index: int) -> Weights:
    """Reads one fold's weights as a copy, so that nothing is left to be read from disk."""
    return {name: value.clone() for name, value in folds[index].items()}


class FoldMaps:
    """One network that takes the weights of fold after fold.

    Args:
        network: on its device, evaluating; refined or not, compiled or not.
        folds: their numbers, or "all".
        weights: in the order of `folds`.
        options: with `refine` decided.
        steps: reverse steps of the refiner.
        patch_size: (D, H, W) in voxels.
        mirror_axes: 0 to 2, as the model allows and the options want.
        skip_background: see SlidingWindow.
        keep_on_device: whole volumes lie beside the network, unless they do not fit there.
    """

    def __init__(
        self,
        network: nn.Module,
        folds: Sequence[Fold],
        weights: FoldWeights,
        *,
        options: Options,
        steps: int,
        patch_size: Sequence[int],
        mirror_axes: Sequence[int],
        skip_background: bool,
        keep_on_device: bool,
    ) -> None:
        self.network, self.folds, self.weights = network, folds, weights
        self.options, self.steps = options, steps
        self.device = next(network.parameters()).device
        refined = as_refined(network)
        coarse = network if refined is None else refined.coarse
        self.mirrored = MirroredNetwork(GraphedNetwork(coarse).eval() if options.cuda_graphs else coarse, mirror_axes)
        self.keep_on_device = keep_on_device
        self._window = functools.partial(
            SlidingWindow, patch_size=patch_size, tile_step=options.tile_step_size, skip_background=skip_background
        )

    def window(self, data: Tensor) -> SlidingWindow:
        """Cuts a preprocessed image (C, D, H, W) into tiles."""
        if self.keep_on_device:
            with contextlib.suppress(torch.cuda.OutOfMemoryError):
                return self._window(data, device=self.device)
        return self._window(data, device="cpu")

    def each(self, window: SlidingWindow, strengths: Sequence[float]) -> Iterator[FoldMap]:
        """Yields what is averaged, as `Options.refine` says: coarse logits, and the refiner's volume or None."""
        order = self.options.refine
        if order == "cross":
            yield from self._crosswise(window, strengths)
            return
        ensemble = self._ensemble_logits(window) if order == "ensemble" else None
        for fold in self._each_fold():
            logits = self.coarse(window) if ensemble is None else ensemble
            yield logits, None if order == "none" else self.refine(fold, window, logits, strengths)

    def coarse(self, window: SlidingWindow) -> Tensor:
        """Computes the logits (R, D, H, W) before any refinement, with the current weights; half."""
        try:
            return window.logits(self.mirrored, self.device)
        except torch.cuda.OutOfMemoryError:
            if window.device.type == "cpu":
                raise
        torch.cuda.empty_cache()
        self.keep_on_device = False
        return self.window(window.image.cpu()).logits(self.mirrored, self.device)

    def refine(self, fold: Fold, window: SlidingWindow, logits: Tensor, strengths: Sequence[float]) -> RefinedVolume:
        """Refines coarse logits by the fold's averaged weights; a fold draws its noise whichever others predict."""
        options, number = self.options, fold if isinstance(fold, int) else 0
        return refine_volume(
            cast(RefinedNetwork, as_refined(self.network)).ema,
            window.image,
            logits,
            strengths=strengths,
            sampling=Sampling(self.steps, options.eta, options.samples, options.seed + number),
            tile_step=options.tile_step_size,
        )

    def load(self, index: int) -> Fold:
        """Loads one fold's weights into the network."""
        bare(self.network).load_state_dict(self.weights[index])
        return self.folds[index]

    def _each_fold(self) -> Iterator[Fold]:
        """Yields the folds, with their weights in the network; the next one's are read while the caller works."""
        ahead = read_ahead(self.weights)
        for fold in self.folds:
            bare(self.network).load_state_dict(next(ahead))
            yield fold

    def _crosswise(self, window: SlidingWindow, strengths: Sequence[float]) -> Iterator[FoldMap]:
        """Yields the maps of each fold's refiner on the map of the fold before it, the first fold's on the last's."""
        before: Tensor | None = None
        for fold in self._each_fold():
            own = self.coarse(window)
            if before is not None:
                yield before, self.refine(fold, window, before, strengths)
            before = own
        assert before is not None
        yield before, self.refine(self.load(0), window, before, strengths)

    def _ensemble_logits(self, window: SlidingWindow) -> Tensor:
        """Computes logits (R, D, H, W) of the folds' averaged coarse probabilities, float32 on the window's device."""
        mean = RunningMean()
        for _ in self._each_fold():
            mean.add(self.coarse(window).float().sigmoid().cpu().numpy())
        return torch.logit(torch.from_numpy(mean.mean), eps=LEAST_PROBABILITY).to(window.device)


def bare(network: nn.Module) -> nn.Module:
    """Returns the network within a compiled one."""
    return cast(nn.Module, getattr(network, "_orig_mod", network))


def as_refined(network: nn.Module) -> RefinedNetwork | None:
    """Returns the network, compiled or not, as one with a refiner; None for one without."""
    found = bare(network)
    return found if isinstance(found, RefinedNetwork) else None
