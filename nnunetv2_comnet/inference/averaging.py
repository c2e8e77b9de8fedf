"""The paper's average: the folds' probabilities, and the maps beside them, on the input's voxels."""

from collections.abc import Collection, Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nnunetv2_comnet.inference.images import Properties
from nnunetv2_comnet.inference.resampling import Array, Grids
from nnunetv2_comnet.inference.stages import OneBehind
from nnunetv2_comnet.refinement import RefinedVolume

BESIDE = ("disagreement", "spread", "correction")  # maps beside the probabilities, each of which costs a resampling
Maps = npt.NDArray[np.float32]


class RunningMean:
    """Mean and deviation of maps, added one at a time in float32; the mean is their sum over their count."""

    def __init__(self, *, with_deviation: bool = False) -> None:
        self.count = 0
        self.has_deviation = with_deviation
        self._sum: Maps | None = None
        self._squares: Maps | None = None

    def add(self, values: Maps) -> None:
        """Adds one fold's maps, of any shape, the same each time; they are not changed."""
        self.count += 1
        if self._sum is None:
            self._sum = np.array(values, np.float32)
            self._squares = np.zeros_like(self._sum) if self.has_deviation else None
            return
        # Welford's update: the difference of two large sums would lose the deviation of confident voxels.
        before = values - self._sum / np.float32(self.count - 1) if self.has_deviation else None
        self._sum += values
        if self._squares is not None and before is not None:
            self._squares += before * (values - self._sum / np.float32(self.count))

    @property
    def mean(self) -> Maps:
        """Float32, the maps' shape."""
        assert self._sum is not None, "nothing was added"
        mean: Maps = self._sum / np.float32(self.count)
        return mean

    @property
    def deviation(self) -> Maps:
        """Standard deviation of the maps added (of the population: 0 for one map), float32."""
        assert self._squares is not None, "nothing was added, or no deviation asked for"
        deviation: Maps = np.sqrt(np.maximum(self._squares, 0) / np.float32(self.count))
        return deviation


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
        """Adds a fold's coarse logits (R, D, H, W) or, where `refined` is given, those and its other maps."""
        others = {} if refined is None else {kind: getattr(refined, kind).cpu() for kind in self._others}
        if refined is not None:
            # Back in nnU-Net's half precision: where nothing was corrected, resampling gives the coarse map's bits.
            logits = refined.logits.to(logits.dtype)
        on_cpu = logits.cpu()  # here: in the thread it would wait for the work that the GPU was given meanwhile
        self._worker.submit(lambda: self._add(on_cpu, others))

    @torch.inference_mode()
    def _add(self, logits: Tensor, others: Mapping[str, Tensor]) -> None:
        for kind, values in others.items():
            self._others[kind].add(self._grids.resampled(values, self._properties))
        self._mean.add(self._grids.probabilities(logits, self._properties))

    def maps(self) -> dict[str, Array]:
        """Returns "probabilities" and the wanted maps: (R, Z, Y, X) float32 on the input's voxels, uncropped."""
        self._worker.wait()
        maps = {"probabilities": self._mean.mean}
        if self._mean.has_deviation:
            maps["disagreement"] = self._mean.deviation
        maps |= {kind: mean.mean for kind, mean in self._others.items() if mean.count}
        return {kind: self._grids.on_input_grid(values, self._properties) for kind, values in maps.items()}
