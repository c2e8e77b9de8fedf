"""The sliding window against nnU-Net's own, against the plain formula, and with the background left out."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.inference.sliding_window_prediction import compute_gaussian

from nnunetv2_comnet.errors import DataError
from nnunetv2_comnet.inference.sliding_window import BACKGROUND_TOLERANCE, OUTSIDE_LOGIT, MirroredNetwork, SlidingWindow

PATCH = (8, 16, 8)
SIDES = (13, 34, 19)
AXES = (0, 1, 2)


def network() -> torch.nn.Module:
    """Four channels to three regions; answers depend on the place in the tile, by the zeros of the padding."""
    torch.manual_seed(0)
    layers = (torch.nn.Conv3d(4, 6, 3, padding=1), torch.nn.GELU(), torch.nn.Conv3d(6, 3, 3, padding=1))
    return torch.nn.Sequential(*layers).eval()


def image(*sides: int) -> torch.Tensor:
    return torch.randn((4, *sides), generator=torch.Generator().manual_seed(1))


def in_a_ball(sides: tuple[int, int, int], centre: tuple[float, ...], radius: float) -> torch.Tensor:
    grid = torch.stack(torch.meshgrid(*[torch.arange(side) for side in sides], indexing="ij"), -1)
    return (grid - torch.tensor(centre)).norm(dim=-1) < radius


def stock(model: torch.nn.Module, data: torch.Tensor, axes: tuple[int, ...], step: float) -> torch.Tensor:
    """nnU-Net's own method on a predictor that holds what it looks at."""
    predictor: Any = nnUNetPredictor(tile_step_size=step, device=torch.device("cpu"), allow_tqdm=False)
    predictor.network, predictor.allowed_mirroring_axes = model, axes or None
    predictor.configuration_manager = SimpleNamespace(patch_size=list(PATCH))
    predictor.label_manager = SimpleNamespace(num_segmentation_heads=3)
    logits: torch.Tensor = predictor.predict_sliding_window_return_logits(data)
    return logits


@torch.inference_mode()
def ours(model: Any, data: torch.Tensor, axes: tuple[int, ...] = (), **options: Any) -> tuple[torch.Tensor, int]:
    window = SlidingWindow(data, patch_size=PATCH, **options)
    assert torch.equal(window.image, data)
    return window.logits(MirroredNetwork(model, axes)), window.skipped


@pytest.mark.parametrize("sides", [SIDES, (8, 16, 8), (5, 20, 7)], ids=["many tiles", "one tile", "padded"])
@pytest.mark.parametrize(("axes", "step"), [((), 0.5), (AXES, 0.5), ((1,), 0.7)])
def test_with_sums_in_half_it_is_nnunets_to_the_bit(sides: tuple[int, ...], axes: tuple[int, ...], step: float) -> None:
    model, data = network(), image(*sides)
    logits, skipped = ours(model, data, axes, tile_step=step, accumulate=torch.half)
    assert (logits.shape, logits.dtype, skipped) == ((3, *sides), torch.half, 0)
    assert torch.equal(logits, stock(model, data, axes, step))


@torch.inference_mode()
def test_sums_in_float32_are_the_plain_weighted_mean_rounded_once() -> None:
    model, data = network(), image(*SIDES)
    weight = compute_gaussian(PATCH, 1 / 8, 10, device=torch.device("cpu")).double()
    total, weights = torch.zeros((3, *SIDES), dtype=torch.double), torch.zeros(SIDES, dtype=torch.double)
    # Steps of half a tile at most, evenly spaced: 5 voxels on the first axis hold 3 tiles' starts, and so on.
    for z in (0, 2, 5):
        for y in (0, 6, 12, 18):
            for x in (0, 4, 7, 11):
                box = (slice(z, z + 8), slice(y, y + 16), slice(x, x + 8))
                answer = sum(
                    model(data[(slice(None), *box)].flip(flip)[None])[0].flip(flip)
                    for flip in ((), (1,), (2,), (3,), (1, 2), (1, 3), (2, 3), (1, 2, 3))
                )
                total[(slice(None), *box)] += answer.double() / 8 * weight
                weights[box] += weight
    expected = total / weights
    logits, _ = ours(model, data, AXES)
    assert torch.allclose(logits.double(), expected, rtol=2**-11, atol=1e-5)
    # nnU-Net rounds after every tile: where weights are small, that is most of the answer.
    theirs = stock(model, data, AXES, 0.5).double()
    assert (logits.double() - expected).abs().max() < 0.5 * (theirs - expected).abs().max()
    heavy = weights > 1
    assert torch.allclose(logits.double()[:, heavy], theirs[:, heavy], rtol=5e-3, atol=5e-3)


def test_a_batch_of_mirror_images_is_the_images_one_by_one() -> None:
    model, tile = network(), image(*PATCH)[None]
    with torch.inference_mode():
        single = MirroredNetwork(model, AXES, at_once=1)(tile)
        for at_once in (3, 8):
            assert torch.allclose(MirroredNetwork(model, AXES, at_once=at_once)(tile), single, atol=1e-6)
        assert torch.equal(MirroredNetwork(model)(tile), model(tile))


