"""Whole volumes: tiles cover what may change, skipping changes nothing, noise belongs to positions."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nnunetv2_comnet.refinement import Sampling, refine_volume
from nnunetv2_comnet.refinement.volume import noise_volume, place_tiles
from tests.refinement.conftest import awake, small_refiner

PATCH = (16, 16, 16)


def two_lesions() -> tuple[torch.Tensor, torch.Tensor]:
    """Image and logits of a volume whose lesions lie at both ends of its longest side, sure of the rest."""
    sides = (18, 50, 21)
    generator = torch.Generator().manual_seed(4)
    image = torch.randn((4, *sides), generator=generator)
    logits = torch.full((3, *sides), -14.0)
    for start in (2, 44):
        logits[:, 6:10, start : start + 4, 8:12] = 2 * torch.randn((3, 4, 4, 4), generator=generator)
    return image, logits


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_skipping_sure_tiles_changes_nothing(eta: float) -> None:
    image, logits = two_lesions()
    refiner = awake(small_refiner(patch_size=PATCH))
    options = {"strengths": (1.0, 1.0, 1.0), "sampling": Sampling(num_inference_steps=2, eta=eta)}
    skipped = refine_volume(refiner, image, logits, skip=True, **options)
    all_tiles = refine_volume(refiner, image, logits, skip=False, **options)
    assert 0 < skipped.tiles_run < skipped.tiles == all_tiles.tiles_run
    assert torch.equal(skipped.logits, all_tiles.logits)
    assert not torch.equal(skipped.logits, logits)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_tiles_in_a_batch_are_tiles_one_by_one(eta: float) -> None:
    image, logits = two_lesions()
    refiner = awake(small_refiner(patch_size=PATCH, snap=False))  # nearest codes would turn a last bit into a jump
    sampling = Sampling(num_inference_steps=2, eta=eta, samples=2)
    single, batch = (
        refine_volume(refiner, image, logits, strengths=(1, 1, 1), sampling=sampling, skip=False, at_once=at_once)
        for at_once in (1, 3)
    )
    assert single.tiles_run == batch.tiles_run > 3
    assert float(single.correction.abs().max()) > 0.1
    assert torch.allclose(batch.correction, single.correction, atol=1e-4)
    assert torch.allclose(batch.spread, single.spread, atol=1e-4)


def test_the_condition_is_encoded_once_for_all_samples_and_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    image, logits = two_lesions()
    refiner = awake(small_refiner(patch_size=PATCH))
    encode, tiles = refiner.encode_condition, []

    def counting(image: torch.Tensor, logits: torch.Tensor) -> object:
        tiles.append(len(image))
        return encode(image, logits)

    monkeypatch.setattr(refiner, "encode_condition", counting)
    refined = refine_volume(
        refiner,
        image,
        logits,
        strengths=(1, 1, 1),
        sampling=Sampling(num_inference_steps=3, samples=4),
        skip=False,
        at_once=2,
    )
    assert sum(tiles) == refined.tiles_run
    assert set(tiles) <= {1, 2}


def test_a_regions_correction_does_not_depend_on_the_others_strengths() -> None:
    image, logits = two_lesions()
    logits[1:, :, :30], logits[0, :, 30:] = (
        -14.0,
        -14.0,
    )  # the first region is unsure at one end, the others at the other
    refiner, sampling = awake(small_refiner(patch_size=PATCH)), Sampling(num_inference_steps=2)
    whole = refine_volume(refiner, image, logits, strengths=(1, 1, 1), sampling=sampling)
    part = refine_volume(refiner, image, logits, strengths=(0, 0.5, 1), sampling=sampling)
    assert all(bool((whole.correction[region] != 0).any()) for region in range(3))
    assert 0 < part.tiles_run < whole.tiles_run
    assert torch.equal(part.correction, torch.tensor([0, 0.5, 1])[:, None, None, None] * whole.correction)
    assert torch.equal(part.logits[0], logits[0])


def test_a_sure_volume_is_not_touched_and_costs_nothing() -> None:
    image, _ = two_lesions()
    logits = torch.full((3, 18, 50, 21), -14.0)
    refined = refine_volume(
        awake(small_refiner(patch_size=PATCH)), image, logits, strengths=(1, 1, 1), sampling=Sampling(25)
    )
    assert (refined.tiles_run, refined.tiles) == (0, 0)
    assert torch.equal(refined.logits, logits)


def test_far_ends_and_odd_sides_are_refined_too() -> None:
    generator = torch.Generator().manual_seed(0)
    image, logits = torch.randn((4, 17, 19, 13), generator=generator), torch.randn((3, 17, 19, 13), generator=generator)
    refined = refine_volume(
        awake(small_refiner(patch_size=PATCH)),
        image,
        logits,
        strengths=(1, 1, 1),
        sampling=Sampling(num_inference_steps=2),
    )
    assert (refined.correction != 0).float().mean() > 0.99
    assert torch.isfinite(refined.logits).all()


@given(
    sides=st.tuples(*[st.integers(5, 70)] * 3),
    corners=st.tuples(*[st.tuples(st.integers(0, 999), st.integers(0, 999))] * 3),
    step=st.sampled_from([0.3, 0.5, 1.0]),
    multiple=st.sampled_from([2, 4]),
)
def test_tiles_cover_every_active_voxel_on_one_grid(
    sides: tuple[int, int, int], corners: tuple, step: float, multiple: int
) -> None:
    active = torch.zeros(sides, dtype=torch.bool)
    for end in (0, 1):  # two active voxels span the box
        active[tuple(pair[end] * side // 1000 for pair, side in zip(corners, sides, strict=True))] = True
    covered = torch.zeros(sides, dtype=torch.bool)
    starts = [set(), set(), set()]
    for tile in place_tiles(active, (16, 32, 16), step, multiple):
        assert all(start % multiple == 0 and start >= 0 for start in tile.start)
        assert all(part.stop > part.start for part in tile.inside)
        covered[tile.inside] = True
        for axis in range(3):
            starts[axis].add(tile.start[axis])
    low, high = active.nonzero().amin(0), active.nonzero().amax(0)
    assert covered[tuple(slice(int(a), int(b) + 1) for a, b in zip(low, high, strict=True))].all()
    for axis, side in enumerate((16, 32, 16)):
        ordered = sorted(starts[axis])
        assert all(b - a <= side * step + multiple for a, b in itertools.pairwise(ordered))


def test_a_small_lesion_takes_one_tile() -> None:
    active = torch.zeros(140, 170, 135, dtype=torch.bool)
    active[30:90, 20:120, 40:100] = True
    tiles = list(place_tiles(active, (112, 160, 128), 0.5, 2))
    assert len(tiles) == 1
    assert tiles[0].inside[0].start <= 30
    assert tiles[0].inside[0].stop >= 90


def test_overlapping_tiles_see_the_same_noise() -> None:
    noise = noise_volume((10, 12, 14), 4, seed=7)
    assert torch.equal(noise, noise_volume((10, 12, 14), 4, seed=7))
    assert not torch.equal(noise, noise_volume((10, 12, 14), 4, seed=8))
    assert not torch.equal(noise, noise_volume((10, 12, 14), 4, seed=7, sample=1))
    assert float(noise.std()) == pytest.approx(1.0, abs=0.05)
    active = torch.zeros(40, 20, 20, dtype=torch.bool)
    active[0, 0, 0] = active[39, 19, 19] = True
    seen: dict[tuple[int, int, int], set[float]] = {}
    grid = noise_volume((20, 10, 10), 1, seed=0)[0]
    for tile in place_tiles(active, PATCH, 0.5, 2):
        box = tile.of_padded(2)
        part = grid[box]
        for place in itertools.product((0, 3), repeat=3):
            if all(p < s for p, s in zip(place, part.shape, strict=True)):
                absolute = tuple(b.start + p for b, p in zip(box, place, strict=True))
                seen.setdefault(absolute, set()).add(float(part[place]))
    assert all(len(values) == 1 for values in seen.values())
