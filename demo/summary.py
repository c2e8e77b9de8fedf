"""Prints Dice per region of the demo's held-out patients and, asked to, draws truth against prediction."""

import sys
from pathlib import Path

import nibabel
import numpy as np

from nnunetv2_comnet.evaluation.dice import dice_table
from nnunetv2_comnet.evaluation.figures import FigureCase, truth_against_prediction
from nnunetv2_comnet.label_schemes import BRATS_124

CHANNELS = ("T1n", "T1c", "T2w", "FLAIR")


def read(path: Path) -> np.ndarray:
    """Voxels (z, y, x), rows from front to back, seen from above."""
    right_anterior_superior = np.asarray(nibabel.as_closest_canonical(nibabel.load(path)).dataobj)
    return right_anterior_superior[:, ::-1].transpose(2, 1, 0)


def main() -> None:
    """summary.py DATASET PREDICTIONS [PICTURE]"""
    dataset, predictions, *picture = (Path(word) for word in sys.argv[1:4])
    table = dice_table(dataset / "labelsTr", predictions, BRATS_124.regions)
    print(table.as_text())
    if not picture:
        return
    cases = [
        FigureCase(
            name,
            {channel: read(dataset / "imagesTr" / f"{name}_{i:04d}.nii.gz") for i, channel in enumerate(CHANNELS)},
            read(dataset / "labelsTr" / f"{name}.nii.gz"),
            read(predictions / f"{name}.nii.gz"),
        )
        for name in table.cases[:4]
    ]
    truth_against_prediction(cases, picture[0])
    print(f"picture: {picture[0]}")


if __name__ == "__main__":
    main()
