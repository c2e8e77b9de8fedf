"""The learning rate, worked by hand."""

import math

import pytest

from nnunetv2_comnet.settings import make_settings
from nnunetv2_comnet.trainers.schedule import learning_rate


@pytest.mark.parametrize(
    ("epoch", "expected"),
    [
        (0, 0.2e-4),
        (1, 0.4e-4),
        (4, 1e-4),
        (5, 1e-4),  # cos 0
        (5 + 145 / 2, 0.5e-4),  # half way between epochs 5 and 150
        (149, 1e-4 * 0.5 * (1 + math.cos(math.pi * 144 / 145))),
        (150, 0.0),
        (400, 0.0),
    ],
)
def test_warm_up_then_cosine(epoch: float, expected: float) -> None:
    assert learning_rate(epoch, make_settings("paper")) == pytest.approx(expected, abs=1e-12)


def test_without_warm_up_the_first_epoch_has_the_peak() -> None:
    assert learning_rate(0, make_settings("paper", warmup_epochs=0)) == 1e-4
