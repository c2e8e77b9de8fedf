"""The paper's light augmentation and nothing else: flips, affine, gamma, noise, blur (batchgeneratorsv2).

Modality dropout, where planned, comes after all of it.
"""

import math
from collections.abc import Sequence

import torch
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform, ImageOnlyTransform, SegOnlyTransform
from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
from batchgeneratorsv2.transforms.intensity.gaussian_noise import GaussianNoiseTransform
from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.deep_supervision_downsampling import DownsampleSegForDSTransform
from batchgeneratorsv2.transforms.utils.nnunet_masking import MaskImageTransform
from batchgeneratorsv2.transforms.utils.random import RandomTransform
from batchgeneratorsv2.transforms.utils.remove_label import RemoveLabelTansform

from nnunetv2_comnet.plans import MISSING_CHANNEL
from nnunetv2_comnet.settings import Settings

FLIP_AXES = (0, 1, 2)


def rotation_range(settings: Settings) -> tuple[float, float]:
    """Returns the range of rotation about each axis, radians."""
    largest = math.radians(settings.rotation_degrees)
    return -largest, largest


def training_transforms(
    settings: Settings,
    patch_size: Sequence[int],
    scales: Sequence[Sequence[float]] | None,
    regions: Sequence[int | tuple[int, ...]],
    ignore_label: int | None,
    masked_channels: Sequence[bool],
) -> BasicTransform:
    """Makes image (C, D, H, W) and label map (1, D, H, W) an augmented patch and one region target per scale.

    The label map holds -1 outside the brain (nnU-Net's nonzero mask); channels in `masked_channels` are set back to 0
    there after the intensity transforms, as preprocessing left them.
    """
    geometry = [
        SpatialTransform(
            tuple(patch_size),
            patch_center_dist_from_border=0,
            random_crop=False,
            p_elastic_deform=0,
            p_rotation=settings.affine_probability,
            rotation=rotation_range(settings),
            p_scaling=settings.affine_probability,
            scaling=settings.scaling,
            p_synchronize_scaling_across_axes=1,
            bg_style_seg_sampling=False,
            border_mode_seg="constant",
            padding_value_seg=-1,
        )
    ]
    intensity = [
        RandomTransform(
            GaussianNoiseTransform(noise_variance=settings.noise_variance, p_per_channel=1, synchronize_channels=True),
            apply_probability=settings.noise_probability,
        ),
        RandomTransform(
            GaussianBlurTransform(
                blur_sigma=settings.blur_sigma, synchronize_channels=False, synchronize_axes=False, p_per_channel=0.5
            ),
            apply_probability=settings.blur_probability,
        ),
        RandomTransform(
            GammaTransform(
                gamma=settings.gamma, p_invert_image=0, synchronize_channels=False, p_per_channel=1, p_retain_stats=1
            ),
            apply_probability=settings.gamma_probability,
        ),
    ]
    # batchgeneratorsv2 flips an allowed axis with probability 1/2; the outer probability scales that.
    flips = [
        RandomTransform(MirrorTransform(allowed_axes=(axis,)), apply_probability=2 * settings.flip_probability)
        for axis in FLIP_AXES
    ]
    masked = [index for index, use in enumerate(masked_channels) if use]
    masking = [MaskImageTransform(apply_to_channels=masked, channel_idx_in_seg=0, set_outside_to=0)] if masked else []
    # Last of what is random: kept channels are what they were without it. At 0 nothing is drawn.
    dropout = [RandomTransform(ModalityDropout(), settings.modality_dropout)] if settings.modality_dropout else []
    return ComposeTransforms(
        [*geometry, *intensity, *flips, *masking, *dropout, *target_transforms(scales, regions, ignore_label)]
    )


def target_transforms(
    scales: Sequence[Sequence[float]] | None,
    regions: Sequence[int | tuple[int, ...]],
    ignore_label: int | None,
) -> list[BasicTransform]:
    """Makes a label map regions (R, D, H, W), with the ignore label as last channel, at every scale."""
    members = [*regions, ignore_label] if ignore_label is not None else list(regions)
    transforms: list[BasicTransform] = [
        RemoveLabelTansform(-1, 0),
        RegionsOfLabels(members),
    ]
    if scales is not None:
        transforms.append(DownsampleSegForDSTransform(ds_scales=scales))
    return transforms


class RegionsOfLabels(SegOnlyTransform):
    """Label map (1, D, H, W), whole numbers -> regions (R, D, H, W), bool.

    As batchgeneratorsv2's own ConvertSegmentationToRegionsTransform, which compares with floats: eight times slower.
    """

    def __init__(self, regions: Sequence[int | Sequence[int]]) -> None:
        super().__init__()
        self.regions = [(region,) if isinstance(region, int) else tuple(region) for region in regions]

    def _apply_to_segmentation(self, segmentation: torch.Tensor, **params: object) -> torch.Tensor:
        labels = segmentation[0]
        found = torch.zeros((len(self.regions), *labels.shape), dtype=torch.bool)
        for region, members in zip(found, self.regions, strict=True):
            for label in members:
                region |= labels == label
        return found


class ModalityDropout(ImageOnlyTransform):
    """Fills some channels of an image (C, D, H, W), C >= 2, with zeros; any set but none and all is as likely.

    The network needs no further input to see it: of an image that is there, no neighbourhood within the brain is
    constant.
    """

    def get_parameters(self, **data_dict: torch.Tensor) -> dict[str, list[int]]:
        """Draws the missing channels."""
        channels = len(data_dict["image"])
        chosen = int(torch.randint(1, 2**channels - 1, ()))  # one bit a channel
        return {"missing_channels": [channel for channel in range(channels) if chosen >> channel & 1]}

    def _apply_to_image(self, img: torch.Tensor, missing_channels: list[int]) -> torch.Tensor:
        img[missing_channels] = MISSING_CHANNEL
        return img
