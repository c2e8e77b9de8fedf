"""MedNeXt: a U-Net of ConvNeXt blocks in 3D (Roy et al., MICCAI 2023), with GRN as in CoMNeT (arXiv 2606.15305)."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import get_args

import torch
from torch import Tensor, nn

from nnunetv2_comnet.configurations import (
    SIDE_DIVISOR,
    STRIDES,
    Checkpointing,
    GpuKernels,
    KernelSize,
    MedNeXtOptions,
)
from nnunetv2_comnet.errors import ConfigurationError
from nnunetv2_comnet.networks.blocks import (
    BlockOptions,
    MedNeXtBlock,
    MedNeXtDownBlock,
    MedNeXtUpBlock,
    OutputHead,
)

N_LEVELS = len(STRIDES)
GRN_DENOMINATORS = ("mean", "sum")
DEFAULT = MedNeXtOptions.model_validate({})

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MedNeXtSize:
    """One of the paper's sizes. Nine stages: four encoder levels, the bottleneck, four decoder levels."""

    expansion: tuple[int, ...]
    blocks: tuple[int, ...]


SIZES = {
    "S": MedNeXtSize(expansion=(2,) * 9, blocks=(2,) * 9),
    "B": MedNeXtSize(expansion=(2, 3, 4, 4, 4, 4, 4, 3, 2), blocks=(2,) * 9),
    "M": MedNeXtSize(expansion=(2, 3, 4, 4, 4, 4, 4, 3, 2), blocks=(3, 4, 4, 4, 4, 4, 4, 4, 3)),
    "L": MedNeXtSize(expansion=(3, 4, 8, 8, 8, 8, 8, 4, 3), blocks=(3, 4, 8, 8, 8, 8, 8, 4, 3)),
}


