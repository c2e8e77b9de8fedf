"""Every hyper-parameter of a training, as the `comnet` section of the plans file holds it, and the presets.

The paper's values (../docs/design.md names the sections) are the defaults; each appears here and nowhere else.
"""

from collections.abc import Mapping
from textwrap import shorten
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from nnunetv2_comnet.errors import ConfigurationError

Axes = tuple[int, int, int]
Range = tuple[float, float]
Probability = Annotated[float, Field(ge=0, le=1)]

LONGEST = 80  # characters of a wrong value in a message
SIDE_MULTIPLE = 16  # four halvings between the first and the last of the network's five levels


class RefinerSettings(BaseModel):
    """The `refiner` part of the `comnet` section: stage 2, CorrDiff. What it does not name is shared with stage 1."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    max_epochs: int = Field(50, ge=1, description="Epochs at most.")
    patience: int = Field(15, ge=1, description="Epochs without a better mean region Dice before training stops.")
    steps_per_epoch: int | None = Field(None, ge=1, description="Optimiser steps per epoch; stage 1's where not set.")
    keep_patches: bool = Field(
        False, description="Every epoch sees the first one's patches; they and their coarse maps are kept in memory."
    )
    learning_rate: float | None = Field(None, gt=0, description="AdamW's peak learning rate; stage 1's where not set.")
    coarse_maps: Literal["out-of-fold", "in-fold"] = Field(
        "out-of-fold", description="Which stage 1 model serves a training case: one that did not see it, or its own."
    )
    temperature: Range = Field((0.7, 1.5), description="Range of the random temperature of coarse logits in training.")
    codes_epochs: int = Field(10, ge=1, description="Epochs in which the residual's codes are learned; then they stay.")

    patch_size: Axes = Field((96, 96, 96), description="What is refined at once, voxels; cut to stage 1's patch.")
    crops: int = Field(2, ge=1, description="Refiner patches in a pass, out of one training patch of stage 1.")
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
    parameterisation: Literal["v", "noise"] = Field(
        "v", description="What the denoiser predicts; noise is the paper's."
    )
    training_steps: int = Field(200, ge=2, description="Times of the diffusion's schedule.")
    sampling_steps: int = Field(25, ge=1, description="Reverse steps in validation and prediction.")
    average_decay: float = Field(0.999, ge=0, lt=1, description="Of the moving average of the weights.")

    gate_low: float = Field(0.1, gt=0, lt=1, description="Entropy (bits) above which a voxel may be corrected.")
    gate_high: float = Field(0.4, gt=0, le=1, description="Entropy from which it may be corrected in full.")
    gate_reach: int = Field(2, ge=0, description="Voxels that the gate reaches beyond an uncertain one.")

    weight_diffusion: float = Field(1.0, ge=0, description="Weight of L_diff.")
    weight_reconstruction: float = Field(1.0, ge=0, description="Weight of L_recon.")
    weight_quantisation: float = Field(0.25, ge=0, description="Weight of L_vq.")
    weight_segmentation: float = Field(1.0, ge=0, description="Weight of L_seg.")

    strength: tuple[Probability, ...] = Field(
        (), description="alpha per region, in dataset.json's order; written by `comnet calibrate`. Empty: all 1."
    )

    @model_validator(mode="after")
    def _consistent(self) -> "RefinerSettings":
        if any(side < SIDE_MULTIPLE or side % SIDE_MULTIPLE for side in self.patch_size):
            raise ValueError(f"patch_size {list(self.patch_size)}: every side must be a multiple of {SIDE_MULTIPLE}")
        if self.gate_low >= self.gate_high:
            raise ValueError(f"gate_low {self.gate_low} must be below gate_high {self.gate_high}")
        if self.sampling_steps > self.training_steps:
            raise ValueError(
                f"sampling_steps {self.sampling_steps} must not exceed training_steps {self.training_steps}"
            )
        if not 0 < self.temperature[0] <= self.temperature[1]:
            raise ValueError(f"temperature {self.temperature} must be two values above 0 in rising order")
        return self


class SegResNetSettings(BaseModel):
    """The `segresnet` part of the `comnet` section: the baseline's network, in the sizes of MONAI's BraTS bundle.

    How it is trained is shared with stage 1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    init_filters: int = Field(16, ge=8, multiple_of=8, description="Channels of SegResNet's first level.")
    blocks_down: tuple[int, int, int, int] = Field((1, 2, 2, 4), description="Residual blocks per encoder level.")
    blocks_up: tuple[int, int, int] = Field((1, 1, 1), description="Residual blocks per decoder level.")
    dropout: float = Field(0.2, ge=0, lt=1, description="Dropout after the first convolution.")

    @model_validator(mode="after")
    def _consistent(self) -> "SegResNetSettings":
        if min(*self.blocks_down, *self.blocks_up) < 1:
            raise ValueError(f"blocks_down {self.blocks_down}, blocks_up {self.blocks_up}: each must be 1 or more")
        return self


