"""Every number of the study on missing images: its patients, its two models, and what the patients lack."""

from dataclasses import dataclass

from study.settings import Study, flags

FOLD = 0
CHANNELS = ("T1n", "T1c", "T2w", "FLAIR")  # in the order of their numbers

# What patients lack: nothing, each image alone, the pair that a short protocol leaves out, and the telling pair.
MISSING_CHANNELS: tuple[tuple[str, ...], ...] = (
    (),
    *((channel,) for channel in CHANNELS),
    ("T1n", "T2w"),
    ("T1c", "FLAIR"),
)


@dataclass(frozen=True)
class Model:
    """One of the two: its name is its folder's; the share of patches with missing channels."""

    name: str
    modality_dropout: float


WITH, WITHOUT = Model("with_dropout", 0.5), Model("without_dropout", 0.0)
MODELS = (WITH, WITHOUT)

FULL = Study(
    name="full",
    patients=40,
    held_out=20,
    folds=(FOLD,),
    spacing_mm=4.5,
    plan_flags=flags(max_epochs=8, steps_per_epoch=60, save_every=1),
)
# The least that passes through every line: nothing can be learned from its numbers.
QUICK = Study(
    name="quick",
    patients=6,
    held_out=2,
    folds=(FOLD,),
    spacing_mm=6.0,
    plan_flags=flags(
        patch_size="32 32 32", base_channels=4, max_epochs=1, steps_per_epoch=12, warmup_epochs=0, learning_rate=0.01
    ),
)
