"""The BraTS challenges from 2018 on, and sets in their style; numbering by the challenges' own scoring code.

Certain: names and numbering of 2018 to 2021, 2023 and 2024 GLI. Uncertain: the numbering of GoAT and of the 2024 MET
masks rests on one source each, and the contents of the 2025 "corrected labels" of MET are not known.
"""

from nnunetv2_comnet.dataset_conversion.layouts.base import Layout, MaskSource, per_case
from nnunetv2_comnet.label_schemes import BRATS_123, BRATS_124, BRATS_CAVITY, BRATS_PED, LabelScheme

_UNDERSCORED = per_case(T1n="_t1", T1c="_t1ce", T2w="_t2", FLAIR="_flair")
_HYPHENED = per_case(T1n="-t1n", T1c="-t1c", T2w="-t2w", FLAIR="-t2f")


def _until_2021(year: int, case: str, *more_masks: str) -> Layout:
    return Layout(
        name=f"brats{year}",
        title=f"BraTS {year}",
        dataset_name=f"BraTS{year}",
        case=case,
        channels=_UNDERSCORED,
        masks=(MaskSource("seg", ("{case}/{case}_seg.nii[.gz]", *more_masks)),),
        scheme=BRATS_124,
        reference="Menze et al. 2015, doi:10.1109/TMI.2014.2377694; Bakas et al. 2017, doi:10.1038/sdata.2017.117",
    )


def _since_2023(name: str, title: str, dataset_name: str, case: str, scheme: LabelScheme = BRATS_123) -> Layout:
    return Layout(
        name=name,
        title=title,
        dataset_name=dataset_name,
        case=case,
        channels=_HYPHENED,
        masks=(MaskSource("seg", ("{case}/{case}-seg.nii[.gz]",)),),
        scheme=scheme,
        patient=r"^BraTS-[A-Za-z]+-\d{5}",  # the time point, e.g. -000, does not belong to the patient
        reference="https://www.synapse.org/brats",
    )


BRATS_LAYOUTS = (
    _until_2021(2018, r"Brats18_\w+"),
    _until_2021(2019, r"BraTS19_\w+"),
    # Patient 355's mask kept its working name in the public copies: W39_1998.09.19_Segm.nii.
    _until_2021(2020, r"BraTS20_\w+", "{case}/W39_*_Segm.nii[.gz]"),
    _until_2021(2021, r"BraTS2021_\d{5}"),
    _since_2023("brats2023", "BraTS 2023 GLI, MEN, MET, SSA", "BraTS2023", r"BraTS-(?:GLI|MEN|MET|SSA)-\d{5}-\d{3}"),
    _since_2023(
        "brats2024-gli", "BraTS 2024 post-treatment glioma", "BraTS2024GLI", r"BraTS-GLI-\d{5}-\d{3}", BRATS_CAVITY
    ),
    _since_2023("brats2024-met", "BraTS 2024 metastases", "BraTS2024MET", r"BraTS-MET-\d{5}-\d{3}", BRATS_CAVITY),
    _since_2023("brats2024-ped", "BraTS-PED 2024", "BraTS2024PED", r"BraTS-PED-\d{5}-\d{3}", BRATS_PED),
    _since_2023("brats-goat", "BraTS 2024 GoAT", "BraTSGoAT", r"BraTS-GoAT-\d{5}"),
    _since_2023("brats-africa", "BraTS-Africa", "BraTSAfrica", r"BraTS-SSA-\d{5}-\d{3}"),
)
