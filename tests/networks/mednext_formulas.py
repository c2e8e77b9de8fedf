"""MedNeXt written out a second time, from the papers' formulas, in plain torch functions on a state dict.

It shares no code with the package: the tests compare the two.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

Weights = Mapping[str, Tensor]


def grn(x: Tensor, gamma: Tensor, beta: Tensor, form: str = "mean") -> Tensor:
    """g = L2 norm over space; n = g / (mean g + 1e-6), or that over the channel count; y = gamma * (x n) + beta + x."""
    g = (x * x).sum(dim=(2, 3, 4), keepdim=True).sqrt()
    n = g / (g.mean(dim=1, keepdim=True) + 1e-6)
    if form == "sum":
        n = n / x.shape[1]
    return gamma * (x * n) + beta + x


def group_norm(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """One group per channel: every channel of every sample to mean 0 and variance 1, then scale and shift."""
    mean = x.mean(dim=(2, 3, 4), keepdim=True)
    variance = ((x - mean) ** 2).mean(dim=(2, 3, 4), keepdim=True)
    normalised = (x - mean) / (variance + 1e-5).sqrt()
    return normalised * scale.view(1, -1, 1, 1, 1) + shift.view(1, -1, 1, 1, 1)


def chain(x: Tensor, w: Weights, name: str, form: str = "mean") -> Tensor:
    """What follows the depthwise convolution: norm, expansion, GELU (by erf), GRN if there is one, compression."""
    x = group_norm(x, w[f"{name}.norm.weight"], w[f"{name}.norm.bias"])
    x = F.conv3d(x, w[f"{name}.conv2.weight"], w[f"{name}.conv2.bias"])
    x = x * 0.5 * (1 + torch.erf(x / 2**0.5))
    if f"{name}.grn_gamma" in w:
        x = grn(x, w[f"{name}.grn_gamma"], w[f"{name}.grn_beta"], form)
    return F.conv3d(x, w[f"{name}.conv3.weight"], w[f"{name}.conv3.bias"])


def block(x: Tensor, w: Weights, name: str, form: str = "mean") -> Tensor:
    kernel, bias = w[f"{name}.conv1.weight"], w[f"{name}.conv1.bias"]
    spatial = F.conv3d(x, kernel, bias, padding=kernel.shape[-1] // 2, groups=x.shape[1])
    return x + chain(spatial, w, name, form)


def down(x: Tensor, w: Weights, name: str, form: str = "mean") -> Tensor:
    kernel, bias = w[f"{name}.conv1.weight"], w[f"{name}.conv1.bias"]
    spatial = F.conv3d(x, kernel, bias, stride=2, padding=kernel.shape[-1] // 2, groups=x.shape[1])
    return chain(spatial, w, name, form) + F.conv3d(x, w[f"{name}.res_conv.weight"], w[f"{name}.res_conv.bias"], 2)


def up(x: Tensor, w: Weights, name: str, form: str = "mean") -> Tensor:
    kernel, bias = w[f"{name}.conv1.weight"], w[f"{name}.conv1.bias"]
    spatial = F.conv_transpose3d(x, kernel, bias, stride=2, padding=kernel.shape[-1] // 2, groups=x.shape[1])
    branch = F.pad(chain(spatial, w, name, form), (1, 0, 1, 0, 1, 0))
    residual = F.conv_transpose3d(x, w[f"{name}.res_conv.weight"], w[f"{name}.res_conv.bias"], stride=2)
    return branch + F.pad(residual, (1, 0, 1, 0, 1, 0))


def stage(x: Tensor, w: Weights, name: str, form: str = "mean") -> Tensor:
    index = 0
    while f"{name}.{index}.conv1.weight" in w:
        x = block(x, w, f"{name}.{index}", form)
        index += 1
    assert index, f"no blocks in {name}"
    return x


def network(x: Tensor, w: Weights, form: str = "mean") -> list[Tensor]:
    """Five logits, finest first."""
    x = F.conv3d(x, w["stem.weight"], w["stem.bias"])
    skips = []
    for level in range(4):
        skips.append(stage(x, w, f"enc_block_{level}", form))
        x = down(skips[-1], w, f"down_{level}", form)
    levels = [stage(x, w, "bottleneck", form)]
    for level in (3, 2, 1, 0):
        levels.insert(0, stage(skips[level] + up(levels[0], w, f"up_{level}", form), w, f"dec_block_{level}", form))
    return [
        F.conv_transpose3d(x, w[f"out_{level}.conv_out.weight"], w[f"out_{level}.conv_out.bias"])
        for level, x in enumerate(levels)
    ]
