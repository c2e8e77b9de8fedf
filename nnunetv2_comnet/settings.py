"""Every hyper-parameter of a training, as the `comnet` section of the plans file holds it, and the presets.

The paper's values are the defaults. Those of the networks stand in configurations.py, and nowhere else.
"""

from collections.abc import Mapping
from textwrap import shorten
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from nnunetv2_comnet.configurations import (
    SIDE_DIVISOR,
    SMOOTHING,
    Axes,
    MedNeXtOptions,
    RefinerConfig,
    SegResNetConfig,
    old_names,
    renamed,
)
from nnunetv2_comnet.errors import ConfigurationError

Range = tuple[float, float]
Probability = Annotated[float, Field(ge=0, le=1)]

LONGEST = 80  # characters of a wrong value in a message


class RefinerSettings(RefinerConfig):
    """The `refiner` part of the `comnet` section: stage 2, CorrDiff. What it does not name is shared with stage 1."""

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
    crops: int = Field(2, ge=1, description="Refiner patches in a pass, out of one training patch of stage 1.")
    num_inference_steps: int = Field(
        25,
        ge=1,
        validation_alias=renamed("num_inference_steps", "sampling_steps"),
        description="Reverse steps in validation and prediction.",
    )
    ema_decay: float = Field(
        0.999,
        ge=0,
        lt=1,
        validation_alias=renamed("ema_decay", "average_decay"),
        description="Of the exponential moving average of the weights.",
    )

    weight_diffusion: float = Field(1.0, ge=0, description="Weight of L_diff.")
    weight_reconstruction: float = Field(1.0, ge=0, description="Weight of L_recon.")
    weight_quantisation: float = Field(0.25, ge=0, description="Weight of L_vq.")
    weight_segmentation: float = Field(1.0, ge=0, description="Weight of L_seg.")

    strength: tuple[Probability, ...] = Field(
        (), description="alpha per region, in dataset.json's order; written by `comnet calibrate`. Empty: all 1."
    )

    @model_validator(mode="after")
    def _training_fits(self) -> "RefinerSettings":
        if self.num_inference_steps > self.num_train_timesteps:
            raise ValueError(
                f"num_inference_steps {self.num_inference_steps} must not exceed num_train_timesteps "
                f"{self.num_train_timesteps}"
            )
        if not 0 < self.temperature[0] <= self.temperature[1]:
            raise ValueError(f"temperature {self.temperature} must be two values above 0 in rising order")
        return self

    @property
    def loss_weights(self) -> dict[str, float]:
        """The weight of each term of the loss, by its name."""
        terms = ("diffusion", "reconstruction", "quantisation", "segmentation")
        return {name: getattr(self, f"weight_{name}") for name in terms}


class Settings(MedNeXtOptions):
    """The `comnet` section of a plans file: MedNeXt's options, the training's, and the parts of the other networks."""

    preset: str = Field("paper", description="The preset that the values started from.")

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
    smoothing: float = Field(SMOOTHING, gt=0, description="Epsilon of the Dice and DSC++ terms.")

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
        0.0, description="Share of patches with missing channels; above 0, patients may have missing channels too."
    )

    refiner: RefinerSettings = Field(default_factory=lambda: RefinerSettings.model_validate({}), description="Stage 2.")
    segresnet: SegResNetConfig = Field(
        default_factory=lambda: SegResNetConfig.model_validate({}), description="The baseline's network."
    )

    @model_validator(mode="after")
    def _consistent(self) -> "Settings":
        if any(side < 2 * SIDE_DIVISOR or side % SIDE_DIVISOR for side in self.patch_size):
            raise ValueError(
                f"patch_size {list(self.patch_size)}: every side must be a multiple of {SIDE_DIVISOR}, at least "
                f"{2 * SIDE_DIVISOR}"
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
        """Returns these settings with the refiner's own epochs, patience, steps and learning rate."""
        names = ("max_epochs", "patience", "steps_per_epoch", "learning_rate")
        own = {name: getattr(self.refiner, name) for name in names if getattr(self.refiner, name) is not None}
        return self.model_copy(update=own)


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
            "num_inference_steps": 10,
            "patch_size": (32, 32, 32),
            "channels": 16,
            "autoencoder_channels": 16,
            "ema_decay": 0.98,
        },
        "segresnet": {"init_filters": 8, "dropout": 0.0},
    },
}

REFINER_PREFIX, SEGRESNET_PREFIX = "refiner_", "segresnet_"


def make_settings(preset: str = "paper", **overrides: Any) -> Settings:
    """Makes a preset's settings with some values replaced, those of a part by its prefix: `refiner_`, `segresnet_`.

    Raises `ConfigurationError` in one line.
    """
    if preset not in PRESETS:
        raise ConfigurationError(f"unknown preset '{preset}'; there are: {', '.join(PRESETS)}")
    section, names = {"preset": preset, **PRESETS[preset]}, old_names(RefinerSettings)
    for part, prefix in (("refiner", REFINER_PREFIX), ("segresnet", SEGRESNET_PREFIX)):
        given = {name.removeprefix(prefix): value for name, value in overrides.items() if name.startswith(prefix)}
        section[part] = {**section.get(part, {}), **{names.get(name, name): value for name, value in given.items()}}
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
    """Makes the patch smaller on axes where the images are: to their size, rounded up to a multiple of 16 voxels."""

    def fit(side: int, image: float) -> int:
        needed = -(-int(image) // SIDE_DIVISOR) * SIDE_DIVISOR
        return min(side, max(needed, 2 * SIDE_DIVISOR))

    z, y, x = (fit(side, image) for side, image in zip(patch_size, median_shape, strict=True))
    return z, y, x
