"""What every operator asks of its input, and how the branch's kernels are laid over a GPU.

The latter was chosen by reasoning and the compiler's register counts, not timed.
"""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from nnunetv2_comnet.errors import ConfigurationError

TYPES = (torch.float32, torch.float16, torch.bfloat16)
MAX_CHANNELS = 128  # of a level: more do not fit the shared memory of a small GPU, and have a fast library product
BLOCK_E = 64  # expanded channels of one program
BLOCK_V = 64  # voxels that a program works on at a time
PROGRAMS = 2048  # aimed at: several for each multiprocessor of a large GPU
STAGES = 2  # of loads ahead of the products: three would need more shared memory than small GPUs have
PARTIAL_SUMS = 2**22  # at most so many numbers in a buffer of partial sums: 16 MiB


def padded(channels: int) -> int:
    """Rounds up to the side of a matrix product's tile: a power of two of at least 16."""
    return max(16, 1 << (channels - 1).bit_length())


def warps_for(channels: int) -> int:
    """Chooses the warps so that a thread's share of the tiles fits its registers."""
    return 4 if channels <= 64 else 8


def split_of(voxels: int, block: int, others: int, numbers: int) -> tuple[int, int]:
    """Chooses into how many parts the voxels are cut, and how many blocks each has.

    others: programs beside the split; numbers: of partial sums that each part writes. By the shape alone, so that the
    same input gives the same sums.
    """
    blocks = -(-voxels // block)
    parts = max(1, min(blocks, PROGRAMS // others, PARTIAL_SUMS // numbers))
    each = -(-blocks // parts)
    return -(-blocks // each), each


def on_device_of(x: Tensor) -> AbstractContextManager[object]:
    """Makes the tensor's GPU the current one, on which Triton launches."""
    return torch.cuda.device(x.device) if x.is_cuda else nullcontext()


def in_autocast_type(x: Tensor) -> Tensor:
    """Converts x to the type that autocast asks for on its device; x itself without autocast."""
    if torch.is_autocast_enabled(x.device.type):
        return x.to(torch.get_autocast_dtype(x.device.type))
    return x


def check_volume(name: str, x: Tensor) -> None:
    """Raises `ConfigurationError` unless x is (B, C, D, H, W), not empty, of a type that the kernels know."""
    if x.ndim != 5 or x.numel() == 0:
        raise ConfigurationError(f"{name}: expected a tensor (B, C, D, H, W) with voxels, got shape {tuple(x.shape)}")
    if x.dtype not in TYPES:
        raise ConfigurationError(f"{name}: expected float32, float16 or bfloat16, got {x.dtype}; convert the tensor")


def check_shape(name: str, parameter: str, value: Tensor, expected: tuple[int, ...]) -> None:
    """Raises `ConfigurationError` unless the parameter has the expected shape."""
    if tuple(value.shape) != expected:
        raise ConfigurationError(f"{name}: {parameter} must have shape {expected}, got {tuple(value.shape)}")


def check_few_channels(name: str, channels: int) -> None:
    """Raises `ConfigurationError` for a level with more channels than the branch's kernels hold."""
    if channels > MAX_CHANNELS:
        raise ConfigurationError(
            f"{name}: {channels} channels are more than the kernels' {MAX_CHANNELS}; use the plain formula there"
        )
