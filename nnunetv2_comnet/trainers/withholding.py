"""Modality dropout: channels of a training patch are set missing at random, as a patient's may be."""

import torch
from batchgeneratorsv2.transforms.base.basic_transform import ImageOnlyTransform

from nnunetv2_comnet.plans import MISSING_CHANNEL


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
