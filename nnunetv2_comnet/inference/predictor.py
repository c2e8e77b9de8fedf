"""nnU-Net's predictor that averages the folds' probabilities and refines them.

Loading, preprocessing and resampling are nnU-Net's own, and so are the sliding window's tiles and weights. Averaging
"logits" is nnU-Net's whole prediction, up to the label map.
"""

import functools
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from torch import Tensor, nn

from nnunetv2_comnet.crossval import Fold
from nnunetv2_comnet.errors import ConfigurationError, DataError
from nnunetv2_comnet.inference.averaging import BESIDE, FoldAverage
from nnunetv2_comnet.inference.cases import NEEDS_ALL
from nnunetv2_comnet.inference.fold_maps import FoldMaps, FoldWeights, as_refined, bare
from nnunetv2_comnet.inference.images import Properties
from nnunetv2_comnet.inference.loading import (
    choose_device,
    extension_named,
    require_known_networks,
    require_usable,
    require_weights_fit,
    speed_up,
)
from nnunetv2_comnet.inference.model_folder import CHECKPOINT, open_model
from nnunetv2_comnet.inference.nnunet_output import nnunet_messages_to_log, one_line
from nnunetv2_comnet.inference.options import Options
from nnunetv2_comnet.inference.prediction import Prediction, Rules
from nnunetv2_comnet.inference.resampling import Array, Grids
from nnunetv2_comnet.plans import SECTION
from nnunetv2_comnet.refinement import RefinedNetwork
from nnunetv2_comnet.regions import Nesting
from nnunetv2_comnet.settings import parse_settings
from nnunetv2_comnet.strengths.strengths_file import read_strengths
from nnunetv2_comnet.trainers.device import tune_for_cpu
from nnunetv2_comnet.trust.checkpoints import never_unpickled, read_checkpoint


@dataclass(frozen=True)
class Prepared:
    """A preprocessed patient: (C, D, H, W) float32, and the properties that lead back to the patient's own grid."""

    data: Tensor
    properties: Properties


@dataclass(frozen=True)
class Computed:
    """The networks' answer for a patient: the folds' average, or stock nnU-Net's logits (R, D, H, W)."""

    properties: Properties
    average: FoldAverage | None = None
    logits: Tensor | None = None


