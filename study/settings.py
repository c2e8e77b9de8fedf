"""Every number of the study: patients, training, and the rows of its table."""

from dataclasses import dataclass

TRAIN_ID, HELD_OUT_ID = 501, 502
TRAIN_NAME, HELD_OUT_NAME = "Dataset501_UTSWGlioma", "Dataset502_HeldOut"
PLANS, CONFIGURATION = "nnUNetCoMNeTPlans", "3d_fullres"

STAGE_1 = "nnUNetTrainerCoMNeT"
DEFAULT = "nnUNetTrainerCoMNeTCorrDiff"
IN_FOLD = "nnUNetTrainerCoMNeTCorrDiffInFold"
NOISE = "nnUNetTrainerCoMNeTCorrDiffNoise"
DETERMINISTIC = "nnUNetTrainerCoMNeTDeterministic"
STAGE_2 = (DEFAULT, IN_FOLD, NOISE, DETERMINISTIC)
ABLATION_FOLDS = 1  # the variants are trained on the first fold, and compared with the default's there

REGIONS = ("ET", "TC", "WT")  # the order of columns and panels
METRICS = ("dice", "hd95_mm")
PROTOCOL = "legacy"  # of `comnet evaluate`: whole regions, and HD95 373.13 mm where exactly one mask is empty
SAMPLING_SEED = 0  # fold f draws from SAMPLING_SEED + f, as prediction does
BOOTSTRAP_SEED = 0
TILE_STEP = 0.5
AGREEMENT = 5e-4  # of probabilities: one rounding of a logit in half precision moves one by at most 2.2e-4


@dataclass(frozen=True)
class Study:
    """One run. patients to train on, held_out to score; held-out ones are numbered from held_out_start.

    folds: of nnU-Net's five, those that are trained. plan_flags: of `comnet plan --preset demo`.
    """

    name: str
    patients: int
    held_out: int
    folds: tuple[int, ...]
    plan_flags: tuple[str, ...]
    spacing_mm: float = 3.5
    phantom_seed: int = 0
    held_out_start: int = 501
    workers: int = 2


def flags(**values: object) -> tuple[str, ...]:
    words: list[str] = []
    for name, value in values.items():
        words += ["--" + name.replace("_", "-"), *(str(value).split() if value is not True else [])]
    return tuple(words)


FULL = Study(
    name="full",
    patients=40,
    held_out=40,
    folds=(0, 1, 2, 3, 4),
    plan_flags=flags(
        max_epochs=6,
        steps_per_epoch=50,
        refiner_max_epochs=6,
        refiner_steps_per_epoch=300,
        refiner_keep_patches=True,
        refiner_codes_epochs=1,
        refiner_crops=2,
        refiner_ema_decay=0.99,
        refiner_num_inference_steps=25,
    ),
)

# The least that passes through every line: nothing can be learned from its numbers.
QUICK = Study(
    name="quick",
    patients=6,
    held_out=2,
    folds=(0, 1),
    spacing_mm=5.0,
    plan_flags=flags(
        patch_size="32 32 32",
        base_channels=4,
        max_epochs=1,
        steps_per_epoch=20,
        warmup_epochs=0,
        learning_rate=0.01,
        refiner_max_epochs=1,
        refiner_keep_patches=True,
        refiner_codes_epochs=1,
        refiner_channels=4,
        refiner_autoencoder_channels=4,
        refiner_codebook_size=8,
        refiner_num_inference_steps=2,
    ),
)


SINGLE, ENSEMBLE = "stage_1_single", "stage_1_ensemble"
FIRST, BEFORE = "stage_1_first", "stage_1_before"
AUTOENCODER, GATE = "oracle_autoencoder", "oracle_gate"
MAIN, FULL_STRENGTH = "refined_by_fold", "refined_by_fold_full"
CROSS, CROSS_FULL = "refined_crosswise", "refined_crosswise_full"
ONE, ONE_CROSS = "first_fold", "first_fold_crosswise"


@dataclass(frozen=True)
class RefinedRow:
    """A row of the table that a refiner makes.

    order: "fold" corrects each fold's map, then averages; "cross" likewise, each fold's refiner on the map of the fold
    before it (the first one's on the last), a model whose maps it was trained on; "ensemble" averages, then lets every
    fold's refiner correct the average, and averages again. calibrated: the trainer's own strengths; else alpha = 1
    everywhere. steps: reverse steps, None for the plans' number. folds: how many, None for all. reference: the row
    that it is compared with, the coarse map that it corrects.
    """

    key: str
    name: str
    trainer: str
    order: str = "fold"
    calibrated: bool = False
    steps: int | None = None
    samples: int = 1
    folds: int | None = None
    reference: str = ENSEMBLE


