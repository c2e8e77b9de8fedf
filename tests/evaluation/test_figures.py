"""Pictures are written whole, in the size asked for, and show each label in its colour."""

from pathlib import Path

import matplotlib.colors
import matplotlib.image
import numpy as np
import pytest

from nnunetv2_comnet.errors import ConfigurationError
from nnunetv2_comnet.evaluation.figures import COLOURS, FigureCase, truth_against_prediction
from nnunetv2_comnet.phantom.patient import generate


@pytest.fixture(scope="module")
def case() -> FigureCase:
    patient = generate((0, 1), 6.0)
    return FigureCase("BT0001", patient.images, patient.mask, patient.automatic_mask, (6.0, 6.0, 6.0))


def _near(picture: np.ndarray, colour: str) -> int:
    return int((np.abs(picture[..., :3] - matplotlib.colors.to_rgb(colour)).max(axis=-1) < 0.02).sum())


@pytest.mark.parametrize("count", [1, 4])
def test_truth_against_prediction(case: FigureCase, count: int, tmp_path: Path) -> None:
    truth_against_prediction([case] * count, tmp_path / "figure.png", width_px=1200)
    picture = matplotlib.image.imread(tmp_path / "figure.png")
    assert picture.shape[1] == 1200
    assert [path.name for path in tmp_path.iterdir()] == ["figure.png"]
    for colour, _ in COLOURS.values():
        assert _near(picture, colour) > 100


def test_same_input_same_bytes(case: FigureCase, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        truth_against_prediction([case], tmp_path / name, width_px=500)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_patient_without_tumour_can_be_drawn(case: FigureCase, tmp_path: Path) -> None:
    nothing = np.zeros_like(case.truth)
    healthy = FigureCase("healthy", case.images, nothing, nothing, case.spacing_mm_zyx)
    truth_against_prediction([healthy], tmp_path / "figure.png", width_px=400)
    assert (tmp_path / "figure.png").exists()


def test_mistakes_name_the_thing(case: FigureCase, tmp_path: Path) -> None:
    out = tmp_path / "figure.png"
    with pytest.raises(ConfigurationError):
        truth_against_prediction([case] * 5, out)
    with pytest.raises(ConfigurationError, match=r"T9.*T1n"):
        truth_against_prediction([case], out, channel="T9")
    assert not out.exists()
