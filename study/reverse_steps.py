"""Quality against time of fewer reverse steps: `python -m study.reverse_steps FOLDER [--docs] [--quick]`.

In the refinement study's folder or one of its own: the first fold's refiner corrects its own fold's map of the study's
held-out patients, at full strength. What is missing of stage 1 and of that refiner is trained first.
"""

import functools
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from nnunetv2_comnet.comparison.outcome import Comparison
from nnunetv2_comnet.comparison.pairing import AVERAGE
from nnunetv2_comnet.files import read_json, sha256, write_json, write_text
from nnunetv2_comnet.text_tables import markdown, number
from study.differences import COLUMNS, compare_rows, differences, means, shown
from study.progress import Progress, begin, copy_to_docs
from study.run import train_folds, workers
from study.settings import DEFAULT, FIRST, FULL, QUICK, STAGE_1, RefinedRow

NAME = "reverse_steps"
STEPS = (25, 8, 4, 1)
COARSE, SECONDS = "coarse", "seconds"


def main() -> None:
    """Parses the command line, trains what is missing, refines, writes the page."""
    where = "the refinement study's folder, or a new one"
    progress, to_docs = begin("study.reverse_steps", __doc__, where, FULL, QUICK)
    target = progress.folder / f"{NAME}.md"
    write_text(target, run(progress))
    if to_docs:
        copy_to_docs(progress.folder, target.name)
    progress.say(f"done: {target}")


def run(progress: Progress) -> str:
    """All stages; returns the page. nnU-Net is imported only here: it reads its folders' variables when it is."""
    from study import coarse_maps, patients

    patients.prepare(progress)
    out, folds = progress.folder, progress.study.folds
    with workers(progress.study) as pool:
        train_folds(progress, pool, {STAGE_1: folds})
        train_folds(progress, pool, {DEFAULT: folds[:1]})
        cases = patients.held_out_cases(out)
        with progress.stage(f"coarse maps of {len(cases)} held-out patients"):
            list(pool.map(functools.partial(coarse_maps.write_coarse, out, folds=folds), cases))
        with progress.stage("refine by fewer steps"):
            results = _scored_alone(pool, out, cases, folds)
    return page(results, progress)


def _scored_alone(
    pool: ProcessPoolExecutor, out: Path, cases: Sequence[str], folds: tuple[int, ...]
) -> list[dict[str, Any]]:
    """One patient after the other, so that no neighbour is in the times."""
    return [pool.submit(score_patient, out, case, folds).result() for case in cases]


def score_patient(out: Path, case: str, folds: tuple[int, ...]) -> dict[str, Any]:
    """rows: scores of the coarse map and by number of steps; seconds: of each number. Kept in a file."""
    from nnunetv2_comnet.inference.model_folder import CHECKPOINT
    from nnunetv2_comnet.regions import THRESHOLD
    from study.coarse_maps import read_coarse
    from study.refining import PatientMaps, load_refiners
    from study.scores import score
    from study.training import model_folder

    path = out / NAME / f"{case}.json"
    model = sha256(model_folder(out, DEFAULT) / f"fold_{folds[0]}" / CHECKPOINT)
    if path.is_file():
        stored: dict[str, Any] = read_json(path)
        if stored["model"] == model:
            return stored
    patient = read_coarse(out, case)
    load_refiners(out, DEFAULT, folds[:1])
    maps = PatientMaps(out, patient, folds[:1])
    result: dict[str, Any] = {"case": case, "model": model, "rows": {}, SECONDS: {}}
    result["rows"][COARSE] = score(patient, maps.single[0] > THRESHOLD)
    for steps in STEPS:
        row = RefinedRow(str(steps), "", DEFAULT, steps=steps, folds=1, reference=FIRST)
        start = time.perf_counter()
        refined = maps.refined(row)
        result[SECONDS][str(steps)] = time.perf_counter() - start
        result["rows"][str(steps)] = score(patient, refined > THRESHOLD)
    write_json(path, result)
    return result


def page(results: Sequence[dict[str, Any]], progress: Progress) -> str:
    """The page: a row per number of steps, with the paired difference to the coarse map and the time of a patient."""
    comparison = compare_rows(results, (COARSE, *map(str, STEPS)), COARSE)
    header = ["reverse steps", *COLUMNS, f"{AVERAGE}, difference to the coarse map", "seconds a patient"]
    rows = [["none", *_means(comparison, COARSE), "reference", ""]]
    for steps in map(str, STEPS):
        seconds = sorted(result[SECONDS][steps] for result in results)[len(results) // 2]
        change = shown(differences(comparison, steps)["dice"][AVERAGE])
        rows.append([steps, *_means(comparison, steps), change, number(seconds, 2)])
    return (
        "# Fewer reverse steps: quality against time\n\n"
        f"Mean Dice of {len(results)} held-out generated patients, the first fold's refiner on its own fold's map at "
        "full strength (alpha = 1); in brackets the 95 % bootstrap interval of the mean paired difference. Seconds: "
        "the median patient's refinement by one fold, one thread, without stage 1. `comnet predict --steps N` chooses."
        "\n\n"
        + markdown(header, rows, words=0)
        + "\n\nPatients, training and settings are those of the [refinement study](refinement_study.md): "
        f"`comnet plan --preset demo {' '.join(progress.study.plan_flags)}`. Made by `python -m study.reverse_steps "
        "FOLDER --docs`.\n"
    )


def _means(comparison: Comparison, row: str) -> list[str]:
    return [number(mean, 4) for mean in means(comparison, row)["dice"].values()]


if __name__ == "__main__":
    main()