def _of_first_fold(key: str, name: str, trainer: str, order: str = "fold", steps: int | None = None) -> RefinedRow:
    reference = BEFORE if order == "cross" else FIRST
    return RefinedRow(key, name, trainer, order, steps=steps, folds=ABLATION_FOLDS, reference=reference)


REFINED_ROWS = (
    RefinedRow(MAIN, "refined by fold, calibrated (default)", DEFAULT, calibrated=True),
    RefinedRow("refined_ensemble", "refined ensemble, calibrated", DEFAULT, order="ensemble", calibrated=True),
    RefinedRow(CROSS, "refined crosswise, calibrated", DEFAULT, order="cross", calibrated=True),
    RefinedRow(FULL_STRENGTH, "refined by fold, alpha = 1", DEFAULT),
    RefinedRow("refined_ensemble_full", "refined ensemble, alpha = 1", DEFAULT, order="ensemble"),
    RefinedRow(CROSS_FULL, "refined crosswise, alpha = 1", DEFAULT, order="cross"),
    RefinedRow("one_step", "refined by fold, alpha = 1, 1 reverse step", DEFAULT, steps=1),
    RefinedRow("one_step_cross", "refined crosswise, alpha = 1, 1 reverse step", DEFAULT, order="cross", steps=1),
    _of_first_fold(ONE, "own map: default", DEFAULT),
    _of_first_fold("first_one_step", "own map: default, 1 reverse step", DEFAULT, steps=1),
    _of_first_fold("first_in_fold", "own map: trained on in-fold maps", IN_FOLD),
    _of_first_fold("first_noise", "own map: predicts the noise (paper)", NOISE),
    _of_first_fold("first_deterministic", "own map: no diffusion", DETERMINISTIC),
    _of_first_fold(ONE_CROSS, "last fold's map: default", DEFAULT, "cross"),
    _of_first_fold("first_one_step_cross", "last fold's map: default, 1 reverse step", DEFAULT, "cross", steps=1),
    _of_first_fold("first_noise_cross", "last fold's map: predicts the noise (paper)", NOISE, "cross"),
    _of_first_fold("first_deterministic_cross", "last fold's map: no diffusion", DETERMINISTIC, "cross"),
)
ROW_NAMES = {
    SINGLE: "stage 1, one fold (mean of the folds)",
    ENSEMBLE: "stage 1, ensemble",
    **{row.key: row.name for row in REFINED_ROWS if row.reference == ENSEMBLE},
    AUTOENCODER: "oracle: codes of the true residual",
    GATE: "oracle: truth where the gate is open",
    FIRST: "stage 1, first fold alone",
    **{row.key: row.name for row in REFINED_ROWS if row.reference == FIRST},
    BEFORE: "stage 1, last fold alone",
    **{row.key: row.name for row in REFINED_ROWS if row.reference == BEFORE},
}
# The row that each is compared with; those that are a reference have none.
REFERENCES = {
    **dict.fromkeys((SINGLE, AUTOENCODER, GATE), ENSEMBLE),
    **{row.key: row.reference for row in REFINED_ROWS},
}


def folds_of(trainer: str, folds: tuple[int, ...]) -> tuple[int, ...]:
    """Those of the study's folds that a trainer trains."""
    return folds if trainer in (STAGE_1, DEFAULT) else folds[:ABLATION_FOLDS]


# Paired differences of the average Dice besides those to the reference: first minus second.
PAIRS = (
    (CROSS, MAIN),
    (CROSS_FULL, FULL_STRENGTH),
    ("refined_ensemble", MAIN),
    (FULL_STRENGTH, "one_step"),
    (CROSS_FULL, "one_step_cross"),
    (ONE, "first_in_fold"),
    (ONE, "first_noise"),
    (ONE, "first_deterministic"),
    ("first_one_step", "first_deterministic"),
    (ONE_CROSS, "first_noise_cross"),
    (ONE_CROSS, "first_deterministic_cross"),
    ("first_one_step_cross", "first_deterministic_cross"),
)
