"""Is `comnet convert` bound by gzip? Full-size generated patients; --jobs; --link once the checks are cached.

    python benchmarks/conversion.py [--patients 50] [--generated 4] [--linked 625] [--save]

Patients are generated as the phantom command does it; beyond `--generated` of them, the others are copies with noise,
which compress no better. Everything lies in a temporary folder (TMPDIR), about 20 MB a patient.
"""

import contextlib
import gzip
import multiprocessing
import os
import shutil
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from harness import Table, comnet, interleaved, parser, report

from nnunetv2_comnet.workers import allowed_cores

LAYOUT = "brats2021"
SMALL_MM = 4.0  # of the patients that are linked: their voxels are not read again, only their number matters


def main() -> None:
    """Parses the command line, makes the patients, measures, reports."""
    options = parser(__doc__, pairs=True)
    options.add_argument("--patients", type=int, default=50)
    options.add_argument("--generated", type=int, default=4, help="how many of them are not copies with noise")
    options.add_argument("--linked", type=int, default=625, help="patients of the --link row")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        source = patients(root / "patients", chosen.patients, min(chosen.generated, chosen.patients))
        tables = [
            share_of_gzip(source, root, chosen.patients),
            scaling(source, root, chosen.patients, chosen.pairs),
            linking(root, chosen.linked),
        ]
    notes = [
        f"{chosen.patients} patients of 240 x 240 x 155 voxels, {chosen.generated} generated, the others with noise",
        "gzip alone: the same files decompressed, and compressed again at the converter's level, and nothing else, in "
        "as many processes, started before; times faster: than with one process, the command and gzip alone",
        f"--link: {chosen.linked} patients of {SMALL_MM:g} mm voxels; links need the files' records, not their voxels",
    ]
    report("conversion", tables, notes, chosen.save)


def patients(source: Path, count: int, generated: int) -> Path:
    """Writes `count` patients below `source`: the first ones generated, then copies of them with noise in the brain."""
    import nibabel
    import numpy as np

    from nnunetv2_comnet.phantom.write import PhantomSet, write_image, write_patients

    names = write_patients(PhantomSet(source, LAYOUT, generated), jobs=1)
    folder = next(source.glob(f"*/{names[0]}")).parent
    for number in range(generated, count):
        rng = np.random.default_rng(number)
        model, name = names[number % generated], f"BraTS2021_{number + 1:05d}"
        for path in sorted((folder / model).glob("*.nii.gz")):
            data = np.asarray(nibabel.load(path).dataobj)
            if "_seg" not in path.name:
                noise = rng.integers(-1, 2, data.shape, dtype=np.int16)
                data = np.where(data > 1, data + noise, data).astype(np.int16)
            write_image(folder / name / path.name.replace(model, name), data.transpose(2, 1, 0), 1.0)
    return source


def share_of_gzip(source: Path, root: Path, count: int) -> Table:
    """CPU seconds of one process: inside gzip, inside fsync (its waiting is none), and outside both."""
    spent = {"decompress": 0.0, "compress": 0.0, "fsync": 0.0}
    convert(source, root / "warm")
    with gzip_timed(spent):
        start = time.process_time()
        convert(source, root / "timed")
        whole = time.process_time() - start
    rest = whole - sum(spent.values())
    table = Table("Where one process spends its time", ["part", "CPU s a patient", "share"])
    for part, seconds in (*spent.items(), ("everything else", rest), ("whole", whole)):
        table.add(part, seconds / count, f"{100 * seconds / whole:.1f} %")
    return table


@contextlib.contextmanager
def gzip_timed(spent: dict[str, float]) -> Iterator[None]:
    """Adds up the CPU seconds of the converter's calls into zlib and to fsync."""

    def timed(function: Callable[..., Any], part: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            start = time.process_time()
            try:
                return function(*arguments)
            finally:
                spent[part] += time.process_time() - start

        return call

    class Timed:
        """A compressor or decompressor whose methods are timed; its other attributes are its own."""

        def __init__(self, real: Any, part: str) -> None:
            self._real, self._part = real, part

        def __getattr__(self, name: str) -> Any:
            found = getattr(self._real, name)
            return timed(found, self._part) if callable(found) else found

    def making(make: Callable[..., Any], part: str) -> Callable[..., Any]:
        return lambda *arguments: Timed(make(*arguments), part)

    with (
        mock.patch.object(zlib, "decompressobj", making(zlib.decompressobj, "decompress")),
        mock.patch.object(zlib, "compressobj", making(zlib.compressobj, "compress")),
        mock.patch.object(os, "fsync", timed(os.fsync, "fsync")),
    ):
        yield
    assert all(spent.values()), f"the converter does not call what is timed: {spent}"


def convert(source: Path, out: Path) -> None:
    """Converts in this process."""
    from nnunetv2_comnet.dataset_conversion.convert import ConversionOptions, convert_dataset

    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):  # the progress bar
        result = convert_dataset(ConversionOptions(layout=LAYOUT, source=source, dataset_id=501, out=out, folds=2))
    assert not result.excluded, result.excluded[0].findings


