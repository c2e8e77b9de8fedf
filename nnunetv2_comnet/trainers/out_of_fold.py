"""Which frozen stage 1 model serves which case: the one that held the case out, so that its map is no memory.

In-sample coarse maps are better than any that the refiner meets later; a refiner trained on them learns to do little.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from nnunetv2_comnet.crossval import Fold, OutOfFold, Split, validation_folder
from nnunetv2_comnet.errors import ConfigurationError, DataError
from nnunetv2_comnet.files import read_checked
from nnunetv2_comnet.plans import SECTION
from nnunetv2_comnet.trust.checkpoints import read_checkpoint

CHECKPOINT = "checkpoint_final.pth"
# What a checkpoint's plans must share with those of the training that uses it.
_SHARED = ("architecture", "spacing", "normalization_schemes", "use_mask_for_norm", "patch_size")


class _Plans(BaseModel):
    """What is read of plans.json."""

    configurations: dict[str, dict[str, Any]]
    comnet: dict[str, Any] = {}


class FoldModels:
    """The frozen stage 1 networks by fold, each asked for the cases that it serves."""

    def __init__(self, networks: Mapping[Fold, nn.Module], service: OutOfFold) -> None:
        self.networks = {fold: network.requires_grad_(False).eval() for fold, network in networks.items()}
        self.service = service

    @torch.no_grad()
    def logits(self, images: Tensor, cases: Sequence[str]) -> Tensor:
        """Coarse logits (B, R, D, H, W), float32, of images (B, C, D, H, W), one case a sample."""
        maps = [
            self.networks[self.service.served_by[case]](image[None]) for image, case in zip(images, cases, strict=True)
        ]
        return torch.cat(maps).float()


def check_same_plans(folder: Path, plans: Mapping[str, Any], configuration: str) -> None:
    """Raises ConfigurationError unless the models in `folder` were trained with this configuration of these plans."""
    saved = read_checked(folder / "plans.json", _Plans, "restore it, or train stage 1 again")
    theirs = saved.configurations.get(configuration, {})
    ours = plans["configurations"][configuration]
    different = [name for name in _SHARED if theirs.get(name) != ours.get(name)]
    # Channels may be missing only where both stages have met such patches.
    sections = plans.get(SECTION, {}), saved.comnet
    dropout_now, dropout_then = (bool(section.get("modality_dropout")) for section in sections)
    if dropout_now and not dropout_then:
        different.append("modality_dropout")
    if different:
        raise ConfigurationError(
            f"the stage 1 checkpoints in {folder} were trained with other plans ({', '.join(different)} differ): train "
            "stage 1 again with these plans, or the refiner with those"
        )


def check_same_split(folder: Path, splits: Sequence[Split], fold: Fold) -> None:
    """Raises DataError where a fold's validation folder holds other cases than the split: it was trained on another."""
    validated = {path.name.split(".")[0] for path in validation_folder(folder, fold).glob("*.nii.gz")}
    if not validated or not isinstance(fold, int):
        return
    unexpected = sorted(validated ^ {name.split(".")[0] for name in splits[fold]["val"]})
    if unexpected:
        raise DataError(
            f"{folder / f'fold_{fold}'} was trained with another split ({unexpected[0]} differs): its maps are not "
            "out-of-fold; restore splits_final.json, or train stage 1 again"
        )


def load_weights(folder: Path, fold: Fold) -> dict[str, Tensor]:
    """The network weights of a fold's final checkpoint, on the CPU."""
    weights: dict[str, Tensor] = read_checkpoint(folder / f"fold_{fold}" / CHECKPOINT)["network_weights"]
    return weights