class Settings(BaseModel):
    """The `comnet` section of a plans file. Unknown keys and values out of range are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    preset: str = Field("paper", description="The preset that the values started from.")

    network_size: Literal["S", "B", "M", "L"] = Field("B", description="MedNeXt size.")
    kernel_size: Literal[3, 5] = Field(3, description="Side of the depthwise kernels, voxels.")
    base_channels: int = Field(32, ge=4, description="Channels of the first level (official sizes: 32).")
    grn: bool = Field(True, description="Global Response Normalization in every block.")
    checkpointing: Literal["none", "expansion", "block"] = Field(
        "none", description="What is recomputed in the backward pass instead of kept."
    )
    gpu_kernels: Literal["torch", "triton"] = Field(
        "torch", description="MedNeXt's kernels on a GPU: PyTorch's, or ours, which nobody has timed yet."
    )

    patch_size: Axes = Field((112, 160, 128), description="Patch (S-I, A-P, L-R), voxels, before it is fitted.")
    batch_size: int = Field(1, ge=1, description="Patches per GPU and forward pass.")
    effective_batch_size: int = Field(2, ge=1, description="Patches per optimiser step, over all GPUs.")
    steps_per_epoch: int = Field(250, ge=1, description="Optimiser steps per epoch.")
    max_epochs: int = Field(150, ge=1, description="Epochs at most.")
    patience: int = Field(30, ge=1, description="Epochs without a better mean region Dice before training stops.")
    warmup_epochs: int = Field(5, ge=0, description="Epochs of linear warm-up before the cosine.")
    learning_rate: float = Field(1e-4, gt=0, description="AdamW's peak learning rate.")
    weight_decay: float = Field(1e-5, ge=0, description="AdamW's weight decay.")
    max_gradient_norm: float = Field(1.0, gt=0, description="Gradients are clipped to this norm.")
    precision: Literal["auto", "float32", "float16", "bfloat16"] = Field(
        "auto", description="auto: bfloat16 where the GPU has it, else float16; float32 on a CPU."
    )
    smoothing: float = Field(1e-5, gt=0, description="Epsilon of the Dice and DSC++ terms.")

    foreground_probability: Probability = Field(0.33, description="Share of patches centred on tumour.")
    save_every: int = Field(5, ge=1, le=10, description="Epochs between two writings of checkpoint_latest.")
    seed: int = Field(1234, ge=0, description="Seed of sampling, augmentation and initial weights.")

    flip_probability: float = Field(0.5, ge=0, le=0.5, description="Per axis.")
    affine_probability: Probability = Field(0.2, description="For rotation and for scaling, each.")
    rotation_degrees: float = Field(15.0, ge=0, le=180, description="Largest rotation about each axis.")
    scaling: Range = Field((0.9, 1.1), description="Range of the isotropic scaling.")
    gamma_probability: Probability = Field(0.3, description="Of a random gamma.")
    gamma: Range = Field((0.7, 1.5), description="Range of gamma.")
    noise_probability: Probability = Field(0.1, description="Of Gaussian noise.")
    noise_variance: Range = Field((0.0, 0.1), description="Range of its variance, in z-scores.")
    blur_probability: Probability = Field(0.2, description="Of a Gaussian blur.")
    blur_sigma: Range = Field((0.5, 1.0), description="Range of its sigma, voxels.")
    modality_dropout: Probability = Field(
        0.0, description="Share of patches that lack some of their images; above 0, patients may lack images too."
    )

    refiner: RefinerSettings = Field(default_factory=lambda: RefinerSettings.model_validate({}), description="Stage 2.")
    segresnet: SegResNetSettings = Field(
        default_factory=lambda: SegResNetSettings.model_validate({}), description="The baseline's network."
    )

    @model_validator(mode="after")
    def _consistent(self) -> "Settings":
        if any(side < 2 * SIDE_MULTIPLE or side % SIDE_MULTIPLE for side in self.patch_size):
            raise ValueError(
                f"patch_size {list(self.patch_size)}: every side must be a multiple of {SIDE_MULTIPLE}, at least "
                f"{2 * SIDE_MULTIPLE}"
            )
        if self.effective_batch_size % self.batch_size:
            raise ValueError(
                f"effective_batch_size {self.effective_batch_size} must be a multiple of batch_size {self.batch_size}"
            )
        for name in ("scaling", "gamma", "noise_variance", "blur_sigma"):
            low, high = getattr(self, name)
            if not 0 <= low <= high:
                raise ValueError(f"{name} ({low}, {high}) must be two values in rising order, none negative")
        return self

    def of_stage_2(self) -> "Settings":
        """What the refiner trains with: these settings, with its own epochs, patience, steps and learning rate."""
        names = ("max_epochs", "patience", "steps_per_epoch", "learning_rate")
        own = {name: getattr(self.refiner, name) for name in names if getattr(self.refiner, name) is not None}
        return self.model_copy(update=own)

    def architecture(self) -> dict[str, Any]:
        """The `architecture` entry of an nnU-Net configuration that builds this network by its import path."""
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


STRIDES: tuple[Axes, ...] = ((1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2))

# The demo is small and short enough for two CPU cores; it shows that the chain works, not what the method reaches.
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "paper": {},
    "demo": {
        "network_size": "S",
        "base_channels": 16,
        "patch_size": (48, 64, 48),
        "effective_batch_size": 1,
        "steps_per_epoch": 40,
        "max_epochs": 4,
        "warmup_epochs": 1,
        "learning_rate": 3e-3,
        "foreground_probability": 0.5,
        "refiner": {
            "max_epochs": 3,
            "codes_epochs": 2,
            "sampling_steps": 10,
            "patch_size": (32, 32, 32),
            "channels": 16,
            "autoencoder_channels": 16,
            "average_decay": 0.98,
        },
        "segresnet": {"init_filters": 8, "dropout": 0.0},
    },
}

REFINER_PREFIX, SEGRESNET_PREFIX = "refiner_", "segresnet_"


def make_settings(preset: str = "paper", **overrides: Any) -> Settings:
    """The settings of a preset with some values replaced, those of a part by its prefix: `refiner_`, `segresnet_`.

    Raises `ConfigurationError` in one line.
    """
    if preset not in PRESETS:
        raise ConfigurationError(f"unknown preset '{preset}'; there are: {', '.join(PRESETS)}")
    section = {"preset": preset, **PRESETS[preset]}
    for part, prefix in (("refiner", REFINER_PREFIX), ("segresnet", SEGRESNET_PREFIX)):
        given = {name.removeprefix(prefix): value for name, value in overrides.items() if name.startswith(prefix)}
        section[part] = {**section.get(part, {}), **given}
    own = {k: v for k, v in overrides.items() if not k.startswith((REFINER_PREFIX, SEGRESNET_PREFIX))}
    return parse_settings({**section, **own}, "settings")


def parse_settings(section: Mapping[str, Any], origin: str) -> Settings:
    """Validates a `comnet` section; `origin` names where it came from in the error message."""
    if not isinstance(section, Mapping):
        raise ConfigurationError(f"{origin} must hold names with values, as `comnet plan` writes them")
    try:
        return Settings.model_validate(dict(section))
    except ValidationError as error:
        raise ConfigurationError(f"{origin}: " + "; ".join(_one_line(e) for e in error.errors())) from error


def _one_line(error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] == "value_error":  # of several values together, which the text names
        return (where and where + ": ") + str(error["msg"]).removeprefix("Value error, ")
    return f"{where} = {shorten(repr(error['input']), LONGEST)}: {error['msg'][0].lower()}{error['msg'][1:]}"


def fit_patch(patch_size: Axes, median_shape: Axes) -> Axes:
    """The patch, made smaller on axes where the images are: rounded up to the next multiple of 16 voxels."""

    def fit(side: int, image: float) -> int:
        needed = -(-int(image) // SIDE_MULTIPLE) * SIDE_MULTIPLE
        return min(side, max(needed, 2 * SIDE_MULTIPLE))

    z, y, x = (fit(side, image) for side, image in zip(patch_size, median_shape, strict=True))
    return z, y, x
