"""Triton kernels for MedNeXt on a GPU, where memory traffic bounds it. Off by default: not measured on a GPU.

Their results are tested for equality with the plain formulas on a CPU, by Triton's interpreter, and their code is
compiled for two generations of GPUs; whether they are faster than PyTorch, `benchmarks/gpu_kernels.py` measures
on a machine with a GPU. Until someone has measured, a program must ask for them: `use_triton_kernels`.

depthwise.py: the stride-1 depthwise convolution. branch.py: norm, expansion and GELU in one kernel, GRN, compression
and residual in another (expansion.py, compression.py). folding.py: what is computed without voxels. The `*_kernels.py`
and tiles.py are in Triton's language; only they import triton, when a kernel is first run.
"""

import importlib.util
import os

import torch
from torch import nn

from nnunetv2_comnet.errors import ConfigurationError
from nnunetv2_comnet.networks.experimental.triton.branch import fused_branch, suits_branch
from nnunetv2_comnet.networks.experimental.triton.depthwise import depthwise_conv3d

__all__ = ["available", "depthwise_conv3d", "fused_branch", "suits_branch", "use_triton_kernels"]

OLDEST_TRITON = (3, 3)
OLDEST_CAPABILITY = (8, 0)
FLAG = "use_triton"


def available(device: torch.device | str) -> bool:
    """Returns whether the kernels can run on the device: a CUDA GPU with bfloat16, triton 3.3 or newer.

    A CPU can run them only by Triton's interpreter (TRITON_INTERPRET=1 before triton is imported), for tests.
    """
    device = torch.device(device)
    if not _has_triton():
        return False
    if device.type == "cpu":
        return os.environ.get("TRITON_INTERPRET") == "1"
    if device.type != "cuda" or torch.version.hip is not None or not torch.cuda.is_available():
        return False
    return torch.cuda.get_device_capability(device) >= OLDEST_CAPABILITY


def use_triton_kernels(network: nn.Module, enabled: bool = True) -> None:
    """Switches the kernels on, or off again, in every block of the network that can use them.

    Off by default, as no one has measured yet whether they are faster: run benchmarks/gpu_kernels.py first. A block
    that can use them has a boolean attribute `use_triton`; off a GPU it keeps to its own forms.
    Raises ConfigurationError if triton is missing or the network has no such block.
    """
    if enabled and not _has_triton():
        oldest = ".".join(map(str, OLDEST_TRITON))
        raise ConfigurationError(
            f"Triton kernels: need the package triton {oldest} or newer; install it, or leave them off"
        )
    blocks = [module for module in network.modules() if isinstance(getattr(module, FLAG, None), bool)]
    if not blocks:
        raise ConfigurationError(f"Triton kernels: {type(network).__name__} has no block that can use them")
    for block in blocks:
        setattr(block, FLAG, enabled)


def _has_triton() -> bool:
    """Looks for a new enough triton without importing it: the import is slow, and reads TRITON_INTERPRET once."""
    if importlib.util.find_spec("triton") is None:
        return False
    from importlib.metadata import PackageNotFoundError, version

    for name in ("triton", "pytorch-triton", "triton-windows"):
        try:
            return tuple(map(int, version(name).split(".")[:2])) >= OLDEST_TRITON
        except PackageNotFoundError:
            continue
    return False
