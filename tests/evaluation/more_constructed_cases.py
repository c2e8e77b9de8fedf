"""The constructed cases of `constructed_cases.py`, continued: empty masks, pairing, tissues, spacing."""

from constructed_cases import (
    DIAGONAL,
    ET,
    JOINED,
    LEGACY_PENALTY,
    NAN,
    NETC,
    RC,
    SNFH,
    Constructed,
    all_of,
    bar,
    cube,
    lesion,
    lump,
)

EMPTY = [
    Constructed(
        "empty truth",
        [],
        [cube(2)],
        {
            "legacy": all_of(0, LEGACY_PENALTY, 0, iou=0, precision=0, sensitivity=0, assd_mm=LEGACY_PENALTY),
            "brats2023": all_of(0, 374, 0) | lesion(0, 374, 0, 1, 0, 0),
            "brats2024": all_of(0, 337, 0) | lesion(0, 337, 0, 1, 0, 0, lesion_nsd_1mm=0),
            "brats2024:ped": all_of(0, 374, 0),
            "brats2024:met": all_of(0, DIAGONAL, 0),
            "brats2026": all_of(0, 373, 0) | lesion(0, 373, 0, 1, 0, 0, lesion_nsd_1mm=0),
            "brats2026:met": all_of(0, 373, 0) | lesion(NAN, NAN, 0, 1, 0, 0, lesion_nsd_1mm=NAN),
        },
    ),
    Constructed(
        "empty prediction",
        [cube(2)],
        [],
        {
            "legacy": all_of(0, LEGACY_PENALTY, 0, iou=0, precision=0, sensitivity=0, volume_difference_mm3=-64),
            "brats2023": all_of(0, 374, 0) | lesion(0, 374, 0, 0, 1, 0),
            "brats2024": all_of(0, 337, 0) | lesion(0, 337, 0, 0, 1, 0, lesion_nsd_1mm=0),
            "brats2024:ssa": all_of(0, 374, 0) | lesion(0, 374, 0, 0, 1, 0),
            "brats2026": all_of(0, 373, 0) | lesion(0, 373, 0, 0, 1, 0, lesion_nsd_1mm=0),
            "brats2026:met": lesion(0, 373, 0, 0, 1, 0),
        },
    ),
    # 20 voxels are ignored (2023: 50 and less): nothing is left to count, as with two empty masks.
    Constructed(
        "empty prediction, and a truth below the limit",
        [lump(20)],
        [],
        {"brats2023": lesion(1, 0, 0, 0, 0, 1, dice=0, hd95_mm=374)},
    ),
    # 2024 takes the 10 voxels out, so it sees two empty masks.
    Constructed(
        "empty truth, and a prediction below 2024's limit",
        [],
        [lump(10)],
        {
            "brats2024": all_of(1, 0, 1) | lesion(1, 0, 0, 0, 0, 1, lesion_nsd_1mm=1),
            "brats2023": lesion(0, 374, 0, 1, 0, 0),
        },
    ),
    Constructed(
        "both empty",
        [],
        [],
        {
            "legacy": all_of(1, 0, 1, iou=1, precision=1, sensitivity=1, assd_mm=0),
            "brats2023": all_of(1, 0, 1) | lesion(1, 0, 0, 0, 0, 1),
            "brats2024": all_of(1, 0, 1) | lesion(1, 0, 0, 0, 0, 1, lesion_nsd_1mm=1),
            "brats2026": all_of(NAN, NAN, NAN) | lesion(NAN, NAN, 0, 0, 0, NAN, lesion_nsd_1mm=NAN),
        },
    ),
]

PAIRING = [
    # 16 voxels apart: HD95 16. Nothing is paired: 2023 has a miss and a false positive. The 2026 tool gives the worst
    # to the whole region too once no lesion is paired.
    Constructed(
        "a prediction elsewhere",
        [cube(2)],
        [cube(18)],
        {
            "legacy": all_of(0, 16, 0),
            "brats2023": all_of(0, 16, 0) | lesion(0, 374, 0, 1, 1, 0),
            "brats2024": all_of(0, 16, 0) | lesion(0, 337, 0, 1, 1, 0),
            "brats2026": all_of(0, 373, 0) | lesion(0, 373, 0, 1, 1, 0),
        },
    ),
    # A gap of 2 voxels: the lesion's dilation touches the component, so they are compared (Dice 0, HD95 6), and the
    # lesion counts as found. 2026 asks for shared voxels.
    Constructed(
        "a prediction beside the lesion",
        [cube(2)],
        [cube(8)],
        {
            "brats2023": all_of(0, 6, 0) | lesion(0, 6, 1, 0, 0, 1),
            "brats2023:met": lesion(0, 374, 0, 1, 1, 0),
            "brats2026": lesion(0, 373, 0, 1, 1, 0),
        },
    ),
    # A bar of 256 over two cubes 8 voxels apart. 2023 compares each lesion with the whole bar: 2 * 64 / 320 = 0.4
    # twice. 2026 pairs it with one of them.
    Constructed(
        "one predicted component over two lesions",
        [cube(2), cube(14)],
        [bar(2, 18)],
        {
            "brats2023": {"lesion_dice": 0.4, "lesion_tp": 2, "lesion_fp": 0, "lesion_fn": 0, "lesion_f1": 1},
            "brats2024": {"lesion_dice": 0.4, "lesion_tp": 2, "lesion_fp": 0, "lesion_fn": 0},
            "brats2026": {"lesion_dice": 0.4, "lesion_tp": 1, "lesion_fp": 0, "lesion_fn": 1, "lesion_f1": 2 / 3},
        },
    ),
    # The other way round: together 128 of 256 voxels, 256/384. One to one: 128/320, and a false positive.
    Constructed(
        "two predicted components in one lesion",
        [bar(2, 18)],
        [cube(2), cube(14)],
        {
            **{name: {**JOINED, "lesion_fp": 0} for name in ("brats2023", "brats2024")},
            "brats2026": {"lesion_dice": 0.4, "lesion_tp": 1, "lesion_fp": 1, "lesion_fn": 0, "lesion_f1": 2 / 3},
        },
    ),
    # An ignored lesion that is found: neither a hit nor, its prediction, a false positive.
    Constructed(
        "an ignored lesion that is found",
        [cube(2), lump(20)],
        [cube(2), lump(20)],
        {"brats2023": lesion(1, 0, 1, 0, 0, 1), "brats2024": lesion(1, 0, 2, 0, 0, 1)},
    ),
    # Metastases of 2026: lesions of 20 mm3 and more enter the mean, with misses and false positives as zeros. A large
    # one is perfect, one of 19 is missed (not in the mean), one voxel is false: (1 + 0)/2, (0 + 373)/2.
    Constructed(
        "metastases of 2026",
        [cube(2), lump(19)],
        [cube(2), (ET, (28, 29), (10, 11), (10, 11))],
        {"brats2026:met": lesion(0.5, 186.5, 1, 1, 1, 0.5), "brats2026": lesion(1, 0, 1, 1, 1, 0.5)},
    ),
    Constructed(
        "metastases of 2026, a large one missed",
        [cube(2), lump(20)],
        [cube(2)],
        {"brats2026:met": lesion(0.5, 186.5, 1, 0, 1, 2 / 3)},
    ),
]

