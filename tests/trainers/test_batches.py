"""Batches as a function of seed and number: restarts, workers and ranks give the same sequence."""

from collections import Counter
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.seg_to_regions import ConvertSegmentationToRegionsTransform
from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class
from nnunetv2.utilities.label_handling.label_handling import LabelManager

from nnunetv2_comnet.label_schemes import BRATS_123
from nnunetv2_comnet.settings import make_settings
from nnunetv2_comnet.trainers.augmentation import (
    FLIP_AXES,
    ModalityDropout,
    RegionsOfLabels,
    target_transforms,
    training_transforms,
)
from nnunetv2_comnet.trainers.batches import NumberedLoader, in_order, seeded

PATCH = (32, 32, 32)
REGIONS = [(1, 2, 3), (1, 3), (3,)]
CASES = [f"BLOB{n:03d}" for n in range(6)]


@pytest.fixture
def loader(blobs: Path) -> Any:
    folder = str(blobs / "nnUNetCoMNeTPlans_3d_fullres")
    dataset = infer_dataset_class(folder)(folder, CASES)
    labels = LabelManager(BRATS_123.dataset_json_labels(), [2, 1, 3])

    def make(modality_dropout: float = 0.0, **options: Any) -> NumberedLoader:
        settings = make_settings("demo", modality_dropout=modality_dropout)
        transforms = training_transforms(settings, PATCH, None, REGIONS, None, [True] * 4)
        return NumberedLoader(
            dataset, 1, (40, 40, 40), PATCH, labels, probabilistic_oversampling=True,
            oversample_foreground_percent=0.5, transforms=transforms, seed=7, **options,
        )  # fmt: skip

    return make


def take(batches: Any, count: int) -> list[tuple[str, torch.Tensor]]:
    taken = [next(batches) for _ in range(count)]
    return [(str(batch["keys"][0]), batch["data"].clone()) for batch in taken]


def equal(one: list, other: list) -> bool:
    return all(a[0] == b[0] and torch.equal(a[1], b[1]) for a, b in zip(one, other, strict=True))


def test_every_case_comes_once_per_pass_in_another_order(loader: Any) -> None:
    keys = [key for key, _ in take(loader(), 12)]
    assert sorted(keys[:6]) == sorted(keys[6:]) == CASES
    assert keys[:6] != keys[6:]


def test_a_restart_goes_on_where_it_was(loader: Any) -> None:
    assert equal(take(loader(), 6)[4:], take(loader(first=4), 2))


def test_workers_change_nothing(loader: Any) -> None:
    several = in_order(loader(first=1), workers=2, pin_memory=False)
    try:
        assert equal(take(loader(), 6)[1:], take(several, 5))
    finally:
        several._finish()


def test_two_ranks_share_the_sequence_of_one(loader: Any) -> None:
    alone = take(loader(), 4)
    ranks = [take(loader(rank=rank, world_size=2), 2) for rank in (0, 1)]
    assert equal(alone, [ranks[0][0], ranks[1][0], ranks[0][1], ranks[1][1]])


def test_validation_sees_the_same_patches_every_epoch(loader: Any) -> None:
    batches = take(loader(period=6), 12)
    assert [key for key, _ in batches[:6]] == CASES
    assert equal(batches[:6], batches[6:])


def absent(batch: torch.Tensor) -> tuple[int, ...]:
    """The channels of a batch of one that are 0 everywhere."""
    return tuple(channel for channel, values in enumerate(batch[0]) if not values.any())


def test_missing_channels_are_zero_and_nothing_else_changes(loader: Any) -> None:
    whole, some = take(loader(), 12), take(loader(modality_dropout=1.0), 12)
    for (case, complete), (same_case, patch) in zip(whole, some, strict=True):
        assert case == same_case
        assert absent(complete) == ()
        assert 1 <= len(absent(patch)) <= 3
        kept = [channel for channel in range(4) if channel not in absent(patch)]
        assert torch.equal(patch[:, kept], complete[:, kept])
    assert len({absent(patch) for _, patch in some}) > 3


