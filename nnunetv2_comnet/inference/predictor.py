"""nnU-Net's predictor that averages the folds' probabilities and refines, the one file that touches theirs.

Loading, preprocessing, the sliding window and resampling are nnU-Net's own; averaging "logits" is theirs altogether.
"""

import functools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from torch import Tensor, nn

from nnunetv2_comnet.calibration import read_strengths
from nnunetv2_comnet.errors import ConfigurationError
from nnunetv2_comnet.inference.decision import decide, nest
from nnunetv2_comnet.inference.fold_weights import FoldWeights
from nnunetv2_comnet.inference.images import Properties, read_images
from nnunetv2_comnet.inference.loading import choose_device, extension_named, require_usable, require_weights_fit
from nnunetv2_comnet.inference.messages import nnunet_messages_to_log, one_line
from nnunetv2_comnet.inference.model_folder import CHECKPOINT, Fold, channels_of, open_model, regions_of
from nnunetv2_comnet.inference.options import Options
from nnunetv2_comnet.inference.prediction import Prediction
from nnunetv2_comnet.inference.running import RunningMean
from nnunetv2_comnet.refinement import RefinedNetwork, RefinedVolume, Sampling, refine_volume
from nnunetv2_comnet.trainers.processor import tune_for_cpu

LEAST_PROBABILITY = 1e-6  # of the averaged map, before its logits are taken
Array = npt.NDArray[Any]


