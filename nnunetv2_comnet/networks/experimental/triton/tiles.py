"""What the kernels of the branch share: loads of tiles and folded weights, GELU. Triton's language."""
# mypy: ignore-errors
# The reason: Triton's language has no Python types.

import os

import triton
import triton.language as tl

INTERPRETED = tl.constexpr(os.environ.get("TRITON_INTERPRET") == "1")


@triton.jit
def tile_of(start, rows, n_rows, columns, n_columns):
    """Loads the (rows x columns) part of the (n_rows, n_columns) matrix at `start`, zeros outside."""
    is_inside = (rows < n_rows)[:, None] & (columns < n_columns)[None, :]
    return tl.load(start + rows.to(tl.int64)[:, None] * n_columns + columns[None, :], mask=is_inside, other=0.0)


@triton.jit
def store_tile(start, values, rows, n_rows, columns, n_columns):
    """Stores values where `tile_of` loads them, in the memory's type."""
    is_inside = (rows < n_rows)[:, None] & (columns < n_columns)[None, :]
    target = start + rows.to(tl.int64)[:, None] * n_columns + columns[None, :]
    tl.store(target, values.to(start.dtype.element_ty), mask=is_inside)


@triton.jit
def product(a, b):
    """Computes the matrix product with float32 sums; float32 factors are not rounded."""
    if INTERPRETED:  # the interpreter's own product takes bfloat16's bits for whole numbers
        a, b = a.to(tl.float32), b.to(tl.float32)
    return tl.dot(a, b, input_precision="ieee")


@triton.jit
def gelu(u):
    """Computes u times the normal distribution function at u (the exact form, with erf)."""
    return 0.5 * u * (1.0 + tl.erf(u * 0.7071067811865476))


@triton.jit
def expanded_gradient(tile, weight, bias, hidden_gradient, square_gradient):
    """Computes the loss's gradient by the expansion's output, from that by h = gelu(weight tile + bias) and sum h h."""
    u = product(weight, tile) + bias[:, None]
    cumulative = 0.5 * (1.0 + tl.erf(u * 0.7071067811865476))
    slope = cumulative + u * tl.exp(-0.5 * u * u) * 0.3989422804014327
    return (hidden_gradient.to(tl.float32) + 2.0 * u * cumulative * square_gradient[:, None]) * slope
