"""How the branch's kernels are laid over a GPU: chosen by reasoning and the compiler's register counts, not timed."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

MAX_CHANNELS = 128  # of a level: more do not fit the shared memory of a small GPU, and have a fast library product
BLOCK_E = 64  # expanded channels of one program
BLOCK_V = 64  # voxels that a program works on at a time
PROGRAMS = 2048  # aimed at: several for each multiprocessor of a large GPU
STAGES = 2  # of loads ahead of the products: three would need more shared memory than small GPUs have
PARTIAL_SUMS = 2**22  # at most so many numbers in a buffer of partial sums: 16 MiB


def padded(channels: int) -> int:
    """The side of a matrix product's tile: a power of two of at least 16."""
    return max(16, 1 << (channels - 1).bit_length())


def warps_for(channels: int) -> int:
    """So that a thread's share of the tiles fits its registers."""
    return 4 if channels <= 64 else 8


def split_of(voxels: int, block: int, others: int, numbers: int) -> tuple[int, int]:
    """Into how many parts the voxels are cut, and how many blocks each has.

    others: programs beside the split; numbers: of partial sums that each part writes. By the shape alone, so that the
    same input gives the same sums.
    """
    blocks = -(-voxels // block)
    parts = max(1, min(blocks, PROGRAMS // others, PARTIAL_SUMS // numbers))
    each = -(-blocks // parts)
    return -(-blocks // each), each


def on_device_of(x: Tensor) -> AbstractContextManager[object]:
    """Triton launches on the current GPU, which need not be the tensor's."""
    return torch.cuda.device(x.device) if x.is_cuda else nullcontext()
