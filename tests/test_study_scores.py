"""The study's scores of a patient are those of `comnet evaluate` for the same masks."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK
import torch

from nnunetv2_comnet.evaluation.evaluate import evaluate_folder
from nnunetv2_comnet.label_schemes import BRATS_123
from nnunetv2_comnet.regions import region_mask
from study.coarse_maps import Patient
from study.scores import score
from study.settings import METRICS, PROTOCOL, REGIONS

SHAPE, BOX, SPACING_MM = (20, 24, 22), (slice(2, 18), slice(3, 24), slice(0, 20)), (3.0, 1.0, 0.5)


def labels(seed: int, largest: int) -> np.ndarray:
    """Nested blocks within the box, no two alike, of labels up to `largest`."""
    starts = np.random.default_rng(seed).integers(3, 6, (3, 3))
    found = np.zeros(SHAPE, np.uint8)
    for label, margin, start in zip((2, 1, 3), (0, 2, 4), starts, strict=True):
        if label <= largest:
            found[tuple(slice(s + margin, s + 11 - margin) for s in start)] = label
    return found


@pytest.mark.parametrize(("truth", "predicted"), [((0, 3), (1, 3)), ((2, 3), (3, 2)), ((4, 2), (5, 2))])
def test_the_scores_are_those_of_evaluate(tmp_path: Path, truth: tuple[int, int], predicted: tuple[int, int]) -> None:
    maps = {"truth": labels(*truth), "predicted": labels(*predicted)}
    for name, found in maps.items():
        image = SimpleITK.GetImageFromArray(found)
        image.SetSpacing(SPACING_MM[::-1])
        (tmp_path / name).mkdir()
        SimpleITK.WriteImage(image, tmp_path / name / "A.nii.gz")
    evaluation = evaluate_folder(tmp_path / "truth", tmp_path / "predicted", PROTOCOL, only=METRICS)
    masks = {
        name: np.stack([region_mask(found, members) for members in BRATS_123.regions.values()])
        for name, found in maps.items()
    }
    nothing = torch.zeros(0)
    patient = Patient("A", nothing, nothing, masks["truth"], BOX, SPACING_MM, ("WT", "TC", "ET"))
    scores = score(patient, masks["predicted"][(slice(None), *BOX)])
    assert scores == evaluation.cases[0].regions
    assert tuple(scores) == evaluation.regions == REGIONS
