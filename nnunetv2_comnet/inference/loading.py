"""Checks of a model, and what is set up, around nnU-Net's own loading."""

import contextlib
import os
import pydoc
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, Field
from torch import Tensor, nn

from nnunetv2_comnet.dataset_json import DatasetJson
from nnunetv2_comnet.doctor import EXTENSION_VARIABLE, extension_folder
from nnunetv2_comnet.errors import ConfigurationError
from nnunetv2_comnet.files import read_checked
from nnunetv2_comnet.inference.images import require_known_reader
from nnunetv2_comnet.inference.model_folder import ModelFolder
from nnunetv2_comnet.inference.options import Options
from nnunetv2_comnet.networks.experimental import triton
from nnunetv2_comnet.trainers.user_errors import weights_difference

DEVICES = ("auto", "cpu", "cuda", "mps")
NETWORKS = ("torch.nn", "dynamic_network_architectures", "nnunetv2_comnet.networks")


class _Architecture(BaseModel):
    network_class_name: str
    arch_kwargs: dict[str, Any]
    names: list[str] = Field(alias="_kw_requires_import")  # which of arch_kwargs are names of classes


class _Configuration(BaseModel):
    architecture: _Architecture | None = None


class _Plans(BaseModel):
    configurations: dict[str, _Configuration]


def choose_device(name: str) -> torch.device:
    """Finds the device by its name; "auto" is a GPU if possible. Raises `ConfigurationError` where it is missing."""
    if name not in DEVICES:
        raise ConfigurationError(f"unknown device '{name}'; there are: {', '.join(DEVICES)}")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if (name == "cuda" and not torch.cuda.is_available()) or (name == "mps" and not torch.backends.mps.is_available()):
        raise ConfigurationError(f"device '{name}' was asked for, but torch finds none here: use cpu")
    return torch.device(name)


def speed_up(network: nn.Module, device: torch.device, options: Options) -> None:
    """Switches the wanted kernels on. Raises `ConfigurationError` where `options` need another device or network."""
    for name, wanted in (("cuda_graphs", options.cuda_graphs), ("triton_kernels", options.triton_kernels)):
        if wanted and device.type != "cuda":
            where = f"this prediction runs on {device.type}"
            raise ConfigurationError(f"{name} is for a CUDA GPU, but {where}: leave it out")
    if not options.triton_kernels:
        return
    if not triton.available(device):
        raise ConfigurationError("triton_kernels need triton 3.3 or newer and a GPU since Ampere: leave them out")
    triton.use_triton_kernels(network)


@contextlib.contextmanager
def extension_named() -> Iterator[None]:
    """Adds our folder of trainers to nnUNet_extTrainer within the context, beside what the variable names already."""
    before = os.environ.get(EXTENSION_VARIABLE)
    ours = str(extension_folder())
    os.environ[EXTENSION_VARIABLE] = os.pathsep.join([ours, *([before] if before else [])])
    try:
        yield
    finally:
        del os.environ[EXTENSION_VARIABLE]
        if before is not None:
            os.environ[EXTENSION_VARIABLE] = before


def require_known_networks(plans: Path) -> None:
    """Raises `ConfigurationError` where plans.json names anything but networks and their parts.

    nnU-Net imports and calls what the plans name, with arguments that the plans give: subprocess.Popen, say.
    """
    for configuration in read_checked(plans, _Plans, "restore it from the model's source").configurations.values():
        if configuration.architecture is None:
            continue
        kwargs, names = configuration.architecture.arch_kwargs, configuration.architecture.names
        for name in (configuration.architecture.network_class_name, *(kwargs.get(key) for key in names)):
            if name is not None and not _is_known(str(name)):
                raise ConfigurationError(
                    f"{plans} is refused: it has {name} called, which is no network or layer of "
                    f"{', '.join(NETWORKS)}; if you trust the model, nnUNetv2_predict loads it"
                )


def _is_known(name: str) -> bool:
    within = tuple(f"{package}." for package in NETWORKS)
    if not name.startswith(within):
        return False  # not even imported
    # A known module's name may lead on to another's: torch.nn.modules.module.torch.hub.load
    module = getattr(pydoc.locate(name), "__module__", "")
    return f"{module}.".startswith(within)


def require_usable(plans: Any, configuration: Any, dataset: DatasetJson, folder: Path) -> None:
    """Raises `ConfigurationError` for a model of another kind than a plain 3D one of regions, on NIfTI-like images."""
    if not dataset.has_regions:
        raise ConfigurationError(
            f"the model in {folder} predicts labels, not overlapping regions; predict with nnUNetv2_predict"
        )
    if len(configuration.patch_size) != 3 or configuration.previous_stage_name is not None:
        raise ConfigurationError(f"the model in {folder} is 2D or a cascade; predict with nnUNetv2_predict")
    require_known_reader(plans.plans["image_reader_writer"])


def require_weights_fit(network: nn.Module, weights: Sequence[Mapping[str, Tensor]], model: ModelFolder) -> None:
    """Raises `ConfigurationError` where a fold's weights are another network's; nnU-Net tries only the first fold's."""
    wanted = network.state_dict()
    for path, state in zip(model.checkpoints, weights, strict=True):
        if difference := weights_difference(wanted, state):
            raise ConfigurationError(
                f"{path} is another network's checkpoint: {difference} in the network of {model.path / 'plans.json'}"
            )
