"""What all benchmarks share: interleaved pairs, Markdown tables, the machine they were made on, our commands, peers."""

import argparse
import importlib
import importlib.metadata
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from types import ModuleType
from typing import Any

from nnunetv2_comnet.text_tables import markdown, three_digits
from nnunetv2_comnet.workers import allowed_cores

ROOT = Path(__file__).resolve().parents[1]
SAVED = ROOT / "docs" / "evidence" / "benchmarks"
PAIRS = 5
COMNET = Path(sys.executable).parent / "comnet"
RSS_UNITS_IN_GIB = 2**30 if sys.platform == "darwin" else 2**20  # getrusage: bytes there, KiB elsewhere
EXPANSION_B = [2, 3, 4, 4, 4, 4, 4, 3, 2]  # of MedNeXt-B, by stage
_OFFICIAL = "nnunet_mednext.network_architecture.mednextv1"


def parser(doc: str | None, *, pairs: bool = False) -> argparse.ArgumentParser:
    """A command line with the options that `make bench` passes to every script; `doc` is the script's own docstring."""
    options = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--save", action="store_true", help="write docs/evidence/benchmarks/NAME.md as well")
    options.add_argument(
        "--mednext-source", type=Path, metavar="DIR", help="checkout of the official MedNeXt, the peer"
    )
    if pairs:
        options.add_argument("--pairs", type=int, default=PAIRS)
    return options


@dataclass(frozen=True)
class Pairs:
    """Seconds of two functions that took turns, pair by pair."""

    ours_seconds: tuple[float, ...]
    peer_seconds: tuple[float, ...]

    @property
    def ours(self) -> float:
        """Median seconds of ours."""
        return statistics.median(self.ours_seconds)

    @property
    def peer(self) -> float:
        """Median seconds of the peer."""
        return statistics.median(self.peer_seconds)

    @property
    def ratios(self) -> tuple[float, ...]:
        """Ours over the peer, of each pair."""
        return tuple(ours / peer for ours, peer in zip(self.ours_seconds, self.peer_seconds, strict=True))

    @property
    def ratio(self) -> float:
        """Median of the pairs' ratios: a machine that slows down for a while slows both of a pair."""
        return statistics.median(self.ratios)


