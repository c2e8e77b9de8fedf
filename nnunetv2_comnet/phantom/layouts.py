"""How published datasets name folders, files and labels: what the generated patients are written as."""

from collections.abc import Mapping
from dataclasses import dataclass

from nnunetv2_comnet.errors import ConfigurationError
from nnunetv2_comnet.label_schemes import BRATS_123, BRATS_124, LabelScheme


@dataclass(frozen=True)
class PhantomLayout:
    """Names within the output folder. `{case}` stands for the case's name, which `case` makes from its number."""

    name: str
    case: str
    most_cases: int
    images: Mapping[str, str]
    mask: str
    scheme: LabelScheme
    manual_mask: str | None = None  # where it is set, `mask` may be an automatic one, and this one then is the truth
    metadata: str | None = None

    def case_name(self, index: int) -> str:
        """Returns the name of the case with this number, counted from 1."""
        return self.case.format(index=index)


def _brats(name: str, folder: str, case: str, images: dict[str, str], scheme: LabelScheme) -> PhantomLayout:
    files = {channel: f"{folder}{{case}}/{{case}}{suffix}.nii.gz" for channel, suffix in images.items()}
    separator = images["T1n"][0]
    return PhantomLayout(name, case, 99999, files, f"{folder}{{case}}/{{case}}{separator}seg.nii.gz", scheme)


UTSW = PhantomLayout(
    name="utsw",
    case="BT{index:04d}",
    most_cases=9999,
    images={
        "T1n": "UTSW-Glioma/{case}/brain_t1.nii.gz",
        "T1c": "UTSW-Glioma/{case}/brain_t1ce.nii.gz",
        "T2w": "UTSW-Glioma/{case}/brain_t2.nii.gz",
        "FLAIR": "UTSW-Glioma/{case}/brain_flair.nii.gz",
    },
    mask="UTSW-Glioma/{case}/tumorseg_FeTS.nii.gz",
    scheme=BRATS_124,
    manual_mask="UTSW-Glioma/{case}/rtumorseg_manual_correction.nii.gz",
    metadata="UTSW_Glioma_Metadata-2-1.tsv",
)
_UNDERSCORED = {"T1n": "_t1", "T1c": "_t1ce", "T2w": "_t2", "FLAIR": "_flair"}
_HYPHENED = {"T1n": "-t1n", "T1c": "-t1c", "T2w": "-t2w", "FLAIR": "-t2f"}
_GLI_2023 = "ASNR-MICCAI-BraTS2023-GLI-Challenge-TrainingData/"
BRATS2021 = _brats("brats2021", "BraTS2021_Training_Data/", "BraTS2021_{index:05d}", _UNDERSCORED, BRATS_124)
BRATS2023 = _brats("brats2023", _GLI_2023, "BraTS-GLI-{index:05d}-000", _HYPHENED, BRATS_123)

LAYOUTS = {layout.name: layout for layout in (UTSW, BRATS2021, BRATS2023)}


def layout_by_name(name: str) -> PhantomLayout:
    """Returns the layout of that name; an unknown one is a `ConfigurationError` that lists the known ones."""
    if name not in LAYOUTS:
        raise ConfigurationError(f"unknown layout '{name}'; choose one of {', '.join(LAYOUTS)}")
    return LAYOUTS[name]
