"""Frozen stage 1 models: found, checked, and asked for the coarse map of the cases that each held out.

In-sample coarse maps are better than any that the refiner meets later; a refiner trained on them learns to do little.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from nnunetv2.utilities.file_path_utilities import get_output_folder
from pydantic import BaseModel
from torch import Tensor, nn

from nnunetv2_comnet.crossval import (
    OUT_OF_FOLD,
    SPLITS,
    Fold,
    OutOfFold,
    Split,
    folds_with,
    read_splits,
    serve,
    validation_folder,
)
from nnunetv2_comnet.errors import ConfigurationError, DataError
from nnunetv2_comnet.files import read_checked, sha256, write_json
from nnunetv2_comnet.plans import SECTION
from nnunetv2_comnet.trainers.loop import FINAL
from nnunetv2_comnet.trainers.recipe import RecipeTrainer
from nnunetv2_comnet.trainers.user_errors import AnotherNetworksCheckpoint
from nnunetv2_comnet.trust.checkpoints import read_checkpoint

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
        """Computes coarse logits (B, R, D, H, W), float32, of images (B, C, D, H, W), one case a sample."""
        maps = [
            self.networks[self.service.served_by[case]](image[None]) for image, case in zip(images, cases, strict=True)
        ]
        return torch.cat(maps).float()


class FrozenStageTrainer(RecipeTrainer):
    """Loads the stage 1 checkpoints of the same dataset, plans and configuration before its own training starts."""

    stage_1: ClassVar[type[RecipeTrainer]]
    fold_models: FoldModels

    def _prepare(self) -> None:
        """Loads the frozen models too; logs and writes down which serves which case."""
        super()._prepare()
        if not self.was_initialized:
            self.initialize()
        folder = self._stage_1_folder()
        trained = folds_with(folder, FINAL)
        if self.fold not in trained:
            raise DataError(self._what_is_missing(folder, trained))
        check_same_plans(folder, self.plans_manager.plans, self.configuration_name)
        splits = self._splits()
        service = serve(splits, trained, self.fold, coarse_maps=self.settings.refiner.coarse_maps)
        used = sorted(set(service.served_by.values()) | {self.fold}, key=str)
        networks = {}
        for fold in used:
            check_same_split(folder, splits, fold)
            network = self._coarse_network()
            try:
                network.load_state_dict(read_checkpoint(folder / f"fold_{fold}" / FINAL)["network_weights"])
            except AnotherNetworksCheckpoint as error:
                said = str(error).removeprefix("comnet: error: ")
                raise DataError(f"{folder / f'fold_{fold}' / FINAL}: {said}") from error
            networks[fold] = network.to(self.device)
        # This fold's own model is saved with the network that is trained.
        self._bare_network().get_submodule("coarse").load_state_dict(networks[self.fold].state_dict())
        self.fold_models = FoldModels(networks, service)
        self._report(folder, service, used, self._untrained(trained))

    def _stage_1_folder(self) -> Path:
        plans = self.plans_manager
        names = plans.dataset_name, self.stage_1.__name__, plans.plans_name, self.configuration_name
        return Path(get_output_folder(*names))

    def _what_is_missing(self, folder: Path, trained: list[Fold]) -> str:
        missing = [self.fold, *(fold for fold in self._untrained(trained) if fold != self.fold)]
        commands = "; ".join(
            f"nnUNetv2_train {self.plans_manager.dataset_name} {self.configuration_name} {fold} "
            f"-tr {self.stage_1.__name__} -p {self.plans_manager.plans_name}"
            for fold in missing
        )
        return f"stage 1 is missing {FINAL} of fold(s) {', '.join(map(str, missing))} in {folder}; train: {commands}"

    def _untrained(self, trained: list[Fold]) -> list[int]:
        return [fold for fold in range(len(self._splits())) if fold not in trained]

    def _splits(self) -> list[Split]:
        self.do_split()  # nnU-Net writes the file where there is none
        return read_splits(Path(self.preprocessed_dataset_folder_base) / SPLITS)

    def _coarse_network(self) -> nn.Module:
        return self.stage_1.build_network_architecture(
            self.plans_manager,
            self.configuration_manager,
            self.num_input_channels,
            self.label_manager.num_segmentation_heads,
            False,
        )

    def _report(self, folder: Path, service: OutOfFold, used: list[Fold], missing: list[int]) -> None:
        """Writes the log's lines and out_of_fold.json."""
        of_folds = ", ".join(str(fold) for fold in used)
        self.print_to_log_file(
            f"coarse maps: {len(service.served_by) - len(service.in_fold)} of {len(service.served_by)} cases by the "
            f"stage 1 model that did not see them (folds {of_folds} of {folder})"
        )
        warning = ""
        if service.in_fold:
            in_fold = self.settings.refiner.coarse_maps == "in-fold"
            why = "coarse_maps = in-fold" if in_fold else "no fold held them out"
            if missing:
                why = f"no checkpoint of fold(s) {', '.join(map(str, missing))}"
            warning = (
                f"{len(service.in_fold)} cases get in-fold coarse maps, better than any that a new patient gets ({why})"
            )
            self.print_to_log_file(f"WARNING: {warning}")
        if self.local_rank == 0:
            paths = {str(fold): folder / f"fold_{fold}" / FINAL for fold in used}
            stage_1 = {fold: {"path": str(path), "sha256": sha256(path)} for fold, path in paths.items()}
            record = service.model_copy(update={"stage_1": stage_1, "warning": warning})
            write_json(os.path.join(self.output_folder, OUT_OF_FOLD), record.model_dump(mode="json"))


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
