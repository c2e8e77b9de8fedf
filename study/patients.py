"""Generated patients to nnU-Net's folders, by the commands that users type."""

import os
import subprocess
import sys
from pathlib import Path

from study.progress import Progress
from study.settings import HELD_OUT_ID, HELD_OUT_NAME, TRAIN_ID

LAYOUT = "utsw"


def prepare(progress: Progress) -> None:
    """Generates both halves, converts both, plans and preprocesses the training half."""
    out, study = progress.folder, progress.study
    jobs = ["--jobs", str(study.workers)]
    phantom = ["--layout", LAYOUT, "--spacing", str(study.spacing_mm), "--seed", str(study.phantom_seed), *jobs]
    train, held_out = str(out / "patients"), str(out / "held_out_patients")
    with progress.once("generate patients") as needed:
        if needed:
            start = ["--start", str(study.held_out_start)]
            command(out, "comnet", "phantom", train, "--cases", str(study.patients), *phantom)
            command(out, "comnet", "phantom", held_out, "--cases", str(study.held_out), *start, *phantom)
    with progress.once("convert") as needed:
        if needed:
            name = HELD_OUT_NAME.split("_")[1]
            command(out, "comnet", "convert", LAYOUT, train, "-d", str(TRAIN_ID), *jobs)
            command(out, "comnet", "convert", LAYOUT, held_out, "-d", str(HELD_OUT_ID), "--name", name, *jobs)
    with progress.once("plan and preprocess") as needed:
        if needed:
            flags = ["--preset", "demo", "--preprocess", *jobs, *study.plan_flags]
            command(out, "comnet", "plan", "-d", str(TRAIN_ID), *flags)


def held_out_cases(out: Path) -> list[str]:
    """Names of the converted held-out patients."""
    return sorted(path.name.removesuffix(".nii.gz") for path in held_out_folder(out).glob("labelsTr/*.nii.gz"))


def held_out_folder(out: Path) -> Path:
    """nnU-Net's raw folder of the held-out half."""
    return out / "raw" / HELD_OUT_NAME


def images_of(out: Path, case: str) -> list[Path]:
    """The four channels of a held-out patient."""
    return [held_out_folder(out) / "imagesTr" / f"{case}_{channel:04d}.nii.gz" for channel in range(4)]


def command(out: Path, *words: str, **variables: str) -> None:
    """One command of ours or of nnU-Net's, with some environment variables set.

    What it says goes to a log, and its end to the error where it fails.
    """
    ran = subprocess.run(
        [str(Path(sys.executable).parent / words[0]), *words[1:]],
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    (out / "logs").mkdir(exist_ok=True)
    with open(out / "logs" / "commands.log", "a", encoding="utf-8") as log:
        log.write(f"$ {' '.join(words)}\n{ran.stdout}\n")
    if ran.returncode:
        raise RuntimeError(f"{' '.join(words)} failed:\n{ran.stdout[-3000:]}")