@torch.inference_mode()
def test_a_network_that_uses_its_memory_again_is_not_mistaken() -> None:
    model, tile = network(), image(*PATCH)[None]
    kept = torch.empty(1, 3, *PATCH)

    def reusing(batch: torch.Tensor) -> torch.Tensor:
        return kept.copy_(model(batch))

    assert torch.equal(MirroredNetwork(reusing, AXES)(tile), MirroredNetwork(model, AXES)(tile))  # type: ignore[arg-type]


@torch.inference_mode()
def test_fewer_mirror_images_at_once_where_memory_runs_out() -> None:
    model, tile, sizes = network(), image(*PATCH)[None], []

    def small(batch: torch.Tensor) -> torch.Tensor:
        sizes.append(len(batch))
        if len(batch) > 2:
            raise torch.cuda.OutOfMemoryError
        answer: torch.Tensor = model(batch)
        return answer

    mirrored = MirroredNetwork(small, AXES, at_once=8)  # type: ignore[arg-type]
    expected = MirroredNetwork(model, AXES, at_once=1)(tile)
    assert torch.allclose(mirrored(tile), expected, atol=1e-6)
    assert sizes == [8, 4, 2, 2, 2, 2]
    mirrored(tile)
    assert sizes[6:] == [2, 2, 2, 2]  # remembered

    def none(batch: torch.Tensor) -> torch.Tensor:
        raise torch.cuda.OutOfMemoryError

    with pytest.raises(torch.cuda.OutOfMemoryError):
        MirroredNetwork(none, AXES, at_once=8)(tile)  # type: ignore[arg-type]


@pytest.mark.parametrize("ringing", [0.0, 0.9 * BACKGROUND_TOLERANCE])
def test_no_tile_outside_the_brain_and_the_brain_to_the_bit(ringing: float) -> None:
    """A brain of radius 9 at one end of 50 voxels: what lies beyond is not computed."""
    sides = (20, 50, 20)
    brain = in_a_ball(sides, (10.0, 10.0, 10.0), 9.0)
    data = torch.where(brain, image(*sides), ringing * torch.sign(image(*sides)))
    model, seen = network(), []

    def counting(tile: torch.Tensor) -> torch.Tensor:
        seen.append(tile)
        answer: torch.Tensor = model(tile)
        return answer

    logits, skipped = ours(counting, data, skip_background=True)
    everywhere, none = ours(model, data)
    assert none == 0
    assert skipped > 0
    # Starts of 20 voxels in tiles of 8: 0, 4, 8, 12; of 50 in tiles of 16: multiples of 6.8, rounded.
    tiles = [(z, y, x) for z in (0, 4, 8, 12) for y in (0, 7, 14, 20, 27, 34) for x in (0, 4, 8, 12)]
    boxes = [(slice(z, z + 8), slice(y, y + 16), slice(x, x + 8)) for z, y, x in tiles]
    computed = [box for box in boxes if bool(brain[box].any())]
    assert (len(seen), skipped) == (len(computed), len(boxes) - len(computed))
    assert torch.equal(logits[:, brain], everywhere[:, brain])
    covered, left_out = torch.zeros(sides, dtype=torch.bool), torch.zeros(sides, dtype=torch.bool)
    for box in boxes:
        (covered if bool(brain[box].any()) else left_out)[box] = True
    assert torch.equal(logits[:, ~left_out], everywhere[:, ~left_out])
    assert bool((logits[:, ~covered] == OUTSIDE_LOGIT).all())
    assert not bool((logits[:, covered] == OUTSIDE_LOGIT).any())
    assert torch.sigmoid(torch.tensor(OUTSIDE_LOGIT)) < 1e-8


def test_without_background_or_brain_every_tile_is_computed() -> None:
    model = network()
    constant = torch.full((4, 20, 50, 20), 0.5)  # another normalisation's background: who knows?
    assert ours(model, constant, skip_background=True)[1] == 0
    assert ours(model, torch.zeros_like(constant), skip_background=True)[1] == 0
    one_channel = torch.zeros_like(constant)
    one_channel[2, :, 30:, :] = -1.0
    logits, skipped = ours(model, one_channel, skip_background=True)
    assert skipped > 0
    assert torch.equal(logits[:, :, 30:], ours(model, one_channel)[0][:, :, 30:])


def test_numbers_that_are_not_finite_are_refused() -> None:
    def broken(tile: torch.Tensor) -> torch.Tensor:
        return torch.full((1, 3, *PATCH), float("nan"))

    with pytest.raises(DataError):
        ours(broken, image(*SIDES))


def test_the_image_is_not_copied() -> None:
    data = image(*SIDES)
    window = SlidingWindow(data, patch_size=PATCH, skip_background=True)
    assert window.image.data_ptr() == data.data_ptr()
