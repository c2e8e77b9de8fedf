"""Which floating-point type a training runs in, and why."""

import torch

from nnunetv2_comnet.errors import ConfigurationError


def choose_precision(wanted: str, device: torch.device) -> tuple[torch.dtype, str]:
    """The autocast type for a device and the reason for the log; float16 is the one that needs a gradient scaler.

    bfloat16 where the GPU computes in it natively (compute capability 8 or higher), else float16; a CPU or an Apple
    GPU trains in float32. Raises `ConfigurationError` where half precision was asked of such a device.
    """
    if wanted == "float32":
        return torch.float32, "as set"
    if device.type != "cuda":
        if wanted != "auto":
            raise ConfigurationError(f"precision {wanted} needs a CUDA GPU, not device {device}; plan with float32")
        return torch.float32, f"device {device.type}"
    if wanted == "auto":
        native = torch.cuda.get_device_capability(device)[0] >= 8
        name = torch.cuda.get_device_name(device)
        return (torch.bfloat16, f"{name} has it") if native else (torch.float16, f"{name} has no bfloat16")
    return getattr(torch, wanted), "as set"
