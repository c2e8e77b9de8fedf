"""The benchmarks' common part: what is measured in which order, what a table looks like, what is written."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.harness import Table, interleaved, machine, official_mednext, report

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted(path for path in (ROOT / "benchmarks").glob("*.py") if path.name != "harness.py")


class Clock:
    """Stands still but for the functions that it makes."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[str] = []

    def __call__(self) -> float:
        return self.now

    def function(self, name: str, *seconds: float) -> Callable[[], None]:
        left = list(seconds)

        def call() -> None:
            self.calls.append(name)
            self.now += left.pop(0)

        return call


def test_pairs_take_turns_and_the_warmup_does_not_count() -> None:
    clock = Clock()
    ours = clock.function("ours", 100, 1, 2, 9)
    peer = clock.function("peer", 100, 4, 4, 6)
    found = interleaved(ours, peer, pairs=3, warmup=1, clock=clock)
    assert clock.calls == ["ours", "peer", "ours", "peer", "peer", "ours", "ours", "peer"]
    assert (found.ours, found.peer) == (2, 4)
    # Ratios 1/4, 2/4, 9/6; their median is not the ratio of the sums (12/14).
    assert found.ratios == (0.25, 0.5, 1.5)
    assert found.ratio == 0.5


def test_a_table_is_markdown() -> None:
    table = Table("Times", ["what", "ours, s", "peer, s"])
    table.add("forward", 1.23456, None)
    table.add("step", 12345.6, "out of memory")
    assert table.markdown() == (
        "## Times\n\n"
        "| what | ours, s | peer, s |\n"
        "| --- | ---: | ---: |\n"
        "| forward | 1.23 |  |\n"
        "| step | 12346 | out of memory |\n"
    )
    with pytest.raises(ValueError, match="'Times' has 3 columns; 2 cells"):
        table.add("forward", 1.0)


def test_the_report_is_printed_and_saved_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("Times", ["what", "s"])
    table.add("forward", 2.0)
    report("network", [table], ["a note"], save=False, folder=tmp_path)
    assert not list(tmp_path.iterdir())
    capsys.readouterr()
    report("network", [table], ["a note"], save=True, folder=tmp_path)
    text = (tmp_path / "network.md").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["network.md"]
    assert capsys.readouterr().out.strip() == text.strip()
    assert text.startswith("# Benchmark: network\n\n- processor: ")
    assert all(f"\n- {what}: " in text for what in list(machine())[1:])
    assert text.endswith("## Times\n\n| what | s |\n| --- | ---: |\n| forward | 2 |\n\n- a note\n")


def test_the_official_network_is_found_without_its_trainers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "nnunet_mednext"]:
        monkeypatch.delitem(sys.modules, name)
    assert official_mednext(None) is None
    assert official_mednext(tmp_path) is None
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 2
    assert all(line.startswith("official MedNeXt: skipped, as ") for line in said)
    package = tmp_path / "nnunet_mednext"
    network = package / "network_architecture" / "mednextv1"
    network.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('a dependency of the trainers')\n")
    (network / "blocks.py").write_text("WIDTH = 32\n")
    (network / "MedNextV1.py").write_text(
        "from nnunet_mednext.network_architecture.mednextv1.blocks import *\nclass MedNeXt:\n    width = WIDTH\n"
    )
    assert official_mednext(tmp_path).width == 32
    for name in [name for name in sys.modules if name.split(".")[0] == "nnunet_mednext"]:
        monkeypatch.delitem(sys.modules, name)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_says_what_it_does_without_importing_torch(script: Path) -> None:
    command = [sys.executable, "-X", "importtime", str(script), "--help"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert answer.returncode == 0, answer.stderr[-2000:]
    assert "usage: " in answer.stdout
    assert "--save" in answer.stdout
    lines = [line for line in answer.stderr.splitlines() if line.startswith("import time")]
    imported = {line.rpartition("|")[2].strip() for line in lines}
    assert "argparse" in imported
    assert not imported & {"torch", "nnunetv2"}


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_bench_runs_every_script_and_passes_the_peer_on(tmp_path: Path) -> None:
    log = tmp_path / "called"
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(
        f'#!/bin/sh\necho "${{OMP_WAIT_POLICY:-unset}} $@" >> "{log}"\ncase "$1" in *conversion*) exit 3;; esac\n'
    )
    python.chmod(0o755)
    (tmp_path / "venv" / ".ready").touch()
    command = ["make", "bench", f"VENV={tmp_path / 'venv'}", "MEDNEXT_SOURCE=/some where"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert answer.returncode != 0  # one script failed, and the others were run
    expected = [f"unset benchmarks/{script.name} --save --mednext-source /some where" for script in SCRIPTS]
    assert sorted(log.read_text().splitlines()) == sorted(expected)


@pytest.mark.skipif(sys.platform != "linux", reason="processes inherit their starter's peak on Linux")
def test_peak_memory_is_the_process_own() -> None:
    """A starter that holds 600 MB is not in the peak of a command that holds 200 MB."""
    code = (
        "import sys; from benchmarks.harness import command_peak_gib, peak_gib\n"
        "held = bytearray(600 << 20)\n"
        "print(command_peak_gib([sys.executable, '-c', 'bytearray(200 << 20)']), peak_gib())\n"
    )
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    command, starter = (gib * 1024 for gib in map(float, answer.stdout.split()))
    assert 200 < command < 300
    assert 600 < starter < 700