def scaling(source: Path, root: Path, count: int, pairs: int) -> Table:
    """Wall seconds of the command for all patients against gzip alone, with one process and with more."""
    files = sorted(source.rglob("*.nii.gz"))

    def command(jobs: int) -> Callable[[], None]:
        return lambda: comnet_convert(source, root / f"jobs{jobs}", "--jobs", str(jobs))

    columns = ["--jobs", "s", "s a patient", "gzip alone, s", "fraction of it", "times faster", "gzip alone", "of"]
    table = Table("`comnet convert`, whole command", columns)
    with pool(1) as one:
        alone = partial(gzip_alone, one, files)
        floor = interleaved(command(1), alone, pairs)
        table.add("1", floor.ours, floor.ours / count, floor.peer, percent(floor.peer / floor.ours), None, None, None)
        for jobs in sorted({2, allowed_cores()} - {1}):
            found = interleaved(command(jobs), command(1), pairs)
            with pool(jobs) as several:
                least = interleaved(partial(gzip_alone, several, files), alone, pairs)
            share = percent(least.ours / found.ours)
            gains = (1 / found.ratio, 1 / least.ratio, min(jobs, allowed_cores()))
            table.add(jobs, found.ours, found.ours / count, least.ours, share, *gains)
    return table


def pool(jobs: int) -> ProcessPoolExecutor:
    """Processes that are there already: their start is no part of what gzip alone takes."""
    executor = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"))
    for answer in [executor.submit(time.sleep, 0.5) for _ in range(jobs)]:
        answer.result()
    return executor


def gzip_alone(executor: ProcessPoolExecutor, files: Sequence[Path]) -> None:
    """Decompresses and compresses again every file, in the executor's processes."""
    for _ in executor.map(compressed_again, files):
        pass


def compressed_again(path: Path) -> int:
    """One file's size after it."""
    from nnunetv2_comnet.allocator import keep_freed_memory
    from nnunetv2_comnet.dataset_conversion.volumes import GZIP_LEVEL

    keep_freed_memory()  # as the converter does
    return len(zlib.compress(gzip.decompress(path.read_bytes()), GZIP_LEVEL))


def percent(share: float) -> str:
    """0.71 as 71 %."""
    return f"{100 * share:.0f} %"


def comnet_convert(source: Path, out: Path, *words: str, fresh: bool = True) -> None:
    """The command as users call it; `fresh` removes what an earlier run wrote."""
    if fresh:
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
    comnet("convert", LAYOUT, source, "-d", 501, "--out", out, *words)


def linking(root: Path, count: int) -> Table:
    """Seconds of the command for many small patients: checked and copied, then linked, then with nothing to do."""
    from nnunetv2_comnet.phantom.write import PhantomSet, write_patients

    source, out = root / "many", root / "linked"
    name = write_patients(PhantomSet(source, LAYOUT, 1, spacing_mm=SMALL_MM))[0]
    model = next(source.glob(f"*/{name}"))
    for number in range(2, count + 1):
        other = model.parent / f"BraTS2021_{number:05d}"
        other.mkdir()
        for path in model.iterdir():
            shutil.copy(path, other / path.name.replace(name, other.name))
    table = Table(f"{count} patients, one after the other", ["run", "s"])
    jobs = ("--jobs", str(allowed_cores()))
    runs = (
        ("first, copies", ()),
        ("second, --link: checks are cached", ("--link",)),
        ("third, --link again", ("--link",)),
    )
    for number, (what, words) in enumerate(runs):
        start = time.perf_counter()
        comnet_convert(source, out, *jobs, *words, fresh=number == 0)
        table.add(what, time.perf_counter() - start)
    return table


if __name__ == "__main__":
    main()
