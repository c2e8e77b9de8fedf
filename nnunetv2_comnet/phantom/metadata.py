"""The table that lies beside UTSW-Glioma's images: tab-separated, CRLF, UTF-8 with byte order mark."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nnunetv2_comnet.errors import DataError
from nnunetv2_comnet.files import written_whole

KEY = "Subject ID"
COLUMNS = (
    KEY,
    "Sex at birth",
    "Age at Imaging",
    "Race",
    "Ethnicity",
    "Operation Status",
    "Scanner Make",
    "Scanner Model",
    "Scanner Strength",
    "Tumor Type",
    "Tumor Grade",
    "IDH",
    "1p19Q CODEL",
    "MGMT",
    "Manually Refined Segmentation",
)


def draw_row(rng: np.random.Generator, case: str, manual: bool, enhancing: bool) -> dict[str, str]:
    """Draws a plausible row; an enhancing tumour is a glioblastoma more often than not."""
    grade = "4" if rng.random() < (0.85 if enhancing else 0.1) else str(rng.choice(["2", "3"]))
    mutated = rng.random() < (0.08 if grade == "4" else 0.85)
    codeleted = mutated and grade != "4" and rng.random() < 0.4
    tumour = "Glioblastoma" if grade == "4" and not mutated else "Oligodendroglioma" if codeleted else "Astrocytoma"
    make, model = (("Philips", "Ingenia"), ("Siemens", "Skyra"), ("GE", "Discovery MR750"))[int(rng.integers(3))]
    values = (
        case,
        str(rng.choice(["Male", "Female"])),
        str(int(np.clip(rng.normal(58 if grade == "4" else 42, 13), 18, 88))),
        "Not Reported",
        "Not Reported",
        "Pre-operative",
        make,
        model,
        str(rng.choice(["1.5T", "3T", "Not Reported"])),
        tumour,
        grade,
        "mutated" if mutated else "wild type",
        "co-deleted" if codeleted else "intact" if mutated else "NA",
        str(rng.choice(["methylated", "unmethylated", "NA"])),
        "Yes" if manual else "No",
    )
    return dict(zip(COLUMNS, values, strict=True))


def write_table(target: Path, rows: Sequence[dict[str, str]]) -> None:
    """Writes the rows; rows of other subjects that the table already holds are kept. Sorted by subject."""
    merged = {row[KEY]: row for row in (*_existing(target), *rows)}
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, delimiter="\t", lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(merged[key] for key in sorted(merged))
    with written_whole(target) as temporary:
        temporary.write_bytes(text.getvalue().encode("utf-8-sig"))


def _existing(target: Path) -> list[dict[str, str]]:
    if not target.exists():
        return []
    with open(target, encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream, delimiter="\t")
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise DataError(f"{target} has other columns than a generated table; choose another output folder")
        return list(reader)
