"""A cross-validation made by hand: two folds of two cases, masks of counted voxels, results folders as nnU-Net's.

Every truth has 10 voxels of enhancing tumour, 10 of necrosis, 20 of oedema; a prediction keeps (e, n, d) of them, so
ET's Dice is 2e / (10 + e), TC's 2(e + n) / (20 + e + n), WT's 2(e + n + d) / (40 + e + n + d).
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK

DATASET = "Dataset501_ByHand"
PLANS = "nnUNetCoMNeTPlans"
SPLITS = [{"train": ["C", "D"], "val": ["A", "B"]}, {"train": ["A", "B"], "val": ["C", "D"]}]
FULL, HALF, NO_ET = (10, 10, 20), (5, 5, 10), (0, 10, 20)
SEGRESNET, MEDNEXT, CORRDIFF = "nnUNetTrainerSegResNet", "nnUNetTrainerCoMNeT", "nnUNetTrainerCoMNeTCorrDiff"
KEPT = {
    SEGRESNET: {"A": FULL, "B": NO_ET, "C": HALF, "D": HALF},
    MEDNEXT: {"A": FULL, "B": FULL, "C": FULL, "D": FULL},
    CORRDIFF: {"A": FULL, "B": HALF, "C": FULL, "D": FULL},
}
DESCRIPTION = {
    "channel_names": {"0": "T1n", "1": "T1c", "2": "T2w", "3": "FLAIR"},
    "labels": {"background": 0, "whole tumor": [1, 2, 3], "tumor core": [1, 3], "enhancing tumor": [3]},
    "regions_class_order": [2, 1, 3],
    "numTraining": 4,
    "file_ending": ".nii.gz",
    "name": "ByHand",
}
SPACING = (1.0, 1.5, 2.0)  # x, y, z, mm


def mask(kept: tuple[int, int, int] = FULL) -> np.ndarray:
    """(Z, Y, X) with so many voxels of each label, kept from the left."""
    labels = np.zeros((6, 8, 24), np.uint8)
    for row, (label, count) in enumerate(zip((3, 1, 2), kept, strict=True)):
        labels[2, 2 + row, 2 : 2 + count] = label
    return labels


def write(path: Path, voxels: np.ndarray, direction: str = "LPS") -> None:
    """Writes an image whose axes run to `direction`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = SimpleITK.GetImageFromArray(voxels)
    image.SetSpacing(SPACING)
    signs = [1 if axis == wanted else -1 for axis, wanted in zip(direction, "LPS", strict=True)]
    image.SetDirection(np.diag(signs).astype(float).ravel().tolist())
    SimpleITK.WriteImage(image, str(path))


class Setup:
    """nnU-Net's three folders under `root`."""

    def __init__(self, root: Path, direction: str = "LPS", **description: Any) -> None:
        self.root, self.direction = root, direction
        self.raw, self.preprocessed, self.results = (
            root / name / DATASET for name in ("raw", "preprocessed", "results")
        )
        for folder in (self.raw, self.preprocessed, self.results):
            folder.mkdir(parents=True)
        (self.preprocessed / "dataset.json").write_text(json.dumps({**DESCRIPTION, **description}))
        self.write_splits(SPLITS)
        brain = np.full((6, 8, 24), 100, np.float32)
        for case in "ABCD":
            write(self.preprocessed / "gt_segmentations" / f"{case}.nii.gz", mask(), direction)
            write(self.raw / "imagesTr" / f"{case}_0003.nii.gz", brain, direction)

    def write_splits(self, splits: Any) -> None:
        (self.preprocessed / "splits_final.json").write_text(json.dumps(splits))

    def folder(self, trainer: str, plans: str = PLANS) -> Path:
        return self.results / f"{trainer}__{plans}__3d_fullres"

    def add(self, trainer: str, plans: str = PLANS, **kept: tuple[int, int, int]) -> Path:
        """A trained model's results; `kept` changes what is predicted of a case."""
        folder = self.folder(trainer, plans)
        for fold, split in enumerate(SPLITS):
            for case in split["val"]:
                predicted = mask({**KEPT.get(trainer, KEPT[MEDNEXT]), **kept}[case])
                write(folder / f"fold_{fold}" / "validation" / f"{case}.nii.gz", predicted, self.direction)
            if trainer.startswith(CORRDIFF):
                record = {"served_by": {"A": 0, "B": 0, "C": 1, "D": 1}, "in_fold": [], "warning": ""}
                (folder / f"fold_{fold}" / "out_of_fold.json").write_text(json.dumps(record))
        (folder / "plans.json").write_text(json.dumps({"image_reader_writer": "SimpleITKIOWithReorient"}))
        return folder

    @property
    def environment(self) -> dict[str, str]:
        return {f"nnUNet_{name}": str(self.root / name) for name in ("raw", "preprocessed", "results")}
