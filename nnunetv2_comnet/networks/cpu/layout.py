"""Voxels as rows: where the layout is used, how a volume is turned into it, and how many rows go at a time."""

from collections.abc import Sequence

import torch
from torch import Tensor

# Of the widest tensor of a pass, per thread: 2 MB, which stay in the last cache; fewer make the threads wait for each
# other more often than they compute. Measured flat from a half of this to four times this.
FLOATS_PER_THREAD = 2**19
LEAST_ROWS = 256


def fits(x: Tensor) -> bool:
    """Returns whether this layout is used for x: float32 on a CPU with oneDNN, neither compiled nor under autocast."""
    if torch.compiler.is_compiling():  # torch.compile fuses the plain formula
        return False
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and x.ndim == 5
        and torch.backends.mkldnn.is_available()
        and bool(torch.backends.mkldnn.enabled)
        and not torch.is_autocast_enabled("cpu")
    )


def channels_last(x: Tensor) -> Tensor:
    """Lays x (B, C, D, H, W) out so that a voxel's channels are neighbours; returns x itself where they are."""
    return x.contiguous(memory_format=torch.channels_last_3d)


def rows(x: Tensor) -> Tensor:
    """Turns voxels into rows: (B, C, D, H, W) -> (B, V, C), V = D * H * W; a view where x is channels-last."""
    return x.permute(0, 2, 3, 4, 1).flatten(1, 3)


def volume(x: Tensor, sides: Sequence[int]) -> Tensor:
    """Turns rows into voxels: (B, V, C) -> (B, C, *sides), a view."""
    return x.unflatten(1, tuple(sides)).permute(0, 4, 1, 2, 3)


def rows_at_a_time(width: int) -> int:
    """Chooses how many rows of `width` floats one pass takes."""
    return max(LEAST_ROWS, FLOATS_PER_THREAD * torch.get_num_threads() // width)
