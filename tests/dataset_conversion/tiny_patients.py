"""Tiny patients written with nibabel alone, in the file names of each dataset; none of the code under test is used."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

SHAPE = (24, 28, 20)
BRATS_AFFINE = np.array([[-1.0, 0, 0, 0], [0, -1, 0, 239], [0, 0, 1, 0], [0, 0, 0, 1]])
UTSW_FILES = {"T1n": "brain_t1", "T1c": "brain_t1ce", "T2w": "brain_t2", "FLAIR": "brain_flair"}
CHANNELS = tuple(UTSW_FILES)
TO_124 = {1: 1, 2: 2, 3: 4}


@dataclass
class Patient:
    """Four channels and a mask in BraTS-2023 numbering: a ball of brain, in it a ringed tumour off its centre."""

    channels: dict[str, Any]
    mask: Any


def make_patient(seed: int = 0) -> Patient:
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*(np.arange(length) for length in SHAPE), indexing="ij"), -1)
    brain = np.linalg.norm((grid - [12, 14, 10]) / [11, 13, 9], axis=-1) < 1
    radius = np.linalg.norm(grid - [9, 15, 10], axis=-1)
    mask = np.select([radius < 2, radius < 3.2, radius < 5], [1, 3, 2], 0).astype(np.uint8)
    channels = {}
    for channel, bright in {"T1n": (), "T1c": (3,), "T2w": (1, 2), "FLAIR": (2, 3)}.items():
        values = rng.integers(80, 120, SHAPE) + 150 * np.isin(mask, bright)
        channels[channel] = (values * brain).astype(np.int16)
    return Patient(channels, mask)


def save(path: Path, data: Any, affine: Any = BRATS_AFFINE, q_code: int = 1, s_code: int = 1, **header: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(data, affine, dtype=data.dtype)
    image.set_qform(header.get("qform", affine), code=q_code)
    image.set_sform(header.get("sform", affine), code=s_code)
    nibabel.save(image, path)
    return path


def renumber(mask: Any, numbers: Mapping[int, int]) -> Any:
    result = np.zeros_like(mask)
    for written, source in numbers.items():
        result[mask == written] = source
    return result


def write_utsw(root: Path, case: str, seed: int = 0, ending: str = ".nii.gz", **masks: Any) -> Patient:
    """One UTSW patient; `fets`, `manual` and `registered` are masks in the source's numbering (fets by default)."""
    patient = make_patient(seed)
    for channel, name in UTSW_FILES.items():
        save(root / case / f"{name}{ending}", patient.channels[channel])
    masks.setdefault("fets", renumber(patient.mask, TO_124))
    names = {
        "fets": "tumorseg_FeTS",
        "manual": "tumorseg_manual_correction",
        "registered": "rtumorseg_manual_correction",
    }
    for kind, mask in masks.items():
        if mask is not None:
            save(root / case / f"{names[kind]}{ending}", mask)
    return patient


def load(path: Path) -> Any:
    return np.asarray(nibabel.load(path).dataobj)


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file's time of change and bytes."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (path.lstat().st_mtime_ns, path.read_bytes()) for path in files}