@dataclass(frozen=True)
class MedNeXtConfig:
    """Everything that defines a MedNeXt; the defaults are the paper's MedNeXt-B.

    expansion, blocks: per stage, encoder 0-3, bottleneck, decoder 3-0. heads: 5 (one per level) or 1 (the finest).
    deep_supervision: what `forward` returns at first; it needs 5 heads and can be switched later.
    grn_in_first_down=False reproduces the official code, which leaves GRN out of `down_0`.
    grn_denominator: "mean" (code of MedNeXt and ConvNeXt V2) or "sum" (text of MedNeXt-v2).
    checkpointing: "none", "expansion" (recompute expansion, GELU, GRN, compression) or "block" (the whole block).
    Raises ConfigurationError for a value that cannot be used.
    """

    base_channels: int = DEFAULT.base_channels
    expansion: tuple[int, ...] = SIZES[DEFAULT.network_size].expansion
    blocks: tuple[int, ...] = SIZES[DEFAULT.network_size].blocks
    kernel_size: int = DEFAULT.kernel_size
    in_channels: int = 4
    out_channels: int = 3
    grn: bool = DEFAULT.grn
    grn_in_first_down: bool = True
    grn_denominator: str = "mean"
    deep_supervision: bool = True
    heads: int = N_LEVELS
    checkpointing: str = DEFAULT.checkpointing

    def __post_init__(self) -> None:
        for name in ("base_channels", "in_channels", "out_channels"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ConfigurationError(f"MedNeXt: {name} must be a whole number of at least 1, got {value!r}")
        for name in ("expansion", "blocks"):
            value = getattr(self, name)
            if len(value) != 9 or any(not isinstance(v, int) or v < 1 for v in value):
                raise ConfigurationError(f"MedNeXt: {name} must be nine whole numbers of at least 1, got {value!r}")
        check_choice("kernel_size", self.kernel_size, get_args(KernelSize))
        check_choice("grn_denominator", self.grn_denominator, GRN_DENOMINATORS)
        check_choice("checkpointing", self.checkpointing, get_args(Checkpointing))
        check_choice("heads", self.heads, (1, N_LEVELS))
        if self.deep_supervision and self.heads != N_LEVELS:
            raise ConfigurationError(f"MedNeXt: deep supervision needs heads={N_LEVELS}, got heads={self.heads}")


def check_choice(name: str, value: object, valid: Sequence[object]) -> None:
    """Raises `ConfigurationError`, which names the valid values, unless the value is one of them."""
    if value not in valid:
        raise ConfigurationError(f"MedNeXt: {name} must be one of {', '.join(map(str, valid))}, got {value!r}")


class MedNeXt(nn.Module):
    """Input (B, in_channels, D, H, W), sides divisible by 16; output logits (B, out_channels, D, H, W).

    While `deep_supervision` is True the output is a list of five such logits, finest first: 1/1, 1/2, 1/4, 1/8 and
    1/16 of the input's sides. The attribute can be set at run time and does not depend on train() or eval().
    Raises ConfigurationError for an input of another rank, channel count or size.
    """

    def __init__(self, config: MedNeXtConfig) -> None:
        super().__init__()
        self.config = config
        c = config.base_channels
        self.stem = nn.Conv3d(config.in_channels, c, 1)
        self.enc_block_0, self.down_0 = self._stage(0, c), self._down(1, c)
        self.enc_block_1, self.down_1 = self._stage(1, 2 * c), self._down(2, 2 * c)
        self.enc_block_2, self.down_2 = self._stage(2, 4 * c), self._down(3, 4 * c)
        self.enc_block_3, self.down_3 = self._stage(3, 8 * c), self._down(4, 8 * c)
        self.bottleneck = self._stage(4, 16 * c)
        self.up_3, self.dec_block_3 = self._up(5, 16 * c), self._stage(5, 8 * c)
        self.up_2, self.dec_block_2 = self._up(6, 8 * c), self._stage(6, 4 * c)
        self.up_1, self.dec_block_1 = self._up(7, 4 * c), self._stage(7, 2 * c)
        self.up_0, self.dec_block_0 = self._up(8, 2 * c), self._stage(8, c)
        self.out_0 = OutputHead(c, config.out_channels)
        if config.heads == N_LEVELS:
            self.out_1 = OutputHead(2 * c, config.out_channels)
            self.out_2 = OutputHead(4 * c, config.out_channels)
            self.out_3 = OutputHead(8 * c, config.out_channels)
            self.out_4 = OutputHead(16 * c, config.out_channels)
        self.deep_supervision = config.deep_supervision

    def _stage(self, stage: int, channels: int) -> nn.Sequential:
        """Builds a stage's blocks, one after the other."""
        count = self.config.blocks[stage]
        return nn.Sequential(*(MedNeXtBlock(channels, channels, self._options(stage)) for _ in range(count)))

    def _down(self, stage: int, channels: int) -> MedNeXtDownBlock:
        """Builds the block into a stage of the encoder, with that stage's expansion ratio."""
        options = self._options(stage)
        if stage == 1 and not self.config.grn_in_first_down:
            options = replace(options, grn=False)
        return MedNeXtDownBlock(channels, 2 * channels, options)

    def _up(self, stage: int, channels: int) -> MedNeXtUpBlock:
        """Builds the block into a stage of the decoder, with that stage's expansion ratio."""
        return MedNeXtUpBlock(channels, channels // 2, self._options(stage))

    def _options(self, stage: int) -> BlockOptions:
        config = self.config
        return BlockOptions(
            expansion=config.expansion[stage],
            kernel_size=config.kernel_size,
            grn=config.grn,
            grn_denominator=config.grn_denominator,
            checkpointing=config.checkpointing,
        )

    @property
    def deep_supervision(self) -> bool:
        """Whether `forward` returns all five levels."""
        return self._deep_supervision

    @deep_supervision.setter
    def deep_supervision(self, enabled: bool) -> None:
        if enabled and self.config.heads != N_LEVELS:
            raise ConfigurationError("MedNeXt: built without deep supervision, so only the finest head exists")
        self._deep_supervision = bool(enabled)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        check_input(x.shape, self.config.in_channels)
        skip_0 = self.enc_block_0(self.stem(x))  # (B, C, D, H, W)
        skip_1 = self.enc_block_1(self.down_0(skip_0))  # (B, 2C, D/2, H/2, W/2)
        skip_2 = self.enc_block_2(self.down_1(skip_1))  # (B, 4C, D/4, H/4, W/4)
        skip_3 = self.enc_block_3(self.down_2(skip_2))  # (B, 8C, D/8, H/8, W/8)
        x_4 = self.bottleneck(self.down_3(skip_3))  # (B, 16C, D/16, H/16, W/16)
        x_3 = self.dec_block_3(skip_3 + self.up_3(x_4))  # (B, 8C, D/8, H/8, W/8)
        x_2 = self.dec_block_2(skip_2 + self.up_2(x_3))  # (B, 4C, D/4, H/4, W/4)
        x_1 = self.dec_block_1(skip_1 + self.up_1(x_2))  # (B, 2C, D/2, H/2, W/2)
        x_0 = self.dec_block_0(skip_0 + self.up_0(x_1))  # (B, C, D, H, W)
        if not self.deep_supervision:
            return self.out_0(x_0)
        return [self.out_0(x_0), self.out_1(x_1), self.out_2(x_2), self.out_3(x_3), self.out_4(x_4)]


def check_input(shape: Sequence[int], in_channels: int) -> None:
    """Raises `ConfigurationError` unless shape is (B, in_channels, D, H, W) with sides that divide by 16."""
    if len(shape) != 5 or shape[1] != in_channels:
        raise ConfigurationError(f"MedNeXt: expected input (B, {in_channels}, D, H, W), got {tuple(shape)}")
    sides = shape[2:]
    if any(side % SIDE_DIVISOR or side < SIDE_DIVISOR for side in sides):
        below = tuple(max(side // SIDE_DIVISOR, 1) * SIDE_DIVISOR for side in sides)
        above = tuple(-(-side // SIDE_DIVISOR) * SIDE_DIVISOR for side in sides)
        raise ConfigurationError(
            f"MedNeXt: the sides of a patch must divide by {SIDE_DIVISOR}, got {tuple(sides)}; "
            f"the nearest sizes that would do are {below} and {above}"
        )


def mednext(
    size: str = DEFAULT.network_size,
    kernel_size: int = DEFAULT.kernel_size,
    in_channels: int = 4,
    out_channels: int = 3,
    grn: bool = DEFAULT.grn,
    deep_supervision: bool = True,
    *,
    base_channels: int = DEFAULT.base_channels,
    grn_in_first_down: bool = True,
    grn_denominator: str = "mean",
    checkpointing: str = DEFAULT.checkpointing,
) -> MedNeXt:
    """Builds a MedNeXt of size "S", "B" (the paper's), "M" or "L"; the options are those of MedNeXtConfig.

    Without deep supervision only the finest head is built, as in the official code.
    """
    check_choice("size", size, tuple(SIZES))
    return MedNeXt(
        MedNeXtConfig(
            base_channels=base_channels,
            expansion=SIZES[size].expansion,
            blocks=SIZES[size].blocks,
            kernel_size=kernel_size,
            in_channels=in_channels,
            out_channels=out_channels,
            grn=grn,
            grn_in_first_down=grn_in_first_down,
            grn_denominator=grn_denominator,
            deep_supervision=deep_supervision,
            heads=N_LEVELS if deep_supervision else 1,
            checkpointing=checkpointing,
        )
    )


def mednext_from_plans(
    input_channels: int,
    num_classes: int,
    deep_supervision: bool = True,
    *,
    size: str = DEFAULT.network_size,
    kernel_size: int = DEFAULT.kernel_size,
    grn: bool = DEFAULT.grn,
    base_channels: int = DEFAULT.base_channels,
    checkpointing: str = DEFAULT.checkpointing,
    gpu_kernels: str = DEFAULT.gpu_kernels,
    strides: Sequence[Sequence[int]] | None = None,
    n_stages: int | None = None,
) -> MedNeXt:
    """Builds the network of an nnU-Net plans file, which names this function and gives its options as `arch_kwargs`.

    All five heads are built whatever `deep_supervision` says: nnU-Net predicts with a network built without deep
    supervision and loads into it, strictly, what was trained with it. gpu_kernels: "torch" or "triton"; a GPU that
    cannot run the latter gets the former, and the log says so. Raises `ConfigurationError` for strides or a number
    of stages other than MedNeXt's.
    """
    check_choice("gpu_kernels", gpu_kernels, get_args(GpuKernels))
    if strides is not None and tuple(tuple(stride) for stride in strides) != STRIDES:
        raise ConfigurationError(f"MedNeXt: the plans' strides must be {[*map(list, STRIDES)]}, got {strides!r}")
    if n_stages is not None and n_stages != N_LEVELS:
        raise ConfigurationError(f"MedNeXt: the plans' n_stages must be {N_LEVELS}, got {n_stages!r}")
    network = mednext(
        size,
        kernel_size,
        input_channels,
        num_classes,
        grn,
        deep_supervision=True,
        base_channels=base_channels,
        checkpointing=checkpointing,
    )
    network.deep_supervision = deep_supervision
    if gpu_kernels == "triton" and torch.cuda.is_available():
        _with_triton_kernels(network)
    return network


def _with_triton_kernels(network: MedNeXt) -> None:
    from nnunetv2_comnet.networks.experimental import triton

    if triton.available("cuda"):
        triton.use_triton_kernels(network)
    else:
        log.warning("the plans want Triton's kernels, which this GPU or installation cannot run: PyTorch's are used")
