"""Worker processes: order, exceptions, a worker that dies, Ctrl-C, and how many cores they may take."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nnunetv2_comnet.errors import ConfigurationError, DataError
from nnunetv2_comnet.workers import Workers, allowed_threads, require_jobs, run_all
from tests.dataset_conversion.tiny_patients import write_utsw
from tests.running import BIN
from tests.tasks_of_workers import STARTED, Bad, die, die_once, double, fail, no_memory, process, unpicklable

HERE = Path(__file__).parent
NEEDS_KILL = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")


@pytest.mark.parametrize("jobs", [1, 2, 8])
def test_results_come_in_the_order_of_the_items(jobs: int) -> None:
    assert list(run_all(double, [0.4, 0.0, 0.1, 0.2], jobs)) == [0.8, 0.0, 0.2, 0.4]
    assert list(run_all(double, [], jobs)) == []


def test_or_as_they_are_ready() -> None:
    assert list(run_all(double, [2.0, 0.0], 2, ordered=False)) == [0.0, 4.0]


def test_one_job_and_one_item_stay_in_this_process() -> None:
    assert list(run_all(process, [0, 0], 1)) == [os.getpid()] * 2
    assert list(run_all(process, [0], 2)) == [os.getpid()]


def test_workers_are_kept_for_the_next_tasks() -> None:
    with Workers(2) as workers:
        first, second = (set(workers.run(process, range(6))) for _ in range(2))
    assert os.getpid() not in first
    assert len(first | second) <= 2


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_exception_ends_the_run(jobs: int) -> None:
    results = run_all(fail, [0, 1, 2, 3], jobs)
    assert next(results) == 0
    with pytest.raises(DataError, match="case 1 is broken") as raised:
        list(results)
    if jobs == 2:
        assert "tasks_of_workers.py" in str(raised.value.__cause__)  # where it happened


def test_exceptions_and_results_that_no_pipe_takes() -> None:
    with pytest.raises(RuntimeError, match="Bad: of two"):
        list(run_all(fail, [Bad, Bad], 2))
    with pytest.raises(Exception, match="pickle"):
        list(run_all(unpicklable, [0, 0], 2))


@pytest.mark.parametrize("how", ["exit", pytest.param("SIGKILL", marks=NEEDS_KILL)])
def test_a_worker_that_dies_costs_only_its_own_task(how: str, tmp_path: Path) -> None:
    tasks = [(number, how, tmp_path) for number in range(8)]
    expected = [0, 2, 4, -3, 8, 10, 12, 14]  # 5 died once
    assert list(run_all(die_once, tasks, 2, on_death=lambda task: -task[0])) == expected
    for path in tmp_path.iterdir():
        path.unlink()
    assert sorted(run_all(die_once, tasks, 3, on_death=lambda task: -task[0], ordered=False)) == sorted(expected)


@pytest.mark.parametrize("work", [die, no_memory])
def test_without_a_result_for_it_the_run_ends_in_one_line(work) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match=r"^patient 3: "):
        list(run_all(work, [3, 4], 2, name=lambda item: f"patient {item}"))


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="this system has no process groups")
def test_ctrl_c_ends_the_workers_at_once(tmp_path: Path) -> None:
    code = (
        "import signal, sys; from pathlib import Path; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from nnunetv2_comnet.workers import run_all; from tests.tasks_of_workers import wait_for_ever\n"
        "if __name__ == '__main__':\n"
        "    try: list(run_all(wait_for_ever, [Path(sys.argv[1])] * 3, 2))\n"
        "    except KeyboardInterrupt: sys.exit(130)"
    )
    begun = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=HERE.parent,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while begun.poll() is None and len(list(tmp_path.glob(f"{STARTED}*"))) < 2:
        time.sleep(0.01)
    began = time.monotonic()
    os.killpg(begun.pid, signal.SIGINT)  # as a terminal does: to the parent and its workers
    _, wrong = begun.communicate(timeout=60)
    assert (begun.returncode, wrong) == (130, "")
    assert time.monotonic() - began < 20
    assert not list(tmp_path.iterdir())  # what was unfinished is taken away


def children_of(process: int) -> list[int]:
    """Its workers; not the process that tracks shared memory."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                fields = Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()
                words = Path("/proc", entry, "cmdline").read_text()
            except OSError:
                continue
            if int(fields[1]) == process and "spawn_main" in words:
                found.append(int(entry))
    return found


def with_workers_killed(*words: str, once: bool = False) -> subprocess.CompletedProcess[str]:
    """The command's answer when every worker that shows is killed, or the first one only."""
    process = subprocess.Popen(
        [str(BIN / words[0]), *words[1:]], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    killed = 0
    while process.poll() is None and not (once and killed):
        for worker in children_of(process.pid)[: 1 if once else None]:
            os.kill(worker, signal.SIGKILL)
            killed += 1
        time.sleep(0.01)
    assert killed, "no worker was seen"
    out, err = process.communicate(timeout=600)
    return subprocess.CompletedProcess(words, process.returncode, out, err)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the workers in /proc")
def test_a_worker_that_is_killed_costs_nothing_and_workers_that_are_killed_always_one_line(tmp_path: Path) -> None:
    for number in range(8):
        write_utsw(tmp_path / "in", f"BT000{number}", number)
    words = ("comnet", "convert", "utsw", str(tmp_path / "in"), "-d", "501", "--out", str(tmp_path), "--jobs", "2")
    answer = with_workers_killed(*words, once=True)
    assert answer.returncode == 0, answer.stderr  # its cases are tried again
    assert "converted 8 of 8 cases" in answer.stdout

    masks = str(tmp_path / "Dataset501_UTSWGlioma" / "labelsTr")
    scores, page = tmp_path / "scores", tmp_path / "page.html"
    evaluate = ("evaluate", "-ref", masks, "-pred", masks, "--protocol", "brats2023", "-o", str(scores))
    phantom = ("phantom", str(tmp_path / "phantom"), "--cases", "3", "--spacing", "8")
    for command in (evaluate, ("report", str(page), "-ref", masks, "-pred", masks), phantom):
        answer = with_workers_killed("comnet", *command, "--jobs", "2")
        assert (answer.returncode, answer.stderr.strip().count("\n")) == (1, 0), answer.stderr
        assert re.match(r"comnet: error: BT\d+: the process that worked on it was killed, twice, ", answer.stderr)
        assert "use fewer --jobs" in answer.stderr
    assert not scores.exists()
    assert not page.exists()
    assert not list(tmp_path.rglob(".partial-*"))
    assert with_workers_killed("comnet", *phantom, "--jobs", "2", once=True).returncode == 0


def test_no_jobs_cannot_run() -> None:
    with pytest.raises(ConfigurationError, match="--jobs"):
        require_jobs(0)


@pytest.mark.parametrize(("variable", "expected"), [("1", 1), ("3", 3), ("2,1", 2), ("64", 64)])
def test_threads_are_those_that_were_given(variable: str, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", variable)
    assert allowed_threads() == expected


def test_there_is_one_pool() -> None:
    """Everything else goes through `Workers`."""
    root = HERE.parent
    sources = [*root.glob("nnunetv2_comnet/**/*.py"), *root.glob("dataset_conversion/**/*.py")]
    own = re.compile(r"ProcessPool|import multiprocessing|from multiprocessing")
    assert [path.name for path in sources if own.search(path.read_text())] == ["workers.py"]
