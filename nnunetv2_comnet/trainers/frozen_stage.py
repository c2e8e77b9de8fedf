"""What a trainer needs that builds on frozen stage 1 models: finding them, checking them, saying who serves whom."""

import os
from pathlib import Path
from typing import ClassVar

from nnunetv2.utilities.file_path_utilities import get_output_folder
from torch import nn

from nnunetv2_comnet.crossval import OUT_OF_FOLD, SPLITS, Fold, OutOfFold, Split, folds_with, read_splits, serve
from nnunetv2_comnet.errors import DataError
from nnunetv2_comnet.files import sha256, write_json
from nnunetv2_comnet.trainers.out_of_fold import (
    CHECKPOINT,
    FoldModels,
    check_same_plans,
    check_same_split,
    load_weights,
)
from nnunetv2_comnet.trainers.recipe import RecipeTrainer
from nnunetv2_comnet.trainers.user_errors import AnotherNetworksCheckpoint, one_line_errors


class FrozenStageTrainer(RecipeTrainer):
    """Loads the stage 1 checkpoints of the same dataset, plans and configuration before its own training starts."""

    stage_1: ClassVar[type[RecipeTrainer]]
    fold_models: FoldModels

    @property
    def _own_stage_1(self) -> nn.Module:
        """The frozen network within the one that is trained: this fold's own, saved with it."""
        return self._bare_network().get_submodule("coarse")

    @one_line_errors
    def on_train_start(self) -> None:
        """Loads the frozen models before anything else happens; says and writes down who serves whom."""
        self._require_data()
        if not self.was_initialized:
            self.initialize()
        self._load_stage_1()
        super().on_train_start()

    def _load_stage_1(self) -> None:
        folder = self._stage_1_folder()
        trained = folds_with(folder, CHECKPOINT)
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
                network.load_state_dict(load_weights(folder, fold))
            except AnotherNetworksCheckpoint as error:
                said = str(error).removeprefix("comnet: error: ")
                raise DataError(f"{folder / f'fold_{fold}' / CHECKPOINT}: {said}") from error
            networks[fold] = network.to(self.device)
        self._own_stage_1.load_state_dict(networks[self.fold].state_dict())
        self.fold_models = FoldModels(networks, service)
        self._report(folder, service, used, self._untrained(trained))

    def _stage_1_folder(self) -> Path:
        plans = self.plans_manager
        return Path(
            get_output_folder(plans.dataset_name, self.stage_1.__name__, plans.plans_name, self.configuration_name)
        )

    def _what_is_missing(self, folder: Path, trained: list[Fold]) -> str:
        missing = [self.fold, *(fold for fold in self._untrained(trained) if fold != self.fold)]
        commands = "; ".join(
            f"nnUNetv2_train {self.plans_manager.dataset_name} {self.configuration_name} {fold} "
            f"-tr {self.stage_1.__name__} -p {self.plans_manager.plans_name}"
            for fold in missing
        )
        return (
            f"stage 1 is missing {CHECKPOINT} of fold(s) {', '.join(map(str, missing))} in {folder}; train: {commands}"
        )

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
        """The log's lines and out_of_fold.json."""
        of_folds = ", ".join(str(fold) for fold in used)
        self.print_to_log_file(
            f"coarse maps: {len(service.served_by) - len(service.in_fold)} of {len(service.served_by)} cases by the "
            f"stage 1 model that did not see them (folds {of_folds} of {folder})"
        )
        warning = ""
        if service.in_fold:
            why = (
                f"no checkpoint of fold(s) {', '.join(map(str, missing))}"
                if missing
                else "coarse_maps = in-fold"
                if self.settings.refiner.coarse_maps == "in-fold"
                else "no fold held them out"
            )
            warning = (
                f"{len(service.in_fold)} cases get in-fold coarse maps, better than any that a new patient gets ({why})"
            )
            self.print_to_log_file(f"WARNING: {warning}")
        if self.local_rank == 0:
            stage_1 = {str(fold): self._checkpoint_entry(folder, fold) for fold in used}
            record = service.model_copy(update={"stage_1": stage_1, "warning": warning})
            write_json(os.path.join(self.output_folder, OUT_OF_FOLD), record.model_dump(mode="json"))

    @staticmethod
    def _checkpoint_entry(folder: Path, fold: Fold) -> dict[str, str]:
        path = folder / f"fold_{fold}" / CHECKPOINT
        return {"path": str(path), "sha256": sha256(path)}
