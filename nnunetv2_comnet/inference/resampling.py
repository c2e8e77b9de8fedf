"""From a patient's images to the network's grid, and from its maps back to the patient's own grid, as nnU-Net does."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nnunetv2_comnet.errors import DataError
from nnunetv2_comnet.inference.images import Properties, read_images
from nnunetv2_comnet.nifti import MOST_VOXELS
from nnunetv2_comnet.plans import MISSING_CHANNEL

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Grids:
    """The grids of one model's images, by nnU-Net's managers of plans, configuration and labels.

    channels: their names. writer: nnU-Net's reader and writer. Where the images have the plans' spacing already,
    nnU-Net's resampling returns what it was given, without a copy.
    """

    plans: Any
    configuration: Any
    labels: Any
    dataset_json: dict[str, Any]
    channels: Sequence[str]
    writer: Any

    @property
    def zero_outside(self) -> bool:
        """Whether preprocessing leaves every channel at 0 outside the brain.

        It does where z-scores are taken within the brain, as our plans say. Elsewhere the background's value is not
        known, and nothing may be left out because of it.
        """
        schemes, masked = self.configuration.normalization_schemes, self.configuration.use_mask_for_norm
        return all(scheme == "ZScoreNormalization" for scheme in schemes) and all(masked)

    def preprocess(self, images: Sequence[Path | None]) -> tuple[Tensor, Properties]:
        """Reads, checks and preprocesses images: (C, D, H, W) float32, the same as nnU-Net's run_case.

        A channel whose image is None holds `MISSING_CHANNEL`, as in training; crop and grid are those of the others.
        Raises `DataError` as `read_images` does, and for images that are too small or too large for a head.
        """
        missing_channels = [channel for channel, image in enumerate(images) if image is None]
        there = [channel for channel in range(len(self.channels)) if channel not in missing_channels]
        read, properties = read_images(
            self.writer, [image for image in images if image is not None], [self.channels[channel] for channel in there]
        )
        self._require_possible_size(read.shape[1:], properties["spacing"])
        data = np.zeros((len(self.channels), *read.shape[1:]), read.dtype)
        data[there] = read
        preprocessor = self.configuration.preprocessor_class(verbose=False)
        data, _, properties = preprocessor.run_case_npy(
            data, None, properties, self.plans, self.configuration, self.dataset_json
        )
        data[missing_channels] = MISSING_CHANNEL
        return torch.from_numpy(data).to(torch.float32, memory_format=torch.contiguous_format), properties

    def _require_possible_size(self, shape: Sequence[int], spacing_mm: Sequence[float]) -> None:
        """Raises `DataError` where images (the reader's axes) would have no voxel, or too many, on the model's grid."""
        axes, voxels_mm = self.plans.transpose_forward, self.configuration.spacing
        sides = [shape[axis] * spacing_mm[axis] / size for axis, size in zip(axes, voxels_mm, strict=True)]
        if min(sides) < 1 or math.prod(sides) > MOST_VOXELS:
            extent = " x ".join(f"{side * size:g}" for side, size in zip(sides, voxels_mm, strict=True))
            raise DataError(f"the images measure {extent} mm, which cannot be a head: is their spacing in millimetres?")

    def resampled(self, maps: Tensor, properties: Properties) -> Array:
        """Resamples maps (R, D, H, W) from the plans' spacing to the input's, still cropped."""
        resampled = self.configuration.resampling_fn_probabilities(
            maps.numpy(),
            properties["shape_after_cropping_and_before_resampling"],
            self.configuration.spacing,
            [properties["spacing"][axis] for axis in self.plans.transpose_forward],
        )
        return np.asarray(resampled)

    def probabilities(self, logits: Tensor, properties: Properties) -> Array:
        """Resamples logits, and computes probabilities from them: on the input's voxels, cropped, float32."""
        probabilities = self.labels.apply_inference_nonlin(self.resampled(logits, properties))
        return cast(Array, probabilities.numpy())

    def on_input_grid(self, maps: Array, properties: Properties) -> Array:
        """Undoes cropping (0 outside) and transposition: (R, Z, Y, X) in the reader's axes."""
        whole = self.labels.revert_cropping_on_probabilities(
            maps, properties["bbox_used_for_cropping"], properties["shape_before_cropping"]
        )
        return np.ascontiguousarray(whole.transpose([0, *(axis + 1 for axis in self.plans.transpose_backward)]))