def interleaved(
    ours: Callable[[], object],
    peer: Callable[[], object],
    pairs: int = PAIRS,
    warmup: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> Pairs:
    """Times two functions in turns, after `warmup` calls of each that do not count.

    Which one begins changes from pair to pair. A function that starts work on a GPU must itself wait for its end.
    """

    def seconds(function: Callable[[], object]) -> float:
        start = clock()
        function()
        return clock() - start

    for _ in range(warmup):
        ours(), peer()
    ours_seconds, peer_seconds = [], []
    for number in range(pairs):
        turns = [(ours, ours_seconds), (peer, peer_seconds)]
        for function, into in turns if number % 2 == 0 else reversed(turns):
            into.append(seconds(function))
    return Pairs(tuple(ours_seconds), tuple(peer_seconds))


@dataclass
class Table:
    """A Markdown table. Floats are shown with three significant digits, everything else as it is."""

    title: str
    columns: Sequence[str]
    rows: list[list[str]] = field(default_factory=list)

    def add(self, *cells: object) -> None:
        """Adds a row: one cell a column; None is an empty cell."""
        if len(cells) != len(self.columns):
            raise ValueError(f"table '{self.title}' has {len(self.columns)} columns; {len(cells)} cells were given")
        self.rows.append([three_digits(c) if isinstance(c, float) else "" if c is None else str(c) for c in cells])

    def markdown(self) -> str:
        """The title as a heading, then the table; the first column to the left, the others to the right."""
        return f"## {self.title}\n\n{markdown(self.columns, self.rows)}\n"


def report(
    name: str, tables: Sequence[Table], notes: Sequence[str] = (), save: bool = False, folder: Path = SAVED
) -> None:
    """Prints the tables, the machine above them and the notes below; with `save` also writes `folder`/NAME.md whole."""
    about = "\n".join(f"- {what}: {value}" for what, value in machine().items())
    said = "\n".join(f"- {note}" for note in notes)
    parts = [f"# Benchmark: {name}\n", about + "\n", *(table.markdown() for table in tables)]
    text = "\n".join([*parts, said + "\n"] if notes else parts)
    print(text, flush=True)
    if save:
        from nnunetv2_comnet.files import write_text

        write_text(folder / f"{name}.md", text)


def machine() -> dict[str, str]:
    """Where and when: processor, memory, GPU, system, versions, the day in UTC."""
    return {
        "processor": _processor(),
        "cores": str(allowed_cores()),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "GPU": _gpu(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{package: _version(package) for package in ("torch", "nnunetv2", "monai")},
        "comnet": _version("nnunetv2-comnet"),
        "date": datetime.now(timezone.utc).date().isoformat(),
    }


def sides(patch: Sequence[int]) -> str:
    """Writes a patch as "112 x 160 x 128"."""
    return " x ".join(map(str, patch))


def comnet(*words: object) -> None:
    """Runs one of our commands as users do, silently. Raises SystemExit, with what it said, where it fails."""
    answer = subprocess.run([str(COMNET), *map(str, words)], capture_output=True, text=True, check=False)
    if answer.returncode:
        raise SystemExit(answer.stderr)


def synchronise(device: str) -> None:
    """Waits until a GPU has done what was asked of it."""
    if device == "cuda":
        import torch

        torch.cuda.synchronize()


def peak_gib() -> float:
    """The largest resident memory of this process so far.

    Not getrusage's: on Linux a new process begins with the peak of the one that started it.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.partition("VmHWM:")[2].split()[0]) / 2**20
    except (OSError, ValueError, IndexError):  # not Linux
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / RSS_UNITS_IN_GIB


def command_peak_gib(words: Sequence[str]) -> float:
    """Runs a command; the largest resident memory of one of its processes.

    A small process starts it, for the reason that `peak_gib` gives.
    """
    starter = (
        "import resource, subprocess, sys\n"
        "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    answer = subprocess.run([sys.executable, "-c", starter, *words], check=True, capture_output=True, text=True)
    return int(answer.stdout) / RSS_UNITS_IN_GIB


def official_mednext(source: Path | None) -> Any:
    """The official network class `MedNeXt` out of the checkout `source`; None, with a printed line why, without it.

    The package's own `__init__` imports its trainers; empty modules take the place of the packages above the network,
    so that nothing but torch is needed.
    """
    if source is None:
        print("official MedNeXt: skipped, as no --mednext-source names its checkout")
        return None
    if not (source / "nnunet_mednext" / "network_architecture" / "mednextv1").is_dir():
        print(f"official MedNeXt: skipped, as {source} holds no nnunet_mednext/network_architecture/mednextv1")
        return None
    parts = _OFFICIAL.split(".")
    for depth in range(1, len(parts) + 1):
        package = ModuleType(".".join(parts[:depth]))
        package.__path__ = [str(source.joinpath(*parts[:depth]))]
        sys.modules[package.__name__] = package
    try:
        return importlib.import_module(f"{_OFFICIAL}.MedNextV1").MedNeXt
    except (ImportError, AttributeError) as error:
        print(f"official MedNeXt: skipped, as {source} cannot be imported: {error}")
        return None


def official_b(source: Path | None, channels: int, regions: int, **options: Any) -> Any:
    """The official MedNeXt-B, kernel 3, with GRN; None without its checkout. options: of its class."""
    network = official_mednext(source)
    if network is None:
        return None
    return network(
        in_channels=channels, n_channels=32, n_classes=regions, exp_r=EXPANSION_B, kernel_size=3, do_res=True,
        do_res_up_down=True, block_counts=[2] * 9, grn=True, **options,
    )  # fmt: skip


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _gpu() -> str:
    import torch

    if not torch.cuda.is_available():
        return "none"
    found = torch.cuda.get_device_properties(0)
    return f"{found.name}, {found.total_memory / 2**30:.0f} GiB"


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