class CoMNeTPredictor(nnUNetPredictor):
    """Predicts patients with the folds of one trained model: `CoMNeTPredictor(folder).predict(images)`.

    model_folder: what nnU-Net trained into, with plans.json, dataset.json and fold_*; any 3D model of regions will do.
    folds: numbers or "all"; None takes every numbered fold that has `checkpoint`. device: "auto" (a GPU where there is
    one), "cpu", "cuda", "mps". keep_on_device: False keeps whole volumes off the GPU. Raises `ConfigurationError` for
    a model, fold, checkpoint or option that cannot be used.
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
        self.regions = regions_of(self.model.dataset_json())
        self.channels = channels_of(self.model.dataset_json())
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
        refined = self._refined_network()
        self.options = wanted.for_model(list(self.regions), has_refiner=refined is not None)
        self.steps = self._choose_steps(refined)
        if refined is not None and self.options.refine == "none":
            self._keep_coarse(refined)
        self.network.to(self.device).eval()
        self.writer = self.plans_manager.image_reader_writer_class()

    def predict(self, images: Sequence[str | os.PathLike[str]]) -> Prediction:
        """Predicts one patient from its files, one per channel in the order of `channels`.

        Raises `DataError` for files that are missing, unreadable, of different grids, or too few or many.
        """
        with torch.inference_mode(), nnunet_messages_to_log():
            data, properties = self._preprocess([Path(image) for image in images])
            maps = self._averaged_logits if self.options.average == "logits" else self._averaged_probabilities
            probabilities, others = maps(data, properties)
        if self.options.nested:
            probabilities = nest(probabilities, self.regions)
        labels = decide(
            probabilities,
            self.regions,
            self.label_manager.regions_class_order,
            self.options.thresholds,
            self.options.nested,
        )
        return Prediction(
            label_map=labels,
            probabilities=probabilities,
            disagreement=others.get("disagreement"),
            spread=others.get("spread"),
            correction=others.get("correction"),
            regions=self.regions,
            spacing_mm=tuple(float(side) for side in properties["spacing"]),
            properties=properties,
            writer=self.writer,
        )

    @functools.cached_property
    def strengths(self) -> tuple[float, ...]:
        """alpha per region: the caller's, else the calibration's, else the network's own; () where nothing is refined.

        Stock nnU-Net knows no calibration, so averaging logits takes the network's own. Raises `ConfigurationError`
        for a calibration of another model.
        """
        refined = self._refined_network()
        if refined is None:
            return ()
        strengths: Sequence[float] | None = None
        if self.options.average == "probabilities":
            strengths = read_strengths(self.model.path, list(self.regions), self.model.folds)
        own = zip(self.regions, strengths or refined.strengths, strict=True)
        return tuple(self.options.strengths.get(name, value) for name, value in own)

    def coarse_and_correction(self, data: Tensor, properties: Properties) -> tuple[Array, Array]:
        """Of a preprocessed case (C, D, H, W), with the first fold: coarse logits, and the correction at full strength.

        Both (R, ...) float32 on the input's voxels, still cropped and in the plans' axes. Raises `ConfigurationError`
        for a model without a refiner.
        """
        if self._refined_network() is None:
            raise ConfigurationError(f"the model in {self.model.path} has no refiner")
        fold = next(self._each_fold())
        logits = self._coarse_logits(data)
        refined = self._refine(fold, data, logits, (1.0,) * len(self.regions))
        return (
            self._resampled(logits, properties).astype(np.float32),
            self._resampled(refined.correction, properties),
        )

    def _averaged_logits(self, data: Tensor, properties: Properties) -> tuple[Array, dict[str, Array]]:
        """Stock nnU-Net: mean of the folds' logits in half precision."""
        refined = self._refined_network()
        if refined is not None:
            refined.strengths = self.strengths
        logits = self.predict_logits_from_preprocessed_data(data)
        return self._on_input_grid(self._probabilities(logits, properties), properties), {}

    def _averaged_probabilities(self, data: Tensor, properties: Properties) -> tuple[Array, dict[str, Array]]:
        """The paper: mean of the folds' probabilities on the input's voxels, one fold in memory at a time."""
        mean = RunningMean(with_deviation=True)
        spread, correction = RunningMean(), RunningMean()
        for logits, refined in self._maps(data):
            if refined is not None:
                spread.add(self._resampled(refined.spread, properties))
                correction.add(self._resampled(refined.correction, properties))
                # Back in nnU-Net's half precision: where nothing was corrected, resampling gives the coarse map's bits.
                logits = refined.logits.to(logits.dtype)
            mean.add(self._probabilities(logits, properties))
        maps = {"disagreement": mean.deviation}
        if correction.count:
            maps |= {"spread": spread.mean, "correction": correction.mean}
        return (
            self._on_input_grid(mean.mean, properties),
            {name: self._on_input_grid(values, properties) for name, values in maps.items()},
        )

    def _maps(self, data: Tensor) -> Iterator[tuple[Tensor, RefinedVolume | None]]:
        """What is averaged, as `Options.refine` says: coarse logits, and what a refiner made of them."""
        order = self.options.refine
        if order == "cross":
            yield from self._crosswise(data)
            return
        ensemble = self._ensemble_logits(data) if order == "ensemble" else None
        for fold in self._each_fold():
            logits = self._coarse_logits(data) if ensemble is None else ensemble
            yield logits, None if order == "none" else self._refine(fold, data, logits, self.strengths)

    def _crosswise(self, data: Tensor) -> Iterator[tuple[Tensor, RefinedVolume]]:
        """Each fold's refiner on the map of the fold before it, the first fold's on the last one's."""
        before: Tensor | None = None
        for fold in self._each_fold():
            own = self._coarse_logits(data)
            if before is not None:
                yield before, self._refine(fold, data, before, self.strengths)
            before = own
        assert before is not None
        first = next(self._each_fold())
        yield before, self._refine(first, data, before, self.strengths)

    def _ensemble_logits(self, data: Tensor) -> Tensor:
        """Logits (R, D, H, W) of the folds' averaged coarse probabilities, float32, on the preprocessed grid."""
        mean = RunningMean()
        for _ in self._each_fold():
            mean.add(self._coarse_logits(data).float().sigmoid().numpy())
        return torch.logit(torch.from_numpy(mean.mean), eps=LEAST_PROBABILITY)

    def _each_fold(self) -> Iterator[Fold]:
        """The folds, with their weights in the network."""
        for fold, weights in zip(self.model.folds, self.list_of_parameters, strict=True):
            _bare(self.network).load_state_dict(weights)
            yield fold

    def _coarse_logits(self, data: Tensor) -> Tensor:
        """nnU-Net's sliding window with the network before any refinement: (R, D, H, W), half, on the CPU."""
        whole = self.network
        refined = self._refined_network()
        self.network = whole if refined is None else refined.coarse
        try:
            return self.predict_sliding_window_return_logits(data).cpu()
        finally:
            self.network = whole

    def _refine(self, fold: Fold, data: Tensor, logits: Tensor, strengths: Sequence[float]) -> RefinedVolume:
        """The fold's averaged refiner on coarse logits; folds draw independent noise, the same alone and in company."""
        refined = cast(RefinedNetwork, self._refined_network())
        options = self.options
        number = fold if isinstance(fold, int) else 0
        return refine_volume(
            refined.average,
            data,
            logits.float(),
            strengths=strengths,
            sampling=Sampling(self.steps, options.eta, options.samples, options.seed + number),
            tile_step=options.tile_step_size,
        )

    def _preprocess(self, images: Sequence[Path]) -> tuple[Tensor, Properties]:
        """nnU-Net's run_case in its two halves, so that what was read is checked in between."""
        data, properties = read_images(self.writer, images, self.channels)
        preprocessor = self.configuration_manager.preprocessor_class(verbose=False)
        data, _, properties = preprocessor.run_case_npy(
            data, None, properties, self.plans_manager, self.configuration_manager, self.dataset_json
        )
        return torch.from_numpy(data).to(torch.float32, memory_format=torch.contiguous_format), properties

    def _resampled(self, maps: Tensor, properties: Properties) -> Array:
        """Maps (R, D, H, W) from the plans' spacing to the input's, still cropped, in nnU-Net's own way."""
        spacing = [properties["spacing"][axis] for axis in self.plans_manager.transpose_forward]
        resampled = self.configuration_manager.resampling_fn_probabilities(
            maps.numpy(),
            properties["shape_after_cropping_and_before_resampling"],
            self.configuration_manager.spacing,
            spacing,
        )
        return np.asarray(resampled)

    def _probabilities(self, logits: Tensor, properties: Properties) -> Array:
        """Logits on the preprocessed grid -> probabilities on the input's voxels, cropped, float32."""
        probabilities = self.label_manager.apply_inference_nonlin(self._resampled(logits, properties))
        return cast(Array, probabilities.numpy())

    def _on_input_grid(self, maps: Array, properties: Properties) -> Array:
        """Undoes cropping (0 outside) and transposition: (R, Z, Y, X) in the reader's axes."""
        whole = self.label_manager.revert_cropping_on_probabilities(
            maps, properties["bbox_used_for_cropping"], properties["shape_before_cropping"]
        )
        return np.ascontiguousarray(whole.transpose([0, *(axis + 1 for axis in self.plans_manager.transpose_backward)]))

    def _load(self) -> None:
        """nnU-Net's loading, with every mistake in one line and our trainers found without a variable."""
        folder = self.model.path
        try:
            with extension_named(), nnunet_messages_to_log():
                self.initialize_from_trained_model_folder(
                    str(folder), list(self.model.folds[:1]), self.model.checkpoint
                )
        except (Exception, SystemExit) as error:  # broken files and foreign trainers throw anything
            reason = one_line(error).removeprefix("comnet: error: ")
            raise ConfigurationError(f"the model in {folder} cannot be loaded: {reason}") from error
        require_usable(self.plans_manager, self.configuration_manager, self.regions, folder)
        self.list_of_parameters = FoldWeights(self.model.checkpoints)
        require_weights_fit(_bare(self.network), self.list_of_parameters, self.model)

    def _choose_steps(self, refined: RefinedNetwork | None) -> int:
        """Reverse steps: the caller's, else the model's own; 0 where nothing is refined."""
        if refined is None or self.options.refine == "none":
            return 0
        most = refined.average.config.training_steps
        steps = self.options.steps or refined.sampling.steps
        if steps > most:
            raise ConfigurationError(f"steps must be from 1 to {most} for this model, got {steps}")
        return steps

    def _refined_network(self) -> RefinedNetwork | None:
        network = _bare(self.network)
        return network if isinstance(network, RefinedNetwork) else None

    def _keep_coarse(self, refined: RefinedNetwork) -> None:
        """Forgets the refiner: what is left is stage 1, which nnU-Net handles like any network."""
        self.network = refined.coarse
        self.list_of_parameters = self.list_of_parameters.below("coarse.")


def _bare(network: nn.Module) -> nn.Module:
    """The network within a compiled one."""
    return cast(nn.Module, getattr(network, "_orig_mod", network))
