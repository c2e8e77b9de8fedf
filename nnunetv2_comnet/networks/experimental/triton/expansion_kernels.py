"""Triton kernels of group norm, expansion and GELU in one, forward and backward. Not measured on a GPU.

Each program keeps a block of the folded weights and goes through blocks of voxels. Of the expanded size nothing is
written but the output: the backward pass computes it again from the input.
"""
# mypy: ignore-errors
# ruff: noqa: N803
# The reasons: Triton's language has no Python types, and its compile-time constants are written in capitals.

import triton
import triton.language as tl

from nnunetv2_comnet.networks.experimental.triton.tiles import expanded_gradient, gelu, product, store_tile, tile_of


@triton.jit
def moments_kernel(x, partial, voxels, blocks_each, BLOCK: tl.constexpr):
    """Computes partial[:, row, split]: count, mean, squared deviations of a part of a row of x, (rows, voxels).

    Welford's update in every lane, then the lanes together: no cancellation, however far the mean lies from zero.
    """
    row, split = tl.program_id(0).to(tl.int64), tl.program_id(1)
    lanes = tl.arange(0, BLOCK)
    count = tl.zeros((BLOCK,), tl.float32)
    mean = tl.zeros((BLOCK,), tl.float32)
    deviations = tl.zeros((BLOCK,), tl.float32)
    for block in range(split * blocks_each, (split + 1) * blocks_each):
        position = block * BLOCK + lanes
        inside = position < voxels
        value = tl.load(x + row * voxels + position, mask=inside, other=0.0).to(tl.float32)
        count += tl.where(inside, 1.0, 0.0)
        delta = tl.where(inside, value - mean, 0.0)
        mean += delta / tl.maximum(count, 1.0)
        deviations += delta * (value - mean)
    total = tl.sum(count, 0)
    center = tl.sum(count * mean, 0) / tl.maximum(total, 1.0)
    apart = mean - center
    target = partial + row * tl.num_programs(1) + split
    plane = tl.num_programs(0).to(tl.int64) * tl.num_programs(1)
    tl.store(target, total)
    tl.store(target + plane, center)
    tl.store(target + 2 * plane, tl.sum(deviations + count * apart * apart, 0))


@triton.jit
def expand_kernel(x, weight, bias, hidden, squares, channels, expanded, voxels, blocks_each, C: tl.constexpr,
                  BLOCK_E: tl.constexpr, BLOCK_V: tl.constexpr):  # fmt: skip
    """Computes hidden = gelu(weight x + bias); squares[split] = the split's sums of hidden * hidden over its voxels.

    x: (B, channels, voxels); weight: (B, expanded, channels); bias: (B, expanded), float32; hidden: (B, expanded,
    voxels); squares: (splits, B, expanded), float32. C: channels, rounded up to a power of two of at least 16.
    Program (i, j, k): the i-th BLOCK_E rows, the j-th `blocks_each` blocks of voxels, sample k.
    """
    e, c = tl.program_id(0) * BLOCK_E + tl.arange(0, BLOCK_E), tl.arange(0, C)
    sample, split = tl.program_id(2).to(tl.int64), tl.program_id(1)
    rows = tile_of(weight + sample * expanded * channels, e, expanded, c, channels)
    shift = tl.load(bias + sample * expanded + e, mask=e < expanded, other=0.0)
    sums = tl.zeros((BLOCK_E,), tl.float32)
    for block in range(split * blocks_each, min((split + 1) * blocks_each, tl.cdiv(voxels, BLOCK_V))):
        v = block * BLOCK_V + tl.arange(0, BLOCK_V)
        tile = tile_of(x + sample * channels * voxels, c, channels, v, voxels)
        u = product(rows, tile) + shift[:, None]
        h = gelu(u).to(hidden.dtype.element_ty)
        store_tile(hidden + sample * expanded * voxels, h, e, expanded, v, voxels)
        h = tl.where((v < voxels)[None, :], h.to(tl.float32), 0.0)
        sums += tl.sum(h * h, 1)
    target = squares + (split * tl.num_programs(2) + sample) * expanded + e
    tl.store(target, sums, mask=e < expanded)


