"""The patient, plans and untrained models that the benchmarks of prediction and training run on."""

import contextlib
import io
import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

from harness import comnet

SOFTNESS_VOXELS = 1.5  # of the made coarse map: its logits are the distance to the boundary over this
DATASET, LAYOUT, NAME = 601, "brats2021", "Dataset601_BraTS2021"
RESENC_PLANS = {"nnU-Net ResEnc-M": "nnUNetResEncUNetMPlans", "nnU-Net ResEnc-L": "nnUNetResEncUNetLPlans"}
CHANNELS = ("t1", "t1ce", "t2", "flair")


def set_variables(root: Path) -> None:
    """nnU-Net's folders below `root`."""
    for name in ("raw", "preprocessed", "results"):
        (root / name).mkdir(exist_ok=True)
        os.environ[f"nnUNet_{name}"] = str(root / name)


def prepare(root: Path, case: Path | None, crop: list[int] | None, patch: list[int] | None) -> list[Path]:
    """Converts and plans the case, and saves an untrained model as fold `all`; returns the case's image files.

    case: None generates a patient. crop, patch: voxels along S-I, A-P, L-R; None leaves images and plans as they are.
    """
    set_variables(root)
    case = case.resolve() if case else generated(root / "generated")
    copy_case(case, root / "source" / case.name, crop)
    comnet("convert", LAYOUT, root / "source", "-d", DATASET)
    comnet("plan", "-d", DATASET, *(["--patch-size", *patch] if patch else []))
    with contextlib.redirect_stdout(io.StringIO()):
        plan_resenc(root, patch)
        save_model(root)
    return [root / "raw" / NAME / "imagesTr" / f"{case.name}_{channel:04d}.nii.gz" for channel in range(len(CHANNELS))]


def generated(folder: Path) -> Path:
    from nnunetv2_comnet.phantom.write import PhantomSet, write_patients

    write_patients(PhantomSet(folder, LAYOUT, 1), 1)
    return next(folder.glob("*/BraTS2021_*"))


def copy_case(case: Path, target: Path, crop: list[int] | None) -> None:
    """The case's files, cut to `crop` voxels (S-I, A-P, L-R) round the middle of the tumour."""
    import nibabel
    import numpy as np

    target.mkdir(parents=True)
    middle = None
    if crop:
        mask = np.asarray(nibabel.load(case / f"{case.name}_seg.nii.gz").dataobj) > 0
        middle = [(int(where.min()) + int(where.max())) // 2 for where in np.nonzero(mask)]
    for path in (case / f"{case.name}_{name}.nii.gz" for name in (*CHANNELS, "seg")):
        if not middle:
            shutil.copy(path, target)
            continue
        image = nibabel.load(path)
        box = []
        for centre, side, whole in zip(middle, reversed(crop), image.shape, strict=True):
            first = max(0, min(centre - side // 2, whole - side))
            box.append(slice(first, min(first + side, whole)))
        nibabel.save(image.slicer[tuple(box)], target / path.name)


def plan_resenc(root: Path, patch: list[int] | None) -> None:
    """nnU-Net's own ResEnc plans; another patch, rounded up to what their networks halve, where one is wanted."""
    from nnunetv2.experiment_planning.experiment_planners.residual_unets import (
        residual_encoder_unet_planners as planners,
    )

    for name in RESENC_PLANS.values():
        planner = getattr(planners, name.removesuffix("Plans").replace("ResEncUNet", "PlannerResEnc"))
        planner(DATASET).plan_experiment()
        path = root / "preprocessed" / NAME / f"{name}.json"
        plans = json.loads(path.read_text())
        configuration = plans["configurations"]["3d_fullres"]
        if patch:
            strides = configuration["architecture"]["arch_kwargs"]["strides"]
            multiples = [math.prod(of_axis) for of_axis in zip(*strides, strict=True)]
            configuration["patch_size"] = [-(-side // n) * n for side, n in zip(patch, multiples, strict=True)]
            path.write_text(json.dumps(plans))


def save_model(root: Path) -> None:
    """An untrained refined model of the plans, as fold `all`."""
    import torch

    from nnunetv2_comnet.trainers.corrdiff import nnUNetTrainerCoMNeTCorrDiff

    data = root / "preprocessed" / NAME / "nnUNetCoMNeTPlans_3d_fullres"
    data.mkdir()  # not preprocessed: nothing is trained, but the trainer looks which kind of files there are
    (data / "none.b2nd").touch()
    trainer = untrained(nnUNetTrainerCoMNeTCorrDiff, root, torch.device("cpu"))
    trainer.initialize()
    trainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size()  # sets the axes that prediction mirrors
    model = Path(trainer.output_folder_base)
    trainer.save_checkpoint(str(model / "fold_all" / "checkpoint_final.pth"))
    (model / "plans.json").write_text(json.dumps(trainer.plans_manager.plans))
    (model / "dataset.json").write_text(json.dumps(trainer.dataset_json))


def untrained(trainer: Any, root: Path, device: Any) -> Any:
    """An object of a trainer's class for our plans, fold `all`."""
    folder = root / "preprocessed" / NAME
    plans, description = (
        json.loads((folder / f"{name}.json").read_text()) for name in ("nnUNetCoMNeTPlans", "dataset")
    )
    return trainer({**plans, "continue_training": False}, "3d_fullres", "all", description, device)


def made_coarse_map(predictor: Any, root: Path) -> Any:
    """Logits (R, D, H, W) like a trained network's, half, from the case's truth."""
    import nibabel
    import numpy as np
    import torch
    from scipy.ndimage import distance_transform_edt

    raw = root / "raw" / NAME

    def canonical(path: Path) -> Any:
        return np.asarray(nibabel.as_closest_canonical(nibabel.load(path)).dataobj).transpose(2, 1, 0)

    labels = canonical(next((raw / "labelsTr").glob("*.nii.gz")))
    brain = np.any([canonical(path) != 0 for path in (raw / "imagesTr").glob("*.nii.gz")], axis=0)
    box = tuple(slice(int(where.min()), int(where.max()) + 1) for where in np.nonzero(brain))
    maps = []
    for mask in predictor.regions.masks(labels[box]):
        maps.append((distance_transform_edt(mask) - distance_transform_edt(~mask)) / SOFTNESS_VOXELS)
    return torch.from_numpy(np.stack(maps)).half()
