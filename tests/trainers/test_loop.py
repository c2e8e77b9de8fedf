"""The learning rate of an epoch and the Dice of validation patches, worked by hand."""

import math

import numpy as np
import pytest
import torch

from nnunetv2_comnet.settings import make_settings
from nnunetv2_comnet.trainers.loop import RegionCounts, best_epoch, learning_rate, mean_dice, region_counts


def test_counts_and_dice_of_one_row_of_voxels() -> None:
    #                       predicted:  1  1  0  0 | nothing
    logits = torch.tensor([[[[[4.0, 0.1, -0.1, -4.0]]], [[[-1.0, -1.0, -1.0, -1.0]]]]])
    truth = torch.tensor([[[[[1, 0, 1, 0]]], [[[0, 0, 0, 0]]]]])
    counts = region_counts(logits, truth, has_ignore_channel=False)
    assert counts.true_positive.tolist() == [1, 0]
    assert counts.false_positive.tolist() == [1, 0]
    assert counts.false_negative.tolist() == [1, 0]
    dice = mean_dice([counts])
    assert dice[0] == pytest.approx(0.5)
    assert np.isnan(dice[1])  # neither there nor predicted: it says nothing


def test_ignored_voxels_count_nowhere() -> None:
    logits = torch.tensor([[[[[4.0, 4.0, -4.0, -4.0]]]]])
    truth = torch.tensor([[[[[1, 0, 1, 0]]], [[[0, 1, 1, 0]]]]])
    counts = region_counts(logits, truth, has_ignore_channel=True)
    assert (counts.true_positive[0], counts.false_positive[0], counts.false_negative[0]) == (1, 0, 0)


def test_the_mean_is_over_cases_not_over_voxels() -> None:
    def case(tp: int, fp: int, fn: int) -> RegionCounts:
        return RegionCounts(np.array([tp]), np.array([fp]), np.array([fn]))

    assert mean_dice([case(1000, 0, 0), case(0, 1, 0), case(0, 0, 0)])[0] == pytest.approx(0.5)


def test_the_best_epoch_is_the_first_of_equals_and_never_one_without_score() -> None:
    assert best_epoch([float("nan"), 0.3, 0.5, 0.5, 0.4]) == 2
    assert best_epoch([float("nan")]) == 0


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