def test_the_set_of_missing_channels_is_a_function_of_the_patchs_number(loader: Any) -> None:
    dropout = {"modality_dropout": 0.5}
    alone = take(loader(**dropout), 8)
    missing = [absent(patch) for _, patch in alone]
    assert 2 <= sum(map(bool, missing)) <= 6
    assert equal(alone[4:], take(loader(first=4, **dropout), 4))
    several = in_order(loader(first=1, **dropout), workers=2, pin_memory=False)
    try:
        assert equal(alone[1:], take(several, 7))
    finally:
        several._finish()


def test_every_set_of_images_but_none_and_all_is_as_likely() -> None:
    counts: Counter[tuple[int, ...]] = Counter()
    with seeded(3):
        for _ in range(2800):
            counts[absent(ModalityDropout()(image=torch.ones(4, 1, 1, 1))["image"][None])] += 1
    sets = [tuple(chosen) for size in (1, 2, 3) for chosen in combinations(range(4), size)]
    assert sorted(counts) == sorted(sets)
    # 200 of each are expected, with a standard deviation of 13.6.
    assert all(140 < count < 260 for count in counts.values())


def test_the_callers_random_states_are_left_alone() -> None:
    np.random.seed(3)
    torch.manual_seed(3)
    expected = np.random.rand(), torch.rand(1)
    np.random.seed(3)
    torch.manual_seed(3)
    with seeded(1, 2):
        inside = np.random.rand()
    assert (np.random.rand(), torch.rand(1)) == expected
    with seeded(1, 2):
        assert np.random.rand() == inside


def test_patches_are_centred_on_tumour_where_asked(loader: Any) -> None:
    always = loader()
    always.oversample_foreground_percent = 1.0
    targets = [next(always)["target"] for _ in range(6)]
    assert all(target[0, 0].any() for target in targets)


def test_targets_are_the_regions_at_five_scales() -> None:
    scales = [[1 / 2**k] * 3 for k in range(5)]
    labels = torch.randint(-1, 4, (1, 32, 32, 32)).to(torch.int16)
    out = ComposeTransforms(target_transforms(scales, REGIONS, None))(
        image=torch.zeros(4, 32, 32, 32), segmentation=labels
    )
    finest = out["segmentation"][0]
    assert [tuple(t.shape) for t in out["segmentation"]] == [(3, s, s, s) for s in (32, 16, 8, 4, 2)]
    for channel, members in enumerate(REGIONS):
        assert torch.equal(finest[channel] > 0, torch.isin(labels[0], torch.tensor(members)))
    assert all(a.numel() == 8 * b.numel() for a, b in pairwise(out["segmentation"]))


@pytest.mark.parametrize("regions", [REGIONS, [(1, 2, 3), (1, 3), 3, 4]], ids=["regions", "a single label, an ignored"])
def test_regions_are_those_of_the_stock_transform(regions: list[Any]) -> None:
    labels = torch.from_numpy(np.random.default_rng(0).integers(0, 5, (1, 9, 8, 7)).astype(np.int16))
    theirs = ConvertSegmentationToRegionsTransform(regions)(segmentation=labels)["segmentation"]
    ours = RegionsOfLabels(regions)(segmentation=labels)["segmentation"]
    assert ours.dtype == theirs.dtype
    assert torch.equal(ours, theirs)


def test_the_augmentation_keeps_the_outside_of_the_brain_at_zero() -> None:
    settings = make_settings("paper", noise_probability=1.0, gamma_probability=1.0, blur_probability=1.0)
    transforms = training_transforms(settings, PATCH, None, REGIONS, None, [True] * 4)
    image = torch.randn(4, 40, 40, 40)
    labels = torch.zeros(1, 40, 40, 40, dtype=torch.int16)
    labels[:, :20], image[:, :20] = -1, 0
    with seeded(5):
        out = transforms(image=image, segmentation=labels)
    outside = (out["image"] == 0).all(dim=0)
    assert 0.3 < outside.float().mean() < 0.7
    kinds = [type(getattr(t, "transform", t)).__name__ for t in transforms.transforms]
    assert kinds[:7] == ["SpatialTransform", "GaussianNoiseTransform", "GaussianBlurTransform", "GammaTransform"] + [
        "MirrorTransform"
    ] * len(FLIP_AXES)
    # What follows is bookkeeping, no augmentation: the mask, the label -1, the regions.
    assert kinds[7] == "MaskImageTransform"
    assert len(kinds) == 10