@triton.jit
def expand_weight_gradient_kernel(x, weight, bias, hidden_gradient, square_gradient, by_weight, by_bias, channels,
                                  expanded, voxels, blocks_each, C: tl.constexpr, BLOCK_E: tl.constexpr,
                                  BLOCK_V: tl.constexpr):  # fmt: skip
    """Computes partial sums over voxels of du x^T and of du, du being the gradient by weight x + bias.

    Programs and inputs as in `expand_kernel`; hidden_gradient: as hidden; square_gradient: (B, expanded), float32;
    by_weight: (splits, B, expanded, channels), by_bias: (splits, B, expanded), float32. Both sums take the same
    rounded du, so that what the mean of x adds to the one can be subtracted by the other.
    """
    e, c = tl.program_id(0) * BLOCK_E + tl.arange(0, BLOCK_E), tl.arange(0, C)
    sample, split = tl.program_id(2).to(tl.int64), tl.program_id(1)
    rows = tile_of(weight + sample * expanded * channels, e, expanded, c, channels)
    shift = tl.load(bias + sample * expanded + e, mask=e < expanded, other=0.0)
    by_square = tl.load(square_gradient + sample * expanded + e, mask=e < expanded, other=0.0)
    weight_sums = tl.zeros((BLOCK_E, C), tl.float32)
    bias_sums = tl.zeros((BLOCK_E,), tl.float32)
    for block in range(split * blocks_each, min((split + 1) * blocks_each, tl.cdiv(voxels, BLOCK_V))):
        v = block * BLOCK_V + tl.arange(0, BLOCK_V)
        tile = tile_of(x + sample * channels * voxels, c, channels, v, voxels)
        by_hidden = tile_of(hidden_gradient + sample * expanded * voxels, e, expanded, v, voxels)
        du = expanded_gradient(tile, rows, shift, by_hidden, by_square)
        du = tl.where((v < voxels)[None, :], du, 0.0).to(tile.dtype)
        weight_sums += product(du, tl.trans(tile))
        bias_sums += tl.sum(du.to(tl.float32), 1)
    part = (split * tl.num_programs(2) + sample) * expanded
    store_tile(by_weight + part * channels, weight_sums, e, expanded, c, channels)
    tl.store(by_bias + part + e, bias_sums, mask=e < expanded)


@triton.jit
def expand_input_gradient_kernel(x, weight, bias, hidden_gradient, square_gradient, offset, slope, x_gradient, channels,
                                 expanded, voxels, C: tl.constexpr, BLOCK_E: tl.constexpr,
                                 BLOCK_V: tl.constexpr):  # fmt: skip
    """Computes x_gradient = weight^T du + offset + slope * x: the last two are what the norm's mean and deviation add.

    Inputs as in `expand_weight_gradient_kernel`; offset, slope: (B, channels), float32; x_gradient: as x.
    Program (i, j): the i-th BLOCK_V voxels of sample j.
    """
    v, c = tl.program_id(0) * BLOCK_V + tl.arange(0, BLOCK_V), tl.arange(0, C)
    sample = tl.program_id(1).to(tl.int64)
    tile = tile_of(x + sample * channels * voxels, c, channels, v, voxels)
    total = tl.zeros((C, BLOCK_V), tl.float32)
    for first in range(0, expanded, BLOCK_E):
        e = first + tl.arange(0, BLOCK_E)
        rows = tile_of(weight + sample * expanded * channels, e, expanded, c, channels)
        shift = tl.load(bias + sample * expanded + e, mask=e < expanded, other=0.0)
        by_square = tl.load(square_gradient + sample * expanded + e, mask=e < expanded, other=0.0)
        by_hidden = tile_of(hidden_gradient + sample * expanded * voxels, e, expanded, v, voxels)
        du = expanded_gradient(tile, rows, shift, by_hidden, by_square).to(tile.dtype)
        total += product(tl.trans(rows), du)
    add = tl.load(offset + sample * channels + c, mask=c < channels, other=0.0)
    times = tl.load(slope + sample * channels + c, mask=c < channels, other=0.0)
    total += add[:, None] + times[:, None] * tile.to(tl.float32)
    store_tile(x_gradient + sample * channels * voxels, total, c, channels, v, voxels)
