"""How many threads a job on a CPU takes: what it was given, whatever nnU-Net has asked for."""

import os
from collections.abc import Iterator

import pytest
import torch

from nnunetv2_comnet.trainers.device import tune_for_cpu

HAS_CORES = hasattr(os, "sched_getaffinity")
CORES = os.sched_getaffinity(0) if HAS_CORES else set()


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    if HAS_CORES:
        os.sched_setaffinity(0, CORES)


def threads(asked: int) -> int:
    """Threads of this process after nnU-Net asked for some, as nnUNetv2_train -device cpu does."""
    torch.set_num_threads(asked)
    tune_for_cpu()
    return torch.get_num_threads()


@pytest.mark.parametrize(("variable", "expected"), [("1", 1), ("3", 3), ("2,1", 2), ("64", 8)])
def test_omp_num_threads_is_kept_to(variable: str, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", variable)
    assert threads(8) == expected


@pytest.mark.skipif(not HAS_CORES, reason="this system does not say which cores a process may run on")
@pytest.mark.parametrize("variable", [None, "", "many", "0"])
def test_without_it_the_cores_that_the_job_was_given_decide(
    variable: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    if variable is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", variable)
    assert threads(64) == len(CORES)
    os.sched_setaffinity(0, {min(CORES)})
    assert threads(64) == 1


def test_fewer_threads_than_allowed_stay_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert threads(1) == 1
