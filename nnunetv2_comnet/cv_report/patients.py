"""Whether the folds keep a patient's cases together, where the converter's report says whose they are."""

import csv
from collections.abc import Sequence
from pathlib import Path

from nnunetv2_comnet.crossval import SPLITS, Split

REPORT = "conversion_report.csv"


def note_on_patients(splits: Sequence[Split], raw: Path | None) -> list[str]:
    """Warns, in a sentence, where a model was scored on a patient of whom it was trained on another examination.

    Nothing is known of patients where `raw` has no report of the conversion, or the report names none.
    """
    if raw is None or not (raw / REPORT).is_file():
        return []
    with open(raw / REPORT, encoding="utf-8", newline="") as stream:
        patient_of = {row.get("case", ""): row.get("patient", "") for row in csv.DictReader(stream)}
    apart: set[str] = set()
    for split in splits:
        trained, held_out = ({patient_of.get(case, case) for case in split[part]} for part in ("train", "val"))
        apart |= (trained & held_out) - {""}
    if not apart:
        return []
    return [
        f"{SPLITS} splits {len(apart)} patient(s) apart (first {min(apart)}): models were trained on other "
        "examinations of patients that they are scored on, so the scores are too good; split by "
        "patient (comnet convert does)"
    ]
