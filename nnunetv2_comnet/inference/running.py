"""Mean and deviation over folds, one map at a time: memory does not grow with the number of folds."""

import numpy as np
import numpy.typing as npt

Maps = npt.NDArray[np.float32]


class RunningMean:
    """Adds maps of one shape in float32. The mean is the plain one: sum, in the order of adding, over count."""

    def __init__(self, *, with_deviation: bool = False) -> None:
        self.count = 0
        self.has_deviation = with_deviation
        self._sum: Maps | None = None
        self._squares: Maps | None = None

    def add(self, values: Maps) -> None:
        """Takes one fold's maps, any shape, the same each time; they are not changed."""
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
