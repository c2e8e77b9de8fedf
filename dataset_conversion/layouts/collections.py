"""Collections with other file names than BraTS: UCSF-PDGM and UPENN-GBM (TCIA), and the Decathlon's Task01.

Certain: file names, the Decathlon's order of channels and its numbering (1 ED, 2 NCR, 3 ET). Uncertain: that UCSF-PDGM
and UPENN-GBM number as BraTS 2021 did rests on public audits. About 298 UCSF and 447 UPENN patients are in BraTS 2021
too: do not train on one and test on the other.
"""

from nnunetv2_comnet.dataset_conversion.layouts.base import CHANNELS, Layout, MaskSource
from nnunetv2_comnet.label_schemes import BRATS_124, MSD_TASK01


def _ucsf(contrast: str) -> tuple[str, ...]:
    # The raw image first; the one corrected for the bias field stands in where only it is there.
    return tuple(f"{{case}}_nifti/{{case}}_{contrast}{suffix}.nii[.gz]" for suffix in ("", "_bias"))


UCSF_PDGM = Layout(
    name="ucsf-pdgm",
    title="UCSF-PDGM",
    dataset_name="UCSFPDGM",
    case=r"UCSF-PDGM-\d{3,4}(?:_FU\d+d)?",
    channels={"T1n": _ucsf("T1"), "T1c": _ucsf("T1c"), "T2w": _ucsf("T2"), "FLAIR": _ucsf("FLAIR")},
    masks=(MaskSource("seg", ("{case}_nifti/{case}_tumor_segmentation.nii[.gz]",)),),
    scheme=BRATS_124,
    patient=r"^UCSF-PDGM-\d+",  # a follow-up, e.g. _FU003d, is the same patient
    licence="CC BY 4.0",
    reference="https://doi.org/10.7937/tcia.bdgf-8v37",
)


def _upenn(contrast: str) -> tuple[str, ...]:
    return (f"{{case}}/{{case}}_{contrast}.nii[.gz]",)


UPENN_GBM = Layout(
    name="upenn-gbm",
    title="UPENN-GBM",
    dataset_name="UPENNGBM",
    case=r"UPENN-GBM-\d{5}_\d{2}",
    channels={"T1n": _upenn("T1"), "T1c": _upenn("T1GD"), "T2w": _upenn("T2"), "FLAIR": _upenn("FLAIR")},
    masks=(
        MaskSource("manual", ("images_segm/{case}_segm.nii[.gz]",)),
        MaskSource("automated", ("automated_segm/{case}_automated_approx_segm.nii[.gz]",)),
    ),
    label_policies={
        "manual-else-automated": ("manual", "automated"),
        "manual-only": ("manual",),
        "automated-only": ("automated",),
    },
    scheme=BRATS_124,
    patient=r"^UPENN-GBM-\d+",  # _11 is before surgery, _21 a follow-up, which has no mask
    licence="CC BY 4.0",
    reference="https://doi.org/10.7937/TCIA.709X-DN49",
)

MSD_TASK01_LAYOUT = Layout(
    name="msd-task01",
    title="Medical Segmentation Decathlon, Task01_BrainTumour",
    dataset_name="MSDBrainTumour",
    case=r"BRATS_\d{3}",
    channels=dict.fromkeys(CHANNELS, ("imagesTr/{case}.nii[.gz]",)),
    stacked=("FLAIR", "T1n", "T1c", "T2w"),
    masks=(MaskSource("seg", ("labelsTr/{case}.nii[.gz]",)),),
    scheme=MSD_TASK01,
    licence="CC BY-SA 4.0",
    reference="https://doi.org/10.1038/s41467-022-30695-9",
)
