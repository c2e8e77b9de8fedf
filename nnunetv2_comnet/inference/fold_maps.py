"""The maps of a model's folds on the preprocessed grid: coarse logits by the sliding window, and refined ones."""

import contextlib
import functools
from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from nnunetv2_comnet.crossval import Fold
from nnunetv2_comnet.inference.fold_weights import FoldWeights, read_ahead
from nnunetv2_comnet.inference.mirroring import MirroredNetwork
from nnunetv2_comnet.inference.options import Options
from nnunetv2_comnet.inference.running import RunningMean
from nnunetv2_comnet.inference.sliding_window import SlidingWindow
from nnunetv2_comnet.networks.experimental.cuda_graphs import GraphedNetwork
from nnunetv2_comnet.refinement import RefinedNetwork, RefinedVolume, Sampling, refine_volume

LEAST_PROBABILITY = 1e-6  # of the averaged map, before its logits are taken
FoldMap = tuple[Tensor, RefinedVolume | None]


class FoldMaps:
    """One network that takes the weights of fold after fold.

    network: on its device, evaluating; refined or not, compiled or not. options: with `refine` decided. steps: reverse
    steps of the refiner. mirror_axes: 0 to 2, as the model allows and the options want. skip_background: see
    SlidingWindow. keep_on_device: whole volumes lie beside the network, unless they do not fit there.
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
        """The tiles of a preprocessed image (C, D, H, W)."""
        if self.keep_on_device:
            with contextlib.suppress(torch.cuda.OutOfMemoryError):
                return self._window(data, device=self.device)
        return self._window(data, device="cpu")

    def each(self, window: SlidingWindow, strengths: Sequence[float]) -> Iterator[FoldMap]:
        """What is averaged, as `Options.refine` says: coarse logits, and what a refiner made of them."""
        order = self.options.refine
        if order == "cross":
            yield from self._crosswise(window, strengths)
            return
        ensemble = self._ensemble_logits(window) if order == "ensemble" else None
        for fold in self._each_fold():
            logits = self.coarse(window) if ensemble is None else ensemble
            yield logits, None if order == "none" else self.refine(fold, window, logits, strengths)

    def coarse(self, window: SlidingWindow) -> Tensor:
        """Logits (R, D, H, W) by the network before any refinement, with the weights at hand; half."""
        try:
            return window.logits(self.mirrored, self.device)
        except torch.cuda.OutOfMemoryError:
            if window.device.type == "cpu":
                raise
        torch.cuda.empty_cache()
        self.keep_on_device = False
        return self.window(window.image.cpu()).logits(self.mirrored, self.device)

    def refine(self, fold: Fold, window: SlidingWindow, logits: Tensor, strengths: Sequence[float]) -> RefinedVolume:
        """The fold's averaged refiner on coarse logits; folds draw independent noise, the same alone and in company."""
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
        """Brings one fold's weights into the network."""
        bare(self.network).load_state_dict(self.weights[index])
        return self.folds[index]

    def _each_fold(self) -> Iterator[Fold]:
        """The folds, with their weights in the network; the next one's are read while the caller works."""
        ahead = read_ahead(self.weights)
        for fold in self.folds:
            bare(self.network).load_state_dict(next(ahead))
            yield fold

    def _crosswise(self, window: SlidingWindow, strengths: Sequence[float]) -> Iterator[FoldMap]:
        """Each fold's refiner on the map of the fold before it, the first fold's on the last one's."""
        before: Tensor | None = None
        for fold in self._each_fold():
            own = self.coarse(window)
            if before is not None:
                yield before, self.refine(fold, window, before, strengths)
            before = own
        assert before is not None
        yield before, self.refine(self.load(0), window, before, strengths)

    def _ensemble_logits(self, window: SlidingWindow) -> Tensor:
        """Logits (R, D, H, W) of the folds' averaged coarse probabilities, float32, where the window's sums are."""
        mean = RunningMean()
        for _ in self._each_fold():
            mean.add(self.coarse(window).float().sigmoid().cpu().numpy())
        return torch.logit(torch.from_numpy(mean.mean), eps=LEAST_PROBABILITY).to(window.device)


def bare(network: nn.Module) -> nn.Module:
    """The network within a compiled one."""
    return cast(nn.Module, getattr(network, "_orig_mod", network))


def as_refined(network: nn.Module) -> RefinedNetwork | None:
    """The network, compiled or not, as one with a refiner; None for one without."""
    found = bare(network)
    return found if isinstance(found, RefinedNetwork) else None
