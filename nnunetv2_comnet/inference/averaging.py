"""The paper's average: the folds' probabilities, and what else is wanted of them, on the input's voxels."""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from nnunetv2_comnet.inference.images import Properties
from nnunetv2_comnet.inference.resampling import Array, Grids
from nnunetv2_comnet.inference.running import RunningMean
from nnunetv2_comnet.inference.stages import OneBehind
from nnunetv2_comnet.refinement import RefinedVolume

BESIDE = ("disagreement", "spread", "correction")  # maps beside the probabilities, each of which costs a resampling


class FoldAverage:
    """Takes the folds' maps one at a time; memory does not grow with their number.

    wanted: which of BESIDE. behind: resample and add in a thread, while the network works on the next fold.
    """

    def __init__(self, grids: Grids, properties: Properties, wanted: Collection[str], *, behind: bool) -> None:
        self._grids, self._properties = grids, properties
        self._mean = RunningMean(with_deviation="disagreement" in wanted)
        self._others = {kind: RunningMean() for kind in ("spread", "correction") if kind in wanted}
        self._worker = OneBehind(threads=behind)

    def add(self, logits: Tensor, refined: RefinedVolume | None) -> None:
        """A fold's coarse logits (R, D, H, W) and, where they are refined, what became of them."""
        others = {} if refined is None else {kind: getattr(refined, kind).cpu() for kind in self._others}
        if refined is not None:
            # Back in nnU-Net's half precision: where nothing was corrected, resampling gives the coarse map's bits.
            logits = refined.logits.to(logits.dtype)
        on_cpu = logits.cpu()  # here, not in the thread: there it would wait for what the GPU was told meanwhile
        self._worker.submit(lambda: self._add(on_cpu, others))

    @torch.inference_mode()
    def _add(self, logits: Tensor, others: Mapping[str, Tensor]) -> None:
        for kind, values in others.items():
            self._others[kind].add(self._grids.resampled(values, self._properties))
        self._mean.add(self._grids.probabilities(logits, self._properties))

    def maps(self) -> dict[str, Array]:
        """ "probabilities" and what was wanted: (R, Z, Y, X) float32 on the input's voxels, uncropped."""
        self._worker.wait()
        maps = {"probabilities": self._mean.mean}
        if self._mean.has_deviation:
            maps["disagreement"] = self._mean.deviation
        maps |= {kind: mean.mean for kind, mean in self._others.items() if mean.count}
        return {kind: self._grids.on_input_grid(values, self._properties) for kind, values in maps.items()}
