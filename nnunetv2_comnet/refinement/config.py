"""Everything that defines a refiner's networks, as one frozen object (docs/evidence/method.md: why each default)."""

from collections.abc import Sequence
from dataclasses import dataclass

from nnunetv2_comnet.errors import ConfigurationError

QUANTIZERS = ("ema", "fsq")
PARAMETERISATIONS = ("v", "noise")
OBJECTIVES = ("diffusion", "deterministic")


@dataclass(frozen=True)
class RefinerConfig:
    """The refiner's shape.

    image_channels, regions: of the MRI and of the coarse maps. downsampling: voxels per latent voxel along each axis.
    latent_channels, codebook_size, quantizer: the residual's codes. channels: of the condition network's and of the
    denoiser's first level. training_steps: length of the diffusion's schedule. parameterisation: what the denoiser
    predicts. objective: "deterministic" is the same network without diffusion, the study's baseline.
    gate_low, gate_high: entropy (bits) at which the gate opens and at which it is open; gate_reach: voxels that it
    reaches beyond an uncertain one. snap: a sampled latent is replaced by its nearest code before it is decoded.
    patch_size: what is refined at once, voxels; sides divide by 4 * downsampling.
    Raises ConfigurationError for a value that cannot be used.
    """

    image_channels: int = 4
    regions: int = 3
    downsampling: int = 2
    autoencoder_channels: int = 32
    latent_channels: int = 8
    quantizer: str = "ema"
    codebook_size: int = 512
    channels: int = 32
    training_steps: int = 200
    parameterisation: str = "v"
    objective: str = "diffusion"
    gate_low: float = 0.1
    gate_high: float = 0.4
    gate_reach: int = 2
    snap: bool = True
    patch_size: tuple[int, int, int] = (96, 96, 96)

    def __post_init__(self) -> None:
        for name in ("image_channels", "regions", "autoencoder_channels", "latent_channels", "channels"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"refiner: {name} must be at least 1, got {getattr(self, name)}")
        _one_of("downsampling", self.downsampling, (2, 4))
        _one_of("quantizer", self.quantizer, QUANTIZERS)
        _one_of("parameterisation", self.parameterisation, PARAMETERISATIONS)
        _one_of("objective", self.objective, OBJECTIVES)
        if self.training_steps < 2 or self.codebook_size < 2 or self.gate_reach < 0:
            raise ConfigurationError(
                "refiner: training_steps and codebook_size must be 2 or more, gate_reach 0 or more"
            )
        if len(self.patch_size) != 3 or any(s < 1 or s % self.side_divisor for s in self.patch_size):
            raise ConfigurationError(
                f"refiner: the sides of patch_size must divide by {self.side_divisor}, got {self.patch_size}"
            )
        if not 0 < self.gate_low < self.gate_high <= 1:
            raise ConfigurationError(
                f"refiner: expected 0 < gate_low < gate_high <= 1, got {self.gate_low} and {self.gate_high}"
            )

    @property
    def side_divisor(self) -> int:
        """What the sides of a patch must divide by: the latent grid is halved twice."""
        return 4 * self.downsampling


def _one_of(name: str, value: object, valid: Sequence[object]) -> None:
    if value not in valid:
        raise ConfigurationError(f"refiner: {name} must be one of {', '.join(map(str, valid))}, got {value!r}")
