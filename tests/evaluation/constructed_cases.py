"""Small constructed cases and what each protocol makes of them, worked by hand; voxels of 1 mm unless said otherwise.

Masks are lists of boxes (label, x from-to, y from-to, z from-to); upper ends are not included. A cube has
4 x 4 x 4 = 64 voxels. Two cubes with a gap of g empty voxels become one lesion when d dilations meet: g <= 2 d.
HD95 of two cubes shifted by s: the two outer faces, a sixth of the surface each, lie s apart, so it is s.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nnunetv2_comnet.regions import SHORT_NAMES

SHAPE = (24, 24, 32)  # z, y, x
NETC, SNFH, ET, RC = 1, 2, 3, 4
Box = tuple[int, tuple[int, int], tuple[int, int], tuple[int, int]]
NAN = float("nan")


def cube(x: int, label: int = ET, y: int = 2, z: int = 2) -> Box:
    return (label, (x, x + 4), (y, y + 4), (z, z + 4))


def bar(x: int, end: int, label: int = ET) -> Box:
    return (label, (x, end), (2, 6), (2, 6))


def lump(voxels: int, label: int = ET) -> Box:
    """A row of voxels along x, far (14 voxels) from everything that lies at y = 2 to 6; up to 30 voxels."""
    return (label, (1, 1 + voxels), (20, 21), (20, 21))


def plate(voxels: int, label: int = ET) -> list[Box]:
    """As `lump`, in two rows one upon the other."""
    upper = voxels // 2
    return [(label, (1, 1 + voxels - upper), (20, 21), (20, 21)), (label, (1, 1 + upper), (20, 21), (21, 22))]


def painted(boxes: list[Box], shape: tuple[int, int, int] = SHAPE) -> npt.NDArray[np.uint8]:
    mask = np.zeros(shape, np.uint8)
    for label, x, y, z in boxes:
        mask[slice(*z), slice(*y), slice(*x)] = label
    return mask


@dataclass(frozen=True)
class Constructed:
    """A case; expected: protocol -> metric -> value, for the region."""

    name: str
    truth: list[Box]
    prediction: list[Box]
    expected: Mapping[str, Mapping[str, float]]
    region: str = "ET"
    labels: tuple[int, ...] = (ET,)
    spacing_mm_zyx: tuple[float, float, float] = (1.0, 1.0, 1.0)

    @property
    def regions(self) -> dict[str, tuple[int, ...]]:
        full = {short: name for name, short in SHORT_NAMES.items()}
        return {full.get(self.region, self.region): self.labels}


def lesion(
    dice: float, hd95: float, found: int, false: int, missed: int, f1: float, /, **more: float
) -> dict[str, float]:
    counts = {"lesion_tp": found, "lesion_fp": false, "lesion_fn": missed, "lesion_f1": f1}
    return {"lesion_dice": dice, "lesion_hd95_mm": hd95, **counts, **more}


def all_of(dice: float, hd95: float, nsd: float, /, **more: float) -> dict[str, float]:
    return {"dice": dice, "hd95_mm": hd95, "nsd_1mm": nsd, **more}


JOINED = {"lesion_dice": 2 / 3, "lesion_tp": 1, "lesion_fn": 0}  # two cubes are one lesion, one is predicted
# Of two equal surfaces the 2024 script makes 2 / (2 + 1e-8), because of what it adds against division by zero.
WHOLE_2024 = 2 / (2 + 1e-8)
LEGACY_PENALTY = (240**2 + 240**2 + 155**2) ** 0.5  # 373.1287
DIAGONAL = (24**2 + 24**2 + 32**2) ** 0.5  # of SHAPE: 46.6476

CASES = [
    Constructed(
        "the same cube",
        [cube(2)],
        [cube(2)],
        {
            "legacy": all_of(1, 0, 1, iou=1, precision=1, sensitivity=1, assd_mm=0),
            "brats2023": all_of(1, 0, 1) | lesion(1, 0, 1, 0, 0, 1),
            "brats2024": all_of(1, 0, WHOLE_2024) | lesion(1, 0, 1, 0, 0, 1, lesion_nsd_1mm=WHOLE_2024),
            "brats2026": all_of(1, 0, 1) | lesion(1, 0, 1, 0, 0, 1, lesion_nsd_1mm=1),
        },
    ),
    # Shifted by 1 in x: 3 x 16 = 48 voxels in both: Dice 96/128, IoU 48/80, precision 48/64. Border voxels of a cube:
    # 64 - 8 = 56. Of the truth's, those of the prediction too: at x = 3 and 4 rings of 12, at x = 5 a ring of 12 out of
    # the face's 16, at x = 2 none: 36/56 at 0.5 mm. At 1 mm all. Pooled distances: 36 of 56 are 0, the rest 1.
    Constructed(
        "a cube shifted by one voxel",
        [cube(2)],
        [cube(3)],
        {
            "legacy": all_of(0.75, 1, 1, iou=0.6, precision=0.75, sensitivity=0.75, volume_difference_mm3=0),
            "brats2023": all_of(0.75, 1, 1) | lesion(0.75, 1, 1, 0, 0, 1),
            "brats2024": all_of(0.75, 1, WHOLE_2024)
            | {"nsd_0.5mm": 36 / 56 * WHOLE_2024, "lesion_nsd_0.5mm": 36 / 56 * WHOLE_2024},
            "brats2026": all_of(0.75, 1, 1, assd_mm=20 / 56)
            | {"nsd_0.5mm": 36 / 56, "lesion_nsd_0.5mm": 36 / 56, "lesion_nsd_1mm": 1},
        },
    ),
    # Two cubes that touch in one corner are one component of 128 (26 neighbours); 64 of it predicted: 128/192.
    Constructed(
        "touching lesions",
        [cube(2), cube(6, y=6, z=6)],
        [cube(2)],
        {
            name: {**JOINED, "dice": 2 / 3, "lesion_fp": 0, "lesion_f1": 1}
            for name in ("brats2023", "brats2023:met", "brats2024", "brats2026")
        },
    ),
    # Gap of 6 voxels (x = 6 to 11): 3 dilations meet, 1 does not. Joined: one lesion of 128, 64 of it found: 2/3.
    # Apart: the first is perfect, the second missed: (1 + 0)/2, HD95 (0 + 374)/2. 2026 joins nothing, and its mean
    # knows no miss.
    Constructed(
        "two lesions merged by dilation",
        [cube(2), cube(12)],
        [cube(2)],
        {
            **dict.fromkeys(("brats2023", "brats2023:ssa", "brats2023:ped", "brats2024"), JOINED),
            **dict.fromkeys(("brats2023:men", "brats2023:met", "brats2024:men"), lesion(0.5, 187, 1, 0, 1, 2 / 3)),
            "brats2024:met": lesion(0.5, DIAGONAL / 2, 1, 0, 1, 2 / 3),
            "brats2026": lesion(1, 0, 1, 0, 1, 2 / 3),
        },
    ),
    # Gap of 7: three dilations leave one voxel between them; five (children, 2024) meet.
    Constructed(
        "two lesions one voxel too far to merge",
        [cube(2), cube(13)],
        [cube(2)],
        {
            "brats2023": lesion(0.5, 187, 1, 0, 1, 2 / 3),
            "brats2024": lesion(0.5, 168.5, 1, 0, 1, 2 / 3),
            "brats2024:ped": JOINED,
        },
    ),
    # Any size counts in 2023: (1 + 0)/2, (0 + 374)/2. 2024 takes ET lesions of 10 voxels or less out of the prediction
    # before it scores anything, volumes included. 2026 counts it, outside its mean: F1 2/(2 + 1). Dice 128/129.
    Constructed(
        "an isolated false positive of one voxel",
        [cube(2)],
        [cube(2), lump(1)],
        {
            "legacy": {"dice": 128 / 129, "precision": 64 / 65},
            "brats2023": lesion(0.5, 187, 1, 1, 0, 2 / 3, dice=128 / 129, volume_predicted_mm3=65),
            "brats2024": lesion(1, 0, 1, 0, 0, 1, dice=1, volume_predicted_mm3=64),
            "brats2024:men": lesion(0.5, 187, 1, 1, 0, 2 / 3, dice=128 / 129),
            "brats2026": lesion(1, 0, 1, 1, 0, 2 / 3, dice=128 / 129),
        },
    ),
    Constructed(
        "a false positive at 2024's limit",
        [cube(2)],
        [cube(2), lump(10)],
        {"brats2024": lesion(1, 0, 1, 0, 0, 1, dice=1), "brats2024:met": lesion(0.5, DIAGONAL / 2, 1, 1, 0, 2 / 3)},
    ),
    Constructed(
        "a false positive one voxel over 2024's limit",
        [cube(2)],
        [cube(2), lump(11)],
        {"brats2024": lesion(0.5, 168.5, 1, 1, 0, 2 / 3, dice=128 / 139)},
    ),
    # Ignored: 50 mm3 and less (2 for metastases; 10 for ET and 20 for the rest in 2024). Here a lesion is missed.
    Constructed(
        "a missed lesion at the limit",
        [cube(2), *plate(50)],
        [cube(2)],
        {"brats2023": lesion(1, 0, 1, 0, 0, 1), "brats2023:met": lesion(0.5, 187, 1, 0, 1, 2 / 3)},
    ),
    Constructed(
        "a missed lesion one voxel over the limit",
        [cube(2), *plate(51)],
        [cube(2)],
        {"brats2023": lesion(0.5, 187, 1, 0, 1, 2 / 3), "brats2026": lesion(1, 0, 1, 0, 1, 2 / 3)},
    ),
    Constructed(
        "a missed lesion at the limit of metastases",
        [cube(2), lump(2)],
        [cube(2)],
        {"brats2023:met": lesion(1, 0, 1, 0, 0, 1), "brats2024:met": lesion(1, 0, 1, 0, 0, 1)},
    ),
    Constructed(
        "a missed lesion over the limit of metastases",
        [cube(2), lump(3)],
        [cube(2)],
        {
            "brats2023:met": lesion(0.5, 187, 1, 0, 1, 2 / 3),
            "brats2024:met": lesion(0.5, DIAGONAL / 2, 1, 0, 1, 2 / 3),
        },
    ),
]
