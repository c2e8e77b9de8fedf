"""The files of one patient: the label map in the output folder, everything else where stock commands do not look.

`nnUNetv2_apply_postprocessing` takes each NIfTI of the folder itself for a label map, so maps lie in subfolders.
"""

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nnunetv2_comnet.errors import ConfigurationError
from nnunetv2_comnet.files import written_whole
from nnunetv2_comnet.inference.averaging import BESIDE
from nnunetv2_comnet.inference.images import write_map
from nnunetv2_comnet.inference.prediction import Prediction
from nnunetv2_comnet.regions import THRESHOLD, short_name

MAPS = ("probabilities", "entropy", *BESIDE)
MAP_ENDING = ".nii.gz"


@dataclass(frozen=True)
class Outputs:
    """Where a patient's files go, and which are wanted beside the label map.

    folder: the output folder. file_ending: of label maps, as in the training data. regions: names in channel order.
    maps: some of `MAPS`, one NIfTI per region in the subfolder of that name. stock_probabilities: nnU-Net's .npz and
    .pkl, for nnUNetv2_ensemble.
    """

    folder: Path
    file_ending: str
    regions: Sequence[str]
    maps: Sequence[str] = ()
    stock_probabilities: bool = False

    def label_map(self, case: str) -> Path:
        return self.folder / f"{case}{self.file_ending}"

    def map_files(self, case: str, kind: str) -> list[Path]:
        """Returns one file per region, in channel order."""
        return [self.folder / kind / f"{case}_{short_name(region)}{MAP_ENDING}" for region in self.regions]

    def is_whole(self, case: str) -> bool:
        """Tells whether every file that is wanted of the case is there; each was written whole or not at all."""
        return all(path.is_file() for path in self._files(case, self.maps, self.stock_probabilities))

    def forget(self, case: str) -> None:
        """Deletes every file of the case from an earlier run, which must not be taken for this run's."""
        for path in self._files(case, MAPS, True):
            path.unlink(missing_ok=True)

    def write(self, case: str, prediction: Prediction) -> None:
        """Writes all that is wanted; the label map last, so that it stands for the whole case."""
        for kind in self.maps:
            for path, values in zip(self.map_files(case, kind), getattr(prediction, kind), strict=True):
                write_map(
                    _in_half_precision(values) if kind == "probabilities" else values, path, prediction.properties
                )
        if self.stock_probabilities:
            with written_whole(self.folder / f"{case}.npz") as temporary:
                np.savez_compressed(temporary, probabilities=prediction.probabilities)
            with written_whole(self.folder / f"{case}.pkl") as temporary, open(temporary, "wb") as stream:
                pickle.dump(prediction.properties, stream)
        prediction.save(self.label_map(case))

    def _files(self, case: str, maps: Sequence[str], stock_probabilities: bool) -> list[Path]:
        stock = [self.folder / f"{case}{ending}" for ending in (".npz", ".pkl")] if stock_probabilities else []
        return [self.label_map(case), *(path for kind in maps for path in self.map_files(case, kind)), *stock]


def require_possible_maps(maps: Sequence[str], average: str, refine: str | None) -> None:
    """Raises `ConfigurationError` for a map that a prediction with these options does not have."""
    if average == "logits" and (without := [kind for kind in maps if kind in BESIDE]):
        raise ConfigurationError(f"average 'logits' gives no {without[0]} map: use average 'probabilities'")
    if refine == "none" and (without := [kind for kind in maps if kind in ("spread", "correction")]):
        raise ConfigurationError(f"nothing is refined, so there is no {without[0]} map")


def _in_half_precision(probabilities: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Rounds float32 to half precision, which compresses well; NIfTI has no such type. What exceeds 0.5 still does."""
    half = probabilities.astype(np.float16)
    half[(probabilities > THRESHOLD) & (half <= THRESHOLD)] = np.nextafter(np.float16(THRESHOLD), np.float16(1))
    return half.astype(np.float32)