_APART = {"lesion_dice": 0.5, "lesion_fn": 1}
TISSUE = [
    # Two cubes of ET 8 voxels apart (too far for 3 dilations), the core between them touches both: 2024 joins them.
    Constructed(
        "two lesions joined over the core",
        [cube(2), bar(6, 14, NETC), cube(14)],
        [cube(2), bar(6, 14, NETC)],
        {
            "brats2023": _APART,
            **dict.fromkeys(("brats2024", "brats2024:ssa", "brats2024:met"), JOINED),
            "brats2024:men": _APART,
            "brats2026": {"lesion_dice": 1, "lesion_fn": 1},
        },
    ),
    Constructed(
        "two lesions joined over the cavity",
        [cube(2), bar(6, 14, RC), cube(14)],
        [cube(2), bar(6, 14, RC)],
        {"brats2024": JOINED, "brats2024:ssa": _APART},
    ),
    # The core touches one of them only: a single touching pair joins nothing.
    Constructed(
        "a core that touches one lesion",
        [cube(2), bar(6, 13, NETC), cube(14)],
        [cube(2), bar(6, 13, NETC)],
        {"brats2024": _APART},
    ),
    # Gap of 8: five dilations (NETC, RC) meet, three do not. SNFH was meant to have five and has three.
    *(
        Constructed(
            f"{region} 8 voxels apart",
            [cube(2, label), cube(14, label)],
            [cube(2, label)],
            {"brats2024": _APART if region == "SNFH" else JOINED},
            region,
            (label,),
        )
        for region, label in (("NETC", NETC), ("SNFH", SNFH), ("RC", RC))
    ),
    # Other regions than ET: 20 voxels, not 10.
    *(
        Constructed(
            f"a false positive of {voxels} voxels in the whole tumour",
            [cube(2, SNFH)],
            [cube(2, SNFH), lump(voxels, SNFH)],
            {"brats2024": expected},
            "WT",
            (NETC, SNFH, ET),
        )
        for voxels, expected in ((20, lesion(1, 0, 1, 0, 0, 1)), (21, lesion(0.5, 168.5, 1, 1, 0, 2 / 3)))
    ),
]

THICK = (2.0, 1.0, 1.0)
SPACING = [
    # Voxels of 2 mm3: 25 are 50 mm3 and ignored, 26 are not.
    Constructed(
        "50 mm3 in thick slices",
        [cube(2), lump(25)],
        [cube(2)],
        {"brats2023": lesion(1, 0, 1, 0, 0, 1, volume_truth_mm3=178)},
        spacing_mm_zyx=THICK,
    ),
    Constructed(
        "52 mm3 in thick slices",
        [cube(2), lump(26)],
        [cube(2)],
        {"brats2023": lesion(0.5, 187, 1, 0, 1, 2 / 3)},
        spacing_mm_zyx=THICK,
    ),
    # 2024 ignores true lesions by mm3 but counts voxels in the prediction: 11 voxels of 0.5 mm3 are a false positive.
    Constructed(
        "2024 filters predictions by voxels",
        [cube(2)],
        [cube(2), lump(11)],
        {"brats2024": lesion(0.5, 168.5, 1, 1, 0, 2 / 3)},
        spacing_mm_zyx=(0.5, 1.0, 1.0),
    ),
    # Shifted by one slice of 3 mm: HD95 3; within 1 mm only what coincides, 36 of 56 border voxels.
    Constructed(
        "a shift across thick slices",
        [cube(2)],
        [cube(2, z=3)],
        {
            "brats2023": {"dice": 0.75, "hd95_mm": 3, "lesion_hd95_mm": 3, "volume_truth_mm3": 192},
            "brats2024": {"hd95_mm": 3},
        },
        spacing_mm_zyx=(3.0, 1.0, 1.0),
    ),
]
