"""Sizes, defaults and ranges of the networks, once: the settings hold them, and the networks are built from them.

The paper's values are the defaults.
"""

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Axes = tuple[int, int, int]
NetworkSize = Literal["S", "B", "M", "L"]
KernelSize = Literal[3, 5]
Checkpointing = Literal["none", "expansion", "block"]
GpuKernels = Literal["torch", "triton"]

STRIDES: tuple[Axes, ...] = ((1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2))  # of MedNeXt's five levels
SIDE_DIVISOR = 16  # of MedNeXt's patches: four halvings between the first and the last level
SMOOTHING = 1e-5  # epsilon of the Dice and DSC++ terms
OLD_PREDICTION_TYPES = {"v": "v_prediction", "noise": "epsilon"}


class Configuration(BaseModel):
    """Values that stay as they are. Unknown keys and values out of range are refused, by a field's present name."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, loc_by_alias=False)


def renamed(new: str, *old: str) -> AliasChoices:
    """Makes the alias of a renamed field: older plans have the old names."""
    return AliasChoices(new, *old)


def old_names(model: type[BaseModel]) -> dict[str, str]:
    """Maps each name that a field had before to its present one."""
    aliases = {name: field.validation_alias for name, field in model.model_fields.items()}
    return {
        str(old): name
        for name, alias in aliases.items()
        if isinstance(alias, AliasChoices)
        for old in alias.choices
        if old != name
    }


class MedNeXtOptions(Configuration):
    """What plans can say of MedNeXt; its defaults are the paper's MedNeXt-B."""

    network_size: NetworkSize = Field("B", description="MedNeXt size.")
    kernel_size: KernelSize = Field(3, description="Side of the depthwise kernels, voxels.")
    base_channels: int = Field(32, ge=4, description="Channels of the first level (official sizes: 32).")
    grn: bool = Field(True, description="Global Response Normalization in every block.")
    checkpointing: Checkpointing = Field("none", description="What is recomputed in the backward pass instead of kept.")
    gpu_kernels: GpuKernels = Field(
        "torch", description="MedNeXt's kernels on a GPU: PyTorch's, or ours, which nobody has timed yet."
    )

    def architecture(self) -> dict[str, Any]:
        """Returns the `architecture` entry of an nnU-Net configuration that builds this network by its import path."""
        return {
            "network_class_name": "nnunetv2_comnet.networks.mednext_from_plans",
            "arch_kwargs": {
                "size": self.network_size,
                "kernel_size": self.kernel_size,
                "base_channels": self.base_channels,
                "grn": self.grn,
                "checkpointing": self.checkpointing,
                "gpu_kernels": self.gpu_kernels,
                "n_stages": len(STRIDES),
                "strides": [list(stride) for stride in STRIDES],
            },
            "_kw_requires_import": [],
        }


class SegResNetConfig(Configuration):
    """The `segresnet` part of the `comnet` section: the baseline's network, in the sizes of MONAI's BraTS bundle.

    How it is trained is shared with stage 1.
    """

    init_filters: int = Field(16, ge=8, multiple_of=8, description="Channels of SegResNet's first level.")
    blocks_down: tuple[int, int, int, int] = Field((1, 2, 2, 4), description="Residual blocks per encoder level.")
    blocks_up: tuple[int, int, int] = Field((1, 1, 1), description="Residual blocks per decoder level.")
    dropout: float = Field(0.2, ge=0, lt=1, description="Dropout after the first convolution.")

    @model_validator(mode="after")
    def _consistent(self) -> "SegResNetConfig":
        if min(*self.blocks_down, *self.blocks_up) < 1:
            raise ValueError(f"blocks_down {self.blocks_down}, blocks_up {self.blocks_up}: each must be 1 or more")
        return self


class RefinerConfig(Configuration):
    """What defines the refiner's networks, but for the channels of image and coarse map (docs: method)."""

    patch_size: Axes = Field((96, 96, 96), description="What is refined at once, voxels; cut to stage 1's patch.")
    downsampling: Literal[2, 4] = Field(2, description="Voxels per latent voxel; 4 loses most small lesions.")
    channels: int = Field(32, ge=4, description="Channels of condition network and denoiser, first level.")
    autoencoder_channels: int = Field(32, ge=4, description="Channels of the residual autoencoder.")
    latent_channels: int = Field(8, ge=1, description="Numbers per latent voxel.")
    quantizer: Literal["ema", "fsq"] = Field("ema", description="Learned codebook, or finite scalar quantisation.")
    codebook_size: int = Field(512, ge=2, description="Codes of the learned codebook.")
    snap: bool = Field(True, description="A sampled latent becomes its nearest code before it is decoded.")
    objective: Literal["diffusion", "deterministic"] = Field(
        "diffusion", description="deterministic: the same network without diffusion, a baseline."
    )
    prediction_type: Annotated[
        Literal["v_prediction", "epsilon"], BeforeValidator(lambda name: OLD_PREDICTION_TYPES.get(str(name), name))
    ] = Field(
        "v_prediction",
        validation_alias=renamed("prediction_type", "parameterisation"),
        description="What the denoiser predicts; epsilon, the noise, is the paper's.",
    )
    num_train_timesteps: int = Field(
        200,
        ge=2,
        validation_alias=renamed("num_train_timesteps", "training_steps"),
        description="Timesteps of the diffusion's schedule.",
    )
    gate_low: float = Field(0.1, gt=0, lt=1, description="Entropy (bits) above which a voxel may be corrected.")
    gate_high: float = Field(0.4, gt=0, le=1, description="Entropy from which it may be corrected in full.")
    gate_reach: int = Field(2, ge=0, description="Voxels that the gate reaches beyond an uncertain one.")

    @model_validator(mode="after")
    def _shape_fits(self) -> "RefinerConfig":
        if any(side < SIDE_DIVISOR or side % SIDE_DIVISOR for side in self.patch_size):
            raise ValueError(f"patch_size {list(self.patch_size)}: every side must be a multiple of {SIDE_DIVISOR}")
        if self.gate_low >= self.gate_high:
            raise ValueError(f"gate_low {self.gate_low} must be below gate_high {self.gate_high}")
        return self

    @property
    def side_divisor(self) -> int:
        """What the sides of a patch must divide by: the latent grid is halved twice."""
        return 4 * self.downsampling
