"""Held-out patients: preprocessed once, every fold's coarse map computed once, both kept in a file a patient."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nnunetv2_comnet.files import sha256, written_whole
from nnunetv2_comnet.inference.options import Options
from nnunetv2_comnet.inference.predictor import CoMNeTPredictor
from study.patients import held_out_folder, images_of
from study.settings import STAGE_1, TILE_STEP
from study.training import model_folder

Bools = npt.NDArray[np.bool_]
Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Patient:
    """A held-out patient on its own voxels (nothing is resampled: the plans have its spacing).

    image: (C, D, H, W) float32, preprocessed and cropped. logits: (F, R, D, H, W) half, mirrored, of every fold.
    truth: (R, Z, Y, X), uncropped. box: where the crop lies in it. spacing_mm: of Z, Y, X. regions: short names.
    """

    case: str
    image: Tensor
    logits: Tensor
    truth: Bools
    box: Box
    spacing_mm: tuple[float, float, float]
    regions: tuple[str, ...]

    @property
    def truth_inside(self) -> Bools:
        """(R, D, H, W): the truth within the crop."""
        z, y, x = self.box
        return self.truth[:, z, y, x]

    def whole(self, inside: Bools) -> Bools:
        """Masks (R, D, H, W) of the crop -> (R, Z, Y, X): nothing is predicted outside, so truth there is missed."""
        masks = np.zeros_like(self.truth)
        z, y, x = self.box
        masks[:, z, y, x] = inside
        return masks


def write_coarse(out: Path, case: str, folds: Sequence[int]) -> None:
    """Computes a patient's file, unless there is one of these checkpoints."""
    path, models = _file(out, case), _models(out, tuple(folds))
    if path.is_file() and str(np.load(path)["models"]) == models:
        return
    predictor = stage_1(out, tuple(folds))
    plans, configuration = predictor.plans_manager, predictor.configuration_manager
    images = [str(image) for image in images_of(out, case)]
    with torch.inference_mode():
        preprocessor = configuration.preprocessor_class(verbose=False)
        data, _, properties = preprocessor.run_case(images, None, plans, configuration, predictor.dataset_json)
        image = torch.from_numpy(data).to(torch.float32, memory_format=torch.contiguous_format)
        logits = []
        for weights in predictor.list_of_parameters:
            predictor.network.load_state_dict(weights)
            logits.append(predictor.predict_sliding_window_return_logits(image).cpu().half())
    labels, _ = predictor.writer.read_seg(str(held_out_folder(out) / "labelsTr" / f"{case}.nii.gz"))
    assert list(plans.transpose_forward) == [0, 1, 2], "our plans do not transpose"
    box = np.array(properties["bbox_used_for_cropping"])
    assert tuple(box[:, 1] - box[:, 0]) == tuple(image.shape[1:]), "the plans' spacing is the images' own"
    with written_whole(path) as temporary, open(temporary, "wb") as stream:
        np.savez_compressed(
            stream,
            image=image.numpy(),
            logits=torch.stack(logits).numpy(),
            truth=predictor.regions.masks(labels[0]),
            box=box,
            spacing=np.array(properties["spacing"], np.float64),
            regions=np.array(predictor.regions.short_names),
            models=np.array(models),
        )


def read_coarse(out: Path, case: str) -> Patient:
    """What `write_coarse` wrote."""
    stored = np.load(_file(out, case))
    z, y, x = (slice(int(first), int(last)) for first, last in stored["box"])
    d, h, w = (float(side) for side in stored["spacing"])
    return Patient(
        case=case,
        image=torch.from_numpy(stored["image"]),
        logits=torch.from_numpy(stored["logits"]),
        truth=stored["truth"],
        box=(z, y, x),
        spacing_mm=(d, h, w),
        regions=tuple(str(name) for name in stored["regions"]),
    )


@functools.lru_cache(maxsize=1)
def stage_1(out: Path, folds: tuple[int, ...]) -> CoMNeTPredictor:
    """Stage 1's predictor: mirrored, as prediction is."""
    return CoMNeTPredictor(model_folder(out, STAGE_1), folds, options=Options(tile_step_size=TILE_STEP), device="cpu")


@functools.lru_cache(maxsize=1)
def _models(out: Path, folds: tuple[int, ...]) -> str:
    """What tells a file of these checkpoints from one of others."""
    return " ".join(sha256(path) for path in stage_1(out, folds).model.checkpoints)


def _file(out: Path, case: str) -> Path:
    return out / "coarse" / f"{case}.npz"
