"""Which frozen stage 1 model serves which case: the one that held the case out, so that its map is no memory.

In-sample coarse maps are better than any that the refiner meets later; a refiner trained on them learns to do little.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from nnunetv2_comnet.errors import ConfigurationError, DataError
from nnunetv2_comnet.files import read_checked
from nnunetv2_comnet.plans import SECTION
from nnunetv2_comnet.trust.checkpoints import read_checkpoint

Fold = int | str
CHECKPOINT = "checkpoint_final.pth"
# What a checkpoint's plans must share with those of the training that uses it.
_SHARED = ("architecture", "spacing", "normalization_schemes", "use_mask_for_norm", "patch_size")


class _Plans(BaseModel):
    """What is read of plans.json."""

    configurations: dict[str, dict[str, Any]]
    comnet: dict[str, Any] = {}


@dataclass(frozen=True)
class Service:
    """served_by: the fold whose model gives a case's coarse map. in_fold: cases whose model was trained on them.

    missing: folds without a checkpoint.
    """

    served_by: Mapping[str, Fold]
    in_fold: tuple[str, ...]
    missing: tuple[Fold, ...]


def assign(
    splits: Sequence[Mapping[str, Sequence[str]]], trained: Sequence[Fold], own: Fold, *, coarse_maps: str
) -> Service:
    """Serves every case of `splits` (nnU-Net's splits_final.json) with a fold out of `trained`.

    own: the fold whose refiner is trained; it serves its own validation cases, and those whose own model is missing.
    coarse_maps: "out-of-fold", or "in-fold": `own` serves all. Raises DataError where a case is held out twice.
    """
    served: dict[str, Fold] = {}
    in_fold: list[str] = []
    held_out: dict[str, int] = {}
    for fold, split in enumerate(splits):
        for case in split["val"]:
            if case in held_out:
                raise DataError(
                    f"splits_final.json holds case {case} out in folds {held_out[case]} and {fold}; out-of-fold maps "
                    "need folds that hold every case out once"
                )
            held_out[case] = fold
    for case in sorted({case for split in splits for part in ("train", "val") for case in split[part]}):
        fold_of_case = held_out.get(case)
        wanted = own if coarse_maps == "in-fold" or fold_of_case is None else fold_of_case
        served[case] = wanted if wanted in trained else own
        if served[case] != fold_of_case:
            in_fold.append(case)
    missing = [fold for fold in range(len(splits)) if fold not in trained]
    return Service(served, tuple(in_fold), tuple(missing))


class FoldModels:
    """The frozen stage 1 networks by fold, each asked for the cases that it serves."""

    def __init__(self, networks: Mapping[Fold, nn.Module], service: Service) -> None:
        self.networks = {fold: network.requires_grad_(False).eval() for fold, network in networks.items()}
        self.service = service

    @torch.no_grad()
    def logits(self, images: Tensor, cases: Sequence[str]) -> Tensor:
        """Coarse logits (B, R, D, H, W), float32, of images (B, C, D, H, W), one case a sample."""
        maps = [
            self.networks[self.service.served_by[case]](image[None]) for image, case in zip(images, cases, strict=True)
        ]
        return torch.cat(maps).float()


def trained_folds(folder: Path) -> list[Fold]:
    """The folds of a model folder that hold a final checkpoint."""
    found = [path.parent.name.removeprefix("fold_") for path in sorted(folder.glob(f"fold_*/{CHECKPOINT}"))]
    return [int(name) if name.isdecimal() else name for name in found]


def check_same_plans(folder: Path, plans: Mapping[str, Any], configuration: str) -> None:
    """Raises ConfigurationError unless the models in `folder` were trained with this configuration of these plans."""
    saved = read_checked(folder / "plans.json", _Plans, "restore it, or train stage 1 again")
    theirs = saved.configurations.get(configuration, {})
    ours = plans["configurations"][configuration]
    different = [name for name in _SHARED if theirs.get(name) != ours.get(name)]
    # Patients may lack images only where both stages have met such patches.
    sections = plans.get(SECTION, {}), saved.comnet
    withheld_now, withheld_then = (bool(section.get("modality_dropout")) for section in sections)
    if withheld_now and not withheld_then:
        different.append("modality_dropout")
    if different:
        raise ConfigurationError(
            f"the stage 1 checkpoints in {folder} were trained with other plans ({', '.join(different)} differ): train "
            "stage 1 again with these plans, or the refiner with those"
        )


def check_same_split(folder: Path, splits: Sequence[Mapping[str, Sequence[str]]], fold: Fold) -> None:
    """Raises DataError where a fold's validation folder holds other cases than the split: it was trained on another."""
    validated = {path.name.split(".")[0] for path in (folder / f"fold_{fold}" / "validation").glob("*.nii.gz")}
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
