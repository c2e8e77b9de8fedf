"""Loads weights from an official MedNeXt checkpoint, from nnU-Net's, or from a network with a smaller kernel (UpKern).

UpKern (MedNeXt paper, section 2.3): a depthwise kernel of 5 starts as the trained kernel of 3, resized trilinearly.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nnunetv2_comnet.errors import ConfigurationError
from nnunetv2_comnet.networks.mednext import GRN_DENOMINATORS, MedNeXt, check_choice

PREFIXES = ("module.", "_orig_mod.")
CONTAINERS = ("network_weights", "state_dict", "model_state_dict")
OFFICIAL_DUMMY = "dummy_tensor"


@dataclass(frozen=True)
class WeightReport:
    """What became of every weight, by the network's key names.

    loaded: copied (GRN's gamma converted where the denominators differ); interpolated: resized by UpKern;
    skipped: not taken from the source, with the reason.
    """

    loaded: tuple[str, ...]
    interpolated: tuple[str, ...]
    skipped: dict[str, str]


def load_mednext_weights(
    network: MedNeXt, state_dict: Mapping[str, object], *, source_denominator: str = "mean"
) -> WeightReport:
    """Copies a state dict, or a checkpoint that holds one, into the network.

    Not loaded, and reported: heads of another class count, GRN or coarse heads that are missing in the source (GRN is
    set to zero, which is the identity; heads stay as they are) and the depthwise biases: the group norm behind them
    subtracts any constant per channel, so zero gives the same output.

    Args:
        network: The network to fill; unchanged where an error is raised.
        state_dict: Tensors by name, or a checkpoint.
        source_denominator: The form of GRN that the source was trained with, "mean" or "sum".

    Raises:
        ConfigurationError: The source differs from the network in any other way.
    """
    check_choice("source_denominator", source_denominator, GRN_DENOMINATORS)
    source = clean_state_dict(state_dict)
    target = network.state_dict()
    new: dict[str, Tensor] = {}
    loaded: list[str] = []
    interpolated: list[str] = []
    skipped: dict[str, str] = {}
    for key, current in target.items():
        if key.endswith("conv1.bias"):
            new[key] = torch.zeros_like(current)
            skipped[key] = "zero: the group norm cancels it"
        elif key not in source:
            new[key], skipped[key] = _absent(key, current)
        elif source[key].shape == current.shape:
            new[key] = _converted(key, source[key], source_denominator, network.config.grn_denominator)
            loaded.append(key)
        elif _is_other_class_count(key, source[key], current):
            new[key], skipped[key] = current, "another class count"
        elif _is_smaller_kernel(key, source[key], current):
            new[key] = F.interpolate(source[key].float(), size=current.shape[2:], mode="trilinear", align_corners=False)
            interpolated.append(key)
        else:
            raise ConfigurationError(
                f"weights: {key} has shape {tuple(source[key].shape)} in the source and {tuple(current.shape)} in the "
                "network; build the network with the source's size, channels and kernel (or a larger kernel)"
            )
    for key in sorted(source.keys() - target.keys()):
        if not key.startswith("out_"):
            raise ConfigurationError(
                f"weights: the source has {key}, which the network does not have; "
                "build the network with the source's size, and with GRN if the source has it"
            )
        skipped[key] = "the network has no such head"
    network.load_state_dict(new)
    return WeightReport(tuple(loaded), tuple(interpolated), skipped)


def upkern(source_state_dict: Mapping[str, object], target_network: MedNeXt) -> WeightReport:
    """Initialises a network with kernel 5 by the trained weights of the same network with kernel 3."""
    report = load_mednext_weights(
        target_network, source_state_dict, source_denominator=target_network.config.grn_denominator
    )
    if not report.interpolated:
        raise ConfigurationError("UpKern: the source's kernel is not smaller than the network's; load it as it is")
    return report


def clean_state_dict(state_dict: Mapping[str, object]) -> dict[str, Tensor]:
    """Returns the tensors by their plain names, out of a checkpoint, without wrapper prefixes and official dummy."""
    for container in CONTAINERS:
        inner = state_dict.get(container)
        if isinstance(inner, Mapping):
            return clean_state_dict(inner)
    cleaned = {}
    for key, value in state_dict.items():
        name = key
        while name.startswith(PREFIXES):
            name = name[name.index(".") + 1 :]
        if not isinstance(value, Tensor):
            raise ConfigurationError(
                f"weights: expected a tensor for {key}, got {type(value).__name__}; "
                f"a checkpoint holds its tensors under one of {', '.join(CONTAINERS)}"
            )
        if name != OFFICIAL_DUMMY:
            cleaned[name] = value
    return cleaned


def _absent(key: str, current: Tensor) -> tuple[Tensor, str]:
    if key.endswith(("grn_gamma", "grn_beta")):
        return torch.zeros_like(current), "zero (the identity): the source has no GRN here"
    if key.startswith("out_") and not key.startswith("out_0."):
        return current, "unchanged: the source has no such head"
    raise ConfigurationError(f"weights: the source has no {key}; build the network with the source's size")


def _converted(key: str, value: Tensor, source_form: str, target_form: str) -> Tensor:
    """Converts GRN's gamma: the sum form's response is smaller by the number of channels, its gamma larger."""
    if not key.endswith("grn_gamma") or source_form == target_form:
        return value
    channels = value.shape[1]
    return value / channels if source_form == "sum" else value * channels


def _is_other_class_count(key: str, value: Tensor, current: Tensor) -> bool:
    if not key.startswith("out_"):
        return False
    return key.endswith(".bias") or (value.ndim == current.ndim and value.shape[0] == current.shape[0])


def _is_smaller_kernel(key: str, value: Tensor, current: Tensor) -> bool:
    return (
        key.endswith("conv1.weight")
        and value.ndim == current.ndim
        and value.shape[:2] == current.shape[:2]
        and value.shape[-1] < current.shape[-1]
    )
