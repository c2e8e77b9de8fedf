"""Triton kernels of the compression with GRN folded in and the residual added, forward and backward.

Not measured on a GPU.
"""
# mypy: ignore-errors
# ruff: noqa: N803
# The reasons: Triton's language has no Python types, and its compile-time constants are written in capitals.

import triton
import triton.language as tl

from nnunetv2_comnet.networks.experimental.triton.tiles import product, store_tile, tile_of


@triton.jit
def compress_kernel(hidden, weight, bias, residual, out, channels, expanded, voxels, HAS_RESIDUAL: tl.constexpr,
                    C: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_V: tl.constexpr):  # fmt: skip
    """Computes out = weight hidden + bias (+ residual).

    hidden: (B, expanded, voxels); weight: (B, channels, expanded); bias: (channels,), float32; residual, out: (B,
    channels, voxels). C: channels, rounded up to a power of two of at least 16. Program (i, j): the i-th BLOCK_V
    voxels of sample j.
    """
    v, o = tl.program_id(0) * BLOCK_V + tl.arange(0, BLOCK_V), tl.arange(0, C)
    sample = tl.program_id(1).to(tl.int64)
    total = tl.zeros((C, BLOCK_V), tl.float32)
    for first in range(0, expanded, BLOCK_E):
        e = first + tl.arange(0, BLOCK_E)
        rows = tile_of(weight + sample * channels * expanded, o, channels, e, expanded)
        tile = tile_of(hidden + sample * expanded * voxels, e, expanded, v, voxels)
        total += product(rows, tile)
    total += tl.load(bias + o, mask=o < channels, other=0.0)[:, None]
    if HAS_RESIDUAL:
        total += tile_of(residual + sample * channels * voxels, o, channels, v, voxels).to(tl.float32)
    store_tile(out + sample * channels * voxels, total, o, channels, v, voxels)


@triton.jit
def compress_gradient_kernel(gradient, hidden, weight, hidden_gradient, by_weight, by_bias, channels, expanded, voxels,
                             blocks_each, C: tl.constexpr, BLOCK_E: tl.constexpr,
                             BLOCK_V: tl.constexpr):  # fmt: skip
    """Computes hidden_gradient = weight^T gradient; partial sums over voxels of gradient hidden^T and of gradient.

    Inputs as in `compress_kernel`; by_weight: (splits, B, channels, expanded), by_bias: (splits, B, channels),
    float32. Program (i, j, k): the i-th BLOCK_E rows of hidden, the j-th `blocks_each` blocks of voxels, sample k.
    """
    e, o = tl.program_id(0) * BLOCK_E + tl.arange(0, BLOCK_E), tl.arange(0, C)
    sample, split = tl.program_id(2).to(tl.int64), tl.program_id(1)
    rows = tile_of(weight + sample * channels * expanded, o, channels, e, expanded)
    weight_sums = tl.zeros((C, BLOCK_E), tl.float32)
    bias_sums = tl.zeros((C,), tl.float32)
    for block in range(split * blocks_each, min((split + 1) * blocks_each, tl.cdiv(voxels, BLOCK_V))):
        v = block * BLOCK_V + tl.arange(0, BLOCK_V)
        tile = tile_of(gradient + sample * channels * voxels, o, channels, v, voxels)
        values = tile_of(hidden + sample * expanded * voxels, e, expanded, v, voxels)
        by_hidden = product(tl.trans(rows), tile)
        store_tile(hidden_gradient + sample * expanded * voxels, by_hidden, e, expanded, v, voxels)
        weight_sums += product(tile, tl.trans(values))
        bias_sums += tl.sum(tile.to(tl.float32), 1)
    part = (split * tl.num_programs(2) + sample) * channels
    store_tile(by_weight + part * expanded, weight_sums, o, channels, e, expanded)
    if tl.program_id(0) == 0:
        tl.store(by_bias + part + o, bias_sums, mask=o < channels)
