"""Modality dropout: a training patch that lacks some of its images, as a patient may lack them."""

import torch
from batchgeneratorsv2.transforms.base.basic_transform import ImageOnlyTransform

from nnunetv2_comnet.plans import WITHHELD


class WithholdImages(ImageOnlyTransform):
    """Image (C, D, H, W), C >= 2: some channels, never none or all, hold `WITHHELD` everywhere. Any set is as likely.

    The network needs no further input to see it: of an image that is there, no neighbourhood within the brain is
    constant.
    """

    def get_parameters(self, **data_dict: torch.Tensor) -> dict[str, list[int]]:
        """Draws the channels that are withheld."""
        channels = len(data_dict["image"])
        chosen = int(torch.randint(1, 2**channels - 1, ()))  # one bit a channel
        return {"withheld": [channel for channel in range(channels) if chosen >> channel & 1]}

    def _apply_to_image(self, img: torch.Tensor, withheld: list[int]) -> torch.Tensor:
        img[withheld] = WITHHELD
        return img
