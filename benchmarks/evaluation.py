"""What `comnet evaluate` costs on full-size generated cases: seconds and memory a case, processes, the worst case.

    python benchmarks/evaluation.py [--cases 20] [--generated 4] [--protocol brats2023] [--save]

The truth is a generated patient's, the prediction its imitation of a segmentation program's first draft; beyond
`--generated` of them cases are mirrored or shifted copies. The worst case is a prediction with hundreds of specks all
over the image, which makes every volume large and every lesion rule work. The peer is DeepMind's surface-distance,
whose numbers ours are: it transforms the whole volume where ours looks for neighbours.
"""

import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness import COMNET, Table, command_peak_gib, comnet, interleaved, parser, report

from nnunetv2_comnet.workers import allowed_cores

PROTOCOLS = ("legacy", "brats2023", "brats2024", "brats2026")
SPECKS = 600
SPACING_MM = (1.0, 1.0, 1.0)


def main() -> None:
    """Parses the command line, makes the cases, measures, reports."""
    options = parser(__doc__, pairs=True)
    options.add_argument("--cases", type=int, default=20)
    options.add_argument("--generated", type=int, default=4, help="how many of them are not copies")
    options.add_argument("--protocol", default="brats2023")
    chosen = options.parse_args()
    masks = generated(min(chosen.generated, chosen.cases))
    worst = (masks[0][0], with_specks(masks[0][1]))
    tables = [one_case(masks[0], worst, chosen.pairs), against_the_peer(masks[0], worst, chosen.pairs)]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_cases(root, masks, chosen.cases)
        tables.insert(0, whole_command(root, chosen.cases, chosen.protocol, chosen.pairs))
    notes = [
        f"{chosen.cases} cases of 155 x 240 x 240 voxels, {chosen.generated} generated, the others copies of them",
        f"whole command: protocol {chosen.protocol}, all metrics; peak memory is of the largest process",
        f"worst case: {SPECKS} specks of 1 to 27 voxels all over the image, added to a normal prediction",
        f"one case: median CPU seconds of {chosen.pairs} runs, one core, files not read",
    ]
    report("evaluation", tables, notes, chosen.save)


def generated(count: int) -> list[tuple[Any, Any]]:
    """Pairs of true and predicted label maps (Z, Y, X), uint8."""
    from nnunetv2_comnet.phantom.patient import generate

    patients = [generate((0, number)) for number in range(count)]
    return [(patient.mask, patient.automatic_mask) for patient in patients]


def with_specks(prediction: Any) -> Any:
    """A copy with small cubes of random labels all over the image."""
    import numpy as np

    rng, result = np.random.default_rng(0), prediction.copy()
    for _ in range(SPECKS):
        side = int(rng.integers(1, 4))
        box = tuple(slice(start, start + side) for start in (int(rng.integers(1, size - 4)) for size in result.shape))
        result[box] = rng.integers(1, 4)
    return result


def write_cases(root: Path, masks: list[tuple[Any, Any]], count: int) -> None:
    """Writes reference/NAME.nii.gz and prediction/NAME.nii.gz."""
    import numpy as np

    from nnunetv2_comnet.phantom.write import write_image

    for number in range(count):
        copy, which = divmod(number, len(masks))
        for folder, mask in zip(("reference", "prediction"), masks[which], strict=True):
            changed = np.roll(mask, copy // 2, axis=0)
            changed = np.flip(changed, 2) if copy % 2 else changed
            write_image(root / folder / f"case_{number:03d}.nii.gz", changed, 1.0)


def whole_command(root: Path, count: int, protocol: str, pairs: int) -> Table:
    """Wall seconds of the command, one process against as many as there are cores; and the largest process' memory."""

    def words(jobs: int) -> list[str]:
        folders = ["-ref", root / "reference", "-pred", root / "prediction", "-o", root / "scores"]
        return ["evaluate", *map(str, folders), "--protocol", protocol, "--jobs", str(jobs)]

    def command(jobs: int) -> Callable[[], object]:
        return lambda: comnet(*words(jobs))

    peak_gib = command_peak_gib([str(COMNET), *words(1)])
    columns = ["--jobs", "s", "s a case", "peak memory of a process, GiB", "times faster than --jobs 1", "of"]
    table = Table("`comnet evaluate`, whole command", columns)
    more = max(2, allowed_cores())
    found = interleaved(command(more), command(1), pairs, warmup=0)
    table.add("1", found.peer, found.peer / count, peak_gib, None, None)
    table.add(more, found.ours, found.ours / count, None, 1 / found.ratio, min(more, allowed_cores()))
    return table


def one_case(normal: tuple[Any, Any], worst: tuple[Any, Any], pairs: int) -> Table:
    """CPU seconds of `score_case`, by protocol."""
    from nnunetv2_comnet.evaluation.case_scores import score_case
    from nnunetv2_comnet.evaluation.protocols import protocol_named

    table = Table("One case, CPU seconds", ["protocol", "normal case", "worst case"])
    for name in PROTOCOLS:
        regions = protocol_named(name).regions

        def scored(case: tuple[Any, Any], name: str = name, regions: Any = regions) -> Callable[[], object]:
            return lambda: score_case(*case, SPACING_MM, regions, name)

        found = interleaved(scored(normal), scored(worst), pairs, clock=time.process_time)
        table.add(name, found.ours, found.peer)
    return table


def against_the_peer(normal: tuple[Any, Any], worst: tuple[Any, Any], pairs: int) -> Table:
    """CPU seconds for the surfaces of the whole tumour: HD95 and NSD, ours and surface-distance's."""
    import surface_distance as peer

    from nnunetv2_comnet.evaluation.protocols import AREA
    from nnunetv2_comnet.evaluation.surfaces import Surfaces

    warnings.simplefilter("ignore", DeprecationWarning)  # the peer calls scipy by a former name

    def ours(truth: Any, prediction: Any) -> tuple[float, float]:
        surfaces = Surfaces(truth, prediction, SPACING_MM)
        return surfaces.hd95_mm(AREA), surfaces.nsd(AREA, 1.0)

    def theirs(truth: Any, prediction: Any) -> tuple[float, float]:
        found = peer.compute_surface_distances(truth, prediction, SPACING_MM)
        dice = peer.compute_surface_dice_at_tolerance(found, 1.0)
        return float(peer.compute_robust_hausdorff(found, 95)), float(dice)

    table = Table("HD95 and NSD of the whole tumour, CPU seconds", ["case", "ours", "surface-distance", "ratio"])
    for what, case in (("normal", normal), ("worst", worst)):
        pair = tuple(mask > 0 for mask in case)
        assert ours(*pair) == theirs(*pair), "the numbers differ"
        found = interleaved(
            lambda pair=pair: ours(*pair), lambda pair=pair: theirs(*pair), pairs, 0, clock=time.process_time
        )
        table.add(what, found.ours, found.peer, found.ratio)
    return table


if __name__ == "__main__":
    main()