class CoMNeTPredictor(nnUNetPredictor):
    """Predicts patients with the folds of one trained model: `CoMNeTPredictor(folder).predict(images)`.

    Args:
        model_folder: what nnU-Net trained into, with plans.json, dataset.json and fold_*; any 3D model of regions.
        folds: numbers or "all"; None takes every numbered fold that has `checkpoint`.
        options: how the folds become one prediction.
        checkpoint: name of the file in each fold's folder.
        device: "auto" (a GPU where there is one), "cpu", "cuda" or "mps".
        keep_on_device: False keeps whole volumes off the GPU.

    Raises:
        ConfigurationError: the model, a fold, a checkpoint or an option cannot be used.
        DataError: dataset.json or a checkpoint cannot be read.
    """

    network: nn.Module
    list_of_parameters: FoldWeights

    def __init__(
        self,
        model_folder: str | os.PathLike[str],
        folds: Sequence[Fold] | None = None,
        *,
        options: Options | None = None,
        checkpoint: str = CHECKPOINT,
        device: str = "auto",
        keep_on_device: bool = True,
    ) -> None:
        self.model = open_model(model_folder, folds, checkpoint)
        wanted = options or Options()
        self.dataset = self.model.dataset
        self.regions, self.channels = self.dataset.regions, list(self.dataset.channels)
        with nnunet_messages_to_log():
            super().__init__(
                tile_step_size=wanted.tile_step_size,
                use_mirroring=wanted.use_mirroring,
                perform_everything_on_device=keep_on_device,
                device=choose_device(device),
                allow_tqdm=False,
            )
        if self.device.type == "cpu":
            tune_for_cpu()
        self._load()
        refined = as_refined(self.network)
        self.options = wanted.for_model(self.regions, has_refiner=refined is not None)
        self.steps = self._choose_steps(refined)
        if refined is not None and self.options.refine == "none":
            # Stage 1 alone, which nnU-Net handles like any network.
            self.network, self.list_of_parameters = refined.coarse, self.list_of_parameters.below("coarse.")
        self.network.to(self.device).eval()
        speed_up(bare(self.network), self.device, self.options)
        if self.options.average == "probabilities":  # averaged logits are stock nnU-Net's, which leaves it as it is
            self.network.requires_grad_(False)  # so that nothing is kept for a backward pass
        self.writer = self.plans_manager.image_reader_writer_class()
        self.grids = Grids(
            plans=self.plans_manager,
            configuration=self.configuration_manager,
            labels=self.label_manager,
            dataset_json=self.dataset_json,
            channels=self.channels,
            writer=self.writer,
        )
        self.fold_maps = FoldMaps(
            self.network,
            self.model.folds,
            self.list_of_parameters,
            options=self.options,
            steps=self.steps,
            patch_size=self.configuration_manager.patch_size,
            mirror_axes=(self.allowed_mirroring_axes or ()) if self.use_mirroring else (),
            skip_background=self.grids.zero_outside,
            keep_on_device=self.perform_everything_on_device,  # nnU-Net turns it off except on a GPU
        )

    def predict(self, images: Sequence[str | os.PathLike[str] | None]) -> Prediction:
        """Predicts one patient.

        Args:
            images: one file per channel in the order of `channels`; None for a missing one, where
                `allows_missing_channels`.

        Raises:
            DataError: files are missing, unreadable, of different sizes, or too few or many.
        """
        return self.finish(self.compute(self.prepare(images)))

    def prepare(self, images: Sequence[str | os.PathLike[str] | None]) -> Prepared:
        """Reads and preprocesses, the first of the three stages of `predict`; may run in a thread beside the others."""
        if None in images and not self.allows_missing_channels:
            raise DataError(NEEDS_ALL)
        with torch.inference_mode(), nnunet_messages_to_log():
            return Prepared(*self.grids.preprocess([None if image is None else Path(image) for image in images]))

    def compute(self, patient: Prepared, wanted: Collection[str] = BESIDE) -> Computed:
        """Runs the networks, the second stage. wanted: maps beside the probabilities; the others will be None."""
        with torch.inference_mode(), nnunet_messages_to_log():
            if self.options.average == "logits":
                if (refined := as_refined(self.network)) is not None:
                    refined.strengths = self.strengths
                # The mean of the folds' logits in half precision.
                return Computed(patient.properties, logits=self.predict_logits_from_preprocessed_data(patient.data))
            # A GPU leaves the cores free to resample a fold's maps while it computes the next fold.
            average = FoldAverage(self.grids, patient.properties, wanted, behind=self.overlaps)
            for fold_map in self.fold_maps.each(self.fold_maps.window(patient.data), self.strengths):
                average.add(*fold_map)
            return Computed(patient.properties, average=average)

    def finish(self, computed: Computed, rules: Rules | None = None) -> Prediction:
        """Brings the average to the patient's own grid, and decides the label map; the last stage.

        Args:
            computed: what `compute` returned.
            rules: post-processing of the label map, from `load_postprocessing`.
        """
        properties = computed.properties
        with torch.inference_mode(), nnunet_messages_to_log():
            if computed.average is not None:
                maps = computed.average.maps()
            else:
                assert computed.logits is not None
                cropped = self.grids.probabilities(computed.logits, properties)
                maps = {"probabilities": self.grids.on_input_grid(cropped, properties)}
        if self.options.nested:
            maps["probabilities"] = self.regions.nested(maps["probabilities"])
        nesting: Nesting = "full" if self.options.nested else "none"
        prediction = Prediction(
            label_map=self.regions.decided(maps["probabilities"], self.options.thresholds, nesting),
            probabilities=maps["probabilities"],
            disagreement=maps.get("disagreement"),
            spread=maps.get("spread"),
            correction=maps.get("correction"),
            regions=self.regions,
            spacing_mm=tuple(float(side) for side in properties["spacing"]),
            properties=properties,
            writer=self.writer,
        )
        return prediction if rules is None else replace(prediction, label_map=rules(prediction))

    @functools.cached_property
    def allows_missing_channels(self) -> bool:
        """Whether the model was trained with modality dropout, so that some of a patient's images may be missing."""
        section = self.plans_manager.plans.get(SECTION)
        return section is not None and parse_settings(section, "the model's plans.json").modality_dropout > 0

    @property
    def overlaps(self) -> bool:
        """Whether reading and writing run beside the network; on a CPU they would take its cores."""
        return self.device.type != "cpu"

    @functools.cached_property
    def strengths(self) -> tuple[float, ...]:
        """alpha per region: the caller's, else calibration.json's, else the network's; () where nothing is refined.

        Stock nnU-Net does not know calibration.json, so averaging logits takes the network's own. Raises
        `ConfigurationError` for the strengths of another model.
        """
        refined = as_refined(self.network)
        if refined is None:
            return ()
        strengths: Sequence[float] | None = None
        if self.options.average == "probabilities":
            strengths = read_strengths(self.model.path, list(self.regions), self.model.folds)
        own = zip(self.regions, strengths or refined.strengths, strict=True)
        return tuple(self.options.strengths.get(name, value) for name, value in own)

    def coarse_and_correction(self, data: Tensor, properties: Properties) -> tuple[Array, Array]:
        """Computes the first fold's coarse logits of a preprocessed case (C, D, H, W), and its full correction.

        Both are (R, ...) float32 on the input's voxels, still cropped and in the plans' axes. Raises
        `ConfigurationError` for a model without a refiner.
        """
        if as_refined(self.network) is None:
            raise ConfigurationError(f"the model in {self.model.path} has no refiner")
        with torch.inference_mode(), nnunet_messages_to_log():
            window = self.fold_maps.window(data)
            fold = self.fold_maps.load(0)
            logits = self.fold_maps.coarse(window)
            refined = self.fold_maps.refine(fold, window, logits, (1.0,) * len(self.regions))
            return (
                self.grids.resampled(logits.cpu(), properties).astype(np.float32),
                self.grids.resampled(refined.correction.cpu(), properties),
            )

    def predict_sliding_window_return_logits(self, input_image: Tensor) -> Tensor:
        """Computes the logits (R, D, H, W) of a preprocessed image with the current weights; half.

        They are nnU-Net's where logits are averaged; else our window's, by the network before any refinement.
        """
        if self.options.average == "logits":
            logits: Tensor = super().predict_sliding_window_return_logits(input_image)
            return logits
        with torch.inference_mode():
            return self.fold_maps.coarse(self.fold_maps.window(input_image))

    def _load(self) -> None:
        """Loads as nnU-Net does, but never unpickles, finds our trainers by itself, and puts errors on one line."""
        folder = self.model.path
        read_checkpoint(self.model.checkpoints[0])  # refuses a broken one with a message that says what is wrong
        require_known_networks(folder / "plans.json")
        try:
            with extension_named(), never_unpickled(), nnunet_messages_to_log():
                self.initialize_from_trained_model_folder(
                    str(folder), list(self.model.folds[:1]), self.model.checkpoint
                )
            require_usable(self.plans_manager, self.configuration_manager, self.dataset, folder)
        except ConfigurationError:
            raise
        except (Exception, SystemExit) as error:  # broken files and foreign trainers throw anything
            reason = one_line(error).removeprefix("comnet: error: ")
            raise ConfigurationError(f"the model in {folder} cannot be loaded: {reason}") from error
        self.list_of_parameters = FoldWeights(self.model.checkpoints)
        require_weights_fit(bare(self.network), self.list_of_parameters, self.model)

    def _choose_steps(self, refined: RefinedNetwork | None) -> int:
        """Returns the reverse steps: the caller's, else the model's; 0 where nothing is refined."""
        if refined is None or self.options.refine == "none":
            return 0
        most = refined.ema.config.num_train_timesteps
        steps = self.options.steps or refined.sampling.num_inference_steps
        if steps > most:
            raise ConfigurationError(f"steps must be from 1 to {most} for this model, got {steps}")
        return steps
