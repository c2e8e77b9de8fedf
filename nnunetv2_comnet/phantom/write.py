"""Writes generated patients as a published dataset would hold them. Same seed, same bytes."""

import gzip
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nnunetv2_comnet.errors import ConfigurationError, DataError
from nnunetv2_comnet.files import GENERATED_MARKER, read_json, write_json, written_whole
from nnunetv2_comnet.label_schemes import ET, LabelScheme
from nnunetv2_comnet.phantom.layouts import PhantomLayout, layout_by_name
from nnunetv2_comnet.phantom.metadata import draw_row, write_table
from nnunetv2_comnet.phantom.patient import generate, require_spacing
from nnunetv2_comnet.progress import bar
from nnunetv2_comnet.workers import require_jobs, run_all

_SHARE_MANUAL = 0.55  # of UTSW's 625 patients, 362 masks were corrected by hand


@dataclass(frozen=True)
class PhantomSet:
    """Which patients to write, and where. A patient depends on `seed` and its own number only."""

    out: Path
    layout_name: str
    cases: int
    seed: int = 0
    spacing_mm: float = 1.0
    start: int = 1

    def __post_init__(self) -> None:
        if self.cases < 1:
            raise ConfigurationError(f"{self.cases} cases cannot be generated; give --cases 1 or more")
        if self.start < 1 or self.start + self.cases - 1 > self.layout.most_cases:
            raise ConfigurationError(
                f"cases {self.start} to {self.start + self.cases - 1} do not fit layout {self.layout.name}, whose "
                f"numbers go from 1 to {self.layout.most_cases}; change --start or --cases"
            )
        if self.seed < 0:
            raise ConfigurationError(f"seed {self.seed} cannot be used; give a whole number from 0")
        require_spacing(self.spacing_mm)

    @property
    def layout(self) -> PhantomLayout:
        """Names and labels; raises `ConfigurationError` for an unknown layout."""
        return layout_by_name(self.layout_name)

    @property
    def indices(self) -> range:
        """The numbers of the patients."""
        return range(self.start, self.start + self.cases)


def write_patients(wanted: PhantomSet, jobs: int = 1) -> list[str]:
    """Generates and writes all patients; returns their names. The bytes do not depend on `jobs`.

    Raises `DataError` where the output folder holds anything but generated patients of the same seed, spacing and
    layout.
    """
    require_jobs(jobs)
    _claim(wanted)
    written = run_all(partial(write_patient, wanted), wanted.indices, jobs, name=wanted.layout.case_name)
    rows = list(bar(written, "patients", wanted.cases))
    if wanted.layout.metadata is not None:
        write_table(wanted.out / wanted.layout.metadata, rows)
    return [wanted.layout.case_name(index) for index in wanted.indices]


def write_patient(wanted: PhantomSet, index: int) -> dict[str, str]:
    """Generates and writes one patient; returns its row for the metadata table."""
    layout, name = wanted.layout, wanted.layout.case_name(index)
    patient = generate((wanted.seed, index), wanted.spacing_mm)
    rng = np.random.default_rng(np.random.SeedSequence((wanted.seed, index), spawn_key=(1000,)))
    manual = layout.manual_mask is not None and bool(rng.random() < _SHARE_MANUAL)
    masks = {layout.mask: patient.automatic_mask if manual else patient.mask}
    if manual and layout.manual_mask is not None:
        masks[layout.manual_mask] = patient.mask
    for channel, pattern in layout.images.items():
        write_image(wanted.out / pattern.format(case=name), patient.images[channel], wanted.spacing_mm)
    for pattern, mask in masks.items():
        numbered = source_labels(mask, layout.scheme)
        write_image(wanted.out / pattern.format(case=name), numbered, wanted.spacing_mm)
    return draw_row(rng, name, manual, bool((patient.mask == ET).any()))


def source_labels(mask: npt.NDArray[np.uint8], scheme: LabelScheme) -> npt.NDArray[np.uint8]:
    """Renumbers a mask from written labels to those of the source's scheme."""
    result = np.zeros_like(mask)
    for source, written in scheme.to_canonical.items():
        result[mask == written] = source
    return result


def write_image(target: Path, volume_zyx: npt.NDArray[np.generic], spacing_mm: float) -> None:
    """Writes a (z, y, x) volume as .nii.gz in the BraTS geometry: LPS, SRI24 field of view, both codes 1."""
    import nibabel

    shift = 0.5 * spacing_mm - 0.5  # voxel edges, not centres, agree over spacings
    affine = np.diag([-spacing_mm, -spacing_mm, spacing_mm, 1.0])
    affine[:3, 3] = (-shift, 239.0 - shift, shift)
    image = nibabel.Nifti1Image(np.ascontiguousarray(volume_zyx.transpose(2, 1, 0)), affine)
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    image.header.set_xyzt_units("mm", "sec")
    with written_whole(target) as temporary:
        temporary.write_bytes(gzip.compress(image.to_bytes(), compresslevel=4, mtime=0))  # no date: same bytes


def _claim(wanted: PhantomSet) -> None:
    """Refuses folders that hold anything else, real patients above all; then leaves the marker."""
    settings = {
        "generated": "these patients are generated by comnet phantom: no real person's images",
        "layout": wanted.layout.name,
        "seed": wanted.seed,
        "spacing_mm": wanted.spacing_mm,
    }
    if wanted.out.exists() and not wanted.out.is_dir():
        raise DataError(f"{wanted.out} is a file; name a folder for the generated patients")
    if (wanted.out / GENERATED_MARKER).exists():
        if read_json(wanted.out / GENERATED_MARKER) != settings:
            raise DataError(
                f"{wanted.out} holds generated patients of another layout, seed or spacing (see {GENERATED_MARKER}); "
                "choose another folder"
            )
    elif wanted.out.exists() and any(wanted.out.iterdir()):
        raise DataError(f"{wanted.out} is not empty and holds no generated patients; choose a new folder")
    write_json(wanted.out / GENERATED_MARKER, settings)
