"""Commands killed on the way: how far they were, and what they leave once they have gone on to their end."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.running import BIN

KILLED, SEED = -signal.SIGKILL, 20261127
POLL_S = 0.01


@dataclass(frozen=True)
class Job:
    """A command that writes under `output`, which is empty before; `go_on`: the flags that let it go on."""

    words: tuple[str, ...]
    go_on: tuple[str, ...]
    output: Path
    variables: Mapping[str, str]


@dataclass(frozen=True)
class Followed:
    """Exit code, and the processor time (user, s) spent since the first file appeared; None: none appeared."""

    code: int
    seconds: float | None


def moments(kind: str, count: int) -> list[float]:
    """Random shares of a run, one in each of `count` equal parts of it."""
    rng = random.Random(f"{SEED} {kind}")
    return [(number + rng.random()) / count for number in range(count)]


def follow(job: Job, *, going_on: bool = False, kill_after_s: float | None = None) -> Followed:
    """Runs the job; its whole process group is killed when it has used so much time since its first file.

    Processor time, unlike the clock, tells how far a run has come on a machine that others use as well.
    """
    words = [str(BIN / job.words[0]), *job.words[1:], *(job.go_on if going_on else ())]
    log = job.output.parent / f"{job.output.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "a", encoding="utf-8") as stream:
        process = subprocess.Popen(
            words, env={**os.environ, **job.variables}, stdout=stream, stderr=stream, start_new_session=True
        )
    start = used = None
    while process.poll() is None:
        if start is None and _holds_a_file(job.output):
            start = _user_seconds(process.pid)
        if start is not None:
            used = max(used or 0.0, _user_seconds(process.pid) - start)
            if kill_after_s is not None and used >= kill_after_s:
                os.killpg(process.pid, signal.SIGKILL)
                break
        time.sleep(POLL_S)
    return Followed(process.wait(), used)


def kill_and_go_on(job: Job, share: float, whole_s: float, describe: Callable[[Path], str]) -> tuple[str, str]:
    """Kills the job at a share of its length, and runs it again to its end. Returns how far it was, and a problem."""
    killed = follow(job, kill_after_s=share * whole_s)
    reached = describe(job.output)
    if killed.code != KILLED:
        reached = f"had ended before the kill (exit {killed.code}); {reached}"
    done = follow(job, going_on=True)
    log = (job.output.parent / f"{job.output.name}.log").read_text(encoding="utf-8", errors="replace")
    return reached, "" if done.code == 0 else f"exit code {done.code}: {log[-1500:]}"


def differences(found: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """Names that are only in one, or whose content differs; "" for the same."""
    names = [name for name in sorted(found.keys() | expected.keys()) if found.get(name) != expected.get(name)]
    return f"{len(names)} differ: {', '.join(names[:5])}" if names else ""


def _holds_a_file(folder: Path) -> bool:
    return any(files for _, _, files in os.walk(folder))


def _user_seconds(group: int) -> float:
    """Processor time of a process group, of children that have ended too."""
    ticks = 0
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                fields = Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has ended
                continue
            if int(fields[2]) == group:
                ticks += int(fields[11]) + int(fields[13])
    return ticks / os.sysconf("SC_CLK_TCK")
