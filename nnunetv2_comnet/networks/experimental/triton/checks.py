"""What every Triton operator asks of its input, and the type in which it works."""

import torch
from torch import Tensor

from nnunetv2_comnet.errors import ConfigurationError
from nnunetv2_comnet.networks.experimental.triton.launch import MAX_CHANNELS

TYPES = (torch.float32, torch.float16, torch.bfloat16)


def in_autocast_type(x: Tensor) -> Tensor:
    """x in the type that autocast asks for on its device; x itself without autocast."""
    if torch.is_autocast_enabled(x.device.type):
        return x.to(torch.get_autocast_dtype(x.device.type))
    return x


def check_volume(name: str, x: Tensor) -> None:
    """Raise ConfigurationError unless x is (B, C, D, H, W), not empty, of a type that the kernels know."""
    if x.ndim != 5 or x.numel() == 0:
        raise ConfigurationError(f"{name}: expected a tensor (B, C, D, H, W) with voxels, got shape {tuple(x.shape)}")
    if x.dtype not in TYPES:
        raise ConfigurationError(f"{name}: expected float32, float16 or bfloat16, got {x.dtype}; convert the tensor")


def check_shape(name: str, parameter: str, value: Tensor, expected: tuple[int, ...]) -> None:
    """Raise ConfigurationError unless the parameter has the expected shape."""
    if tuple(value.shape) != expected:
        raise ConfigurationError(f"{name}: {parameter} must have shape {expected}, got {tuple(value.shape)}")


def check_few_channels(name: str, channels: int) -> None:
    """Raise ConfigurationError for a level with more channels than the branch's kernels hold."""
    if channels > MAX_CHANNELS:
        raise ConfigurationError(
            f"{name}: {channels} channels are more than the kernels' {MAX_CHANNELS}; use the plain formula there"
        )
