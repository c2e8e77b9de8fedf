"""The study from beginning to end: `python -m study.run FOLDER [--docs] [--quick]`; what is whole is not redone."""

import functools
import multiprocessing
import signal
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from study.progress import Progress, begin, copy_to_docs
from study.settings import DEFAULT, FULL, QUICK, STAGE_1, STAGE_2, Study, folds_of

NAME = "refinement_study"


def main() -> None:
    """Parses the command line and runs every stage."""
    progress, to_docs = begin("study.run", __doc__, "for everything that is made, about 1 GB", FULL, QUICK)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended; the same command goes on"))  # what it took is counted
    run(progress)
    if to_docs:
        copy_to_docs(progress.folder, f"{NAME}.md", f"{NAME}.png")
    minutes = progress.total_seconds / 60
    progress.say(f"done: {progress.folder / NAME}.md, .json, .png; {minutes:.1f} minutes over all runs")


def run(progress: Progress) -> None:
    """All stages. nnU-Net is imported only here: it reads its folders' variables when it is."""
    from study import patients

    patients.prepare(progress)
    with workers(progress.study) as pool:
        train_all(progress, pool, (STAGE_1,))
        train_all(progress, pool, STAGE_2)
        out, folds = progress.folder, progress.study.folds
        score_all(progress, pool, out, folds)


def workers(study: Study) -> ProcessPoolExecutor:
    """The study's processes, with one thread each."""
    from study.training import start_worker

    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(study.workers, context, initializer=start_worker, initargs=(context.Lock(),))


def train_all(progress: Progress, pool: ProcessPoolExecutor, trainers: tuple[str, ...]) -> None:
    """Trains the folds that have no final checkpoint yet; folds of different trainers alternate."""
    of_trainers = {trainer: folds_of(trainer, progress.study.folds) for trainer in trainers}
    train_folds(progress, pool, of_trainers)


def train_folds(progress: Progress, pool: ProcessPoolExecutor, of_trainers: Mapping[str, Sequence[int]]) -> None:
    """Likewise, of each trainer the folds named."""
    from study.training import Fold, train

    jobs = [
        Fold(progress.folder, trainer, fold)
        for fold in progress.study.folds
        for trainer, folds in of_trainers.items()
        if fold in folds
    ]
    stage = 1 if STAGE_1 in of_trainers else 2
    missing = [job for job in jobs if not job.checkpoint.is_file()]
    with progress.stage(f"train stage {stage} ({len(jobs)} folds)"):
        for job, seconds in zip(missing, pool.map(train, missing), strict=True):
            progress.log["folds"][f"{job.trainer} fold {job.fold}"] = seconds
            progress.save()


def score_all(progress: Progress, pool: ProcessPoolExecutor, out: Path, folds: tuple[int, ...]) -> None:
    """Strengths; coarse maps, refined maps and scores of the held-out half; table and figure."""
    from study import coarse_maps, refining, report, scores
    from study.patients import held_out_cases
    from study.training import choose_strengths

    cases = held_out_cases(out)
    with progress.stage(f"calibrate, and coarse maps of {len(cases)} held-out patients"):
        strengths = pool.submit(choose_strengths, out, DEFAULT)
        list(pool.map(functools.partial(coarse_maps.write_coarse, out, folds=folds), cases))
        strengths.result()
    with progress.stage("compare with prediction, one patient"):
        pool.submit(refining.check_agreement, out, coarse_maps.read_coarse(out, cases[0]), folds).result()
    with progress.stage(f"refine and score {len(cases)} held-out patients"):
        results = list(pool.map(functools.partial(scores.score_patient, out, folds=folds), cases))
    with progress.stage("table and figure"):
        report.write(progress, results, out / NAME)


if __name__ == "__main__":
    main()
