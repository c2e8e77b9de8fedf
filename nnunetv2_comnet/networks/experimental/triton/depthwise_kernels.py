"""Triton kernels of the depthwise 3D convolution, stride 1. Not measured on a GPU.

Both march along the depth with a ring of slices in registers, so that a voxel costs k * k loads instead of k * k * k.
A plane's voxels are taken in their memory's order, whatever the width; masks stand for the zeros outside.
"""
# mypy: ignore-errors
# ruff: noqa: N803, N806, RUF005
# The reasons: Triton's language has no Python types, writes compile-time constants in capitals and unpacks no tuples.

import triton
import triton.language as tl


@triton.jit
def stencil_kernel(x, weight, out, channels, depth, height, width, CHUNK: tl.constexpr, K: tl.constexpr,
                   FLIP: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    """Computes out, x convolved, (B, C, D, H, W) contiguous, by (C, k, k, k); with FLIP by the mirrored kernel.

    Program (i, j, k): the i-th BLOCK voxels of the planes, the j-th CHUNK of slices, channel k of all samples'.
    """
    P: tl.constexpr = K // 2
    plane = height * width
    position = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    row, column = position // width, position % width
    inside = position < plane
    first = tl.program_id(1) * CHUNK
    channel = tl.program_id(2).to(tl.int64)
    x += channel * depth * plane
    out += channel * depth * plane
    weight += (channel % channels) * K * K * K
    taps = ()
    for tap in tl.static_range(K * K * K):
        taps = taps + (tl.load(weight + (K * K * K - 1 - tap if FLIP else tap)).to(tl.float32),)
    sums = ()  # of the K output slices that the current input slice reaches, the first one complete after it
    for _ in tl.static_range(K):
        sums = sums + (tl.zeros((BLOCK,), tl.float32),)
    for step in range(min(CHUNK, depth - first) + 2 * P):
        z = first + step - P  # the input slice
        has_slice = (z >= 0) & (z < depth)
        for j in tl.static_range(K):
            has_row = inside & has_slice & (row + j - P >= 0) & (row + j - P < height)
            for i in tl.static_range(K):
                is_valid = has_row & (column + i - P >= 0) & (column + i - P < width)
                offset = z.to(tl.int64) * plane + (j - P) * width + i - P
                value = tl.load(x + offset + position, mask=is_valid, other=0.0).to(tl.float32)
                added = ()
                for s in tl.static_range(K):
                    added = added + (sums[s] + taps[((K - 1 - s) * K + j) * K + i] * value,)
                sums = added
        if step >= 2 * P:
            target = out + (z - P).to(tl.int64) * plane + position
            tl.store(target, sums[0].to(out.dtype.element_ty), mask=inside)
        sums = sums[1:] + (tl.zeros((BLOCK,), tl.float32),)


@triton.jit
def weight_gradient_kernel(x, gradient, partial, channels, depth, height, width, chunks, CHUNK: tl.constexpr,
                           K: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    """Computes partial[split, channel, i, j, l]: sums of gradient[z, y, x] x[z + i - P, y + j - P, x + l - P].

    x, gradient: (B, C, D, H, W) contiguous; partial: float32, (splits, C, K, K, K). Program (a, b, c): the a-th BLOCK
    voxels of the planes; chunk b % chunks of the slices of sample b // chunks; kernel row c % K of channel c // K.
    """
    P: tl.constexpr = K // 2
    plane = height * width
    position = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    row, column = position // width, position % width
    inside = position < plane
    sample, first = tl.program_id(1) // chunks, tl.program_id(1) % chunks * CHUNK
    channel, j = tl.program_id(2) // K, tl.program_id(2) % K
    start = (sample.to(tl.int64) * channels + channel) * depth * plane
    x += start
    gradient += start
    count = min(CHUNK, depth - first)
    has_row = inside & (row + j - P >= 0) & (row + j - P < height)
    ring = ()  # the gradient's slices that meet the current slice of x: ring[i] by the kernel's slice i
    for _ in tl.static_range(K):
        ring = ring + (tl.zeros((BLOCK,), tl.float32),)
    sums = ()
    for _ in tl.static_range(K * K):
        sums = sums + (tl.zeros((BLOCK,), tl.float32),)
    for step in range(count + 2 * P):
        z = first + step - P  # the slice of x
        newest = gradient + (first + step).to(tl.int64) * plane + position
        ring = (tl.load(newest, mask=inside & (step < count), other=0.0).to(tl.float32),) + ring[: K - 1]
        has_slice = has_row & (z >= 0) & (z < depth)
        values = ()
        for i in tl.static_range(K):
            is_valid = has_slice & (column + i - P >= 0) & (column + i - P < width)
            offset = z.to(tl.int64) * plane + (j - P) * width + i - P
            values = values + (tl.load(x + offset + position, mask=is_valid, other=0.0).to(tl.float32),)
        added = ()
        for s in tl.static_range(K):
            for i in tl.static_range(K):
                added = added + (sums[s * K + i] + ring[s] * values[i],)
        sums = added
    split = tl.program_id(1) * tl.num_programs(0) + tl.program_id(0)
    partial += (split.to(tl.int64) * channels + channel) * K * K * K + j * K
    for s in tl.static_range(K):
        for i in tl.static_range(K):
            tl.store(partial + s * K * K + i, tl.sum(sums[s * K + i], 0))
