"""UTSW-Glioma (TCIA, DOI 10.7937/DFAE-1B86): 625 patients, one session each; 362 masks corrected by experts.

Certain: file names and counts, FeTS masks within {0, 1, 2, 4}. In 158 of the 362 patients the un-prefixed manual mask
is on another grid. 121 registered manual masks hold labels 3 or 5, which no document explains: never interpreted here.
Uncertain: how the `_ants` images differ from the default ones, and which of the two the masks were drawn on.
"""

from nnunetv2_comnet.dataset_conversion.layouts.base import Layout, MaskSource
from nnunetv2_comnet.label_schemes import BRATS_124


def _images(t1: str, t1ce: str, t2: str, flair: str) -> dict[str, tuple[str, ...]]:
    names = {"T1n": t1, "T1c": t1ce, "T2w": t2, "FLAIR": flair}
    return {channel: (f"{{case}}/{name}.nii[.gz]",) for channel, name in names.items()}


UTSW = Layout(
    name="utsw",
    title="UTSW-Glioma",
    dataset_name="UTSWGlioma",
    case=r"BT\d{4}",
    channels=_images("brain_t1", "brain_t1ce", "brain_t2", "brain_flair"),
    variants={"ants": _images("brain_t1_ants", "brain_t1ce_ants", "brain_t2_ants", "brain_fl_ants")},
    masks=(
        MaskSource("manual-registered", ("{case}/rtumorseg_manual_correction.nii[.gz]",), only_where_labels_known=True),
        MaskSource(
            "manual",
            ("{case}/tumorseg_manual_correction.nii[.gz]",),
            only_where_grid_matches=True,
            only_where_labels_known=True,
        ),
        MaskSource("fets", ("{case}/tumorseg_FeTS.nii[.gz]",)),
    ),
    label_policies={
        "manual-else-fets": ("manual-registered", "manual", "fets"),
        "manual-only": ("manual-registered", "manual"),
        "fets-only": ("fets",),
    },
    scheme=BRATS_124,
    metadata_key="Subject ID",
    metadata_file="UTSW_Glioma_Metadata*.tsv",
    licence="CC BY 4.0",
    reference="https://doi.org/10.7937/DFAE-1B86",
)
