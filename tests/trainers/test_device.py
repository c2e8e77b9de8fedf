"""How many threads a job on a CPU takes: what it was given, whatever nnU-Net has asked for."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import os, sys
if sys.argv[2]:
    os.sched_setaffinity(0, {int(core) for core in sys.argv[2].split(",")})
import torch
torch.set_num_threads(int(sys.argv[1]))  # as nnUNetv2_train -device cpu does, with the machine's cores
from nnunetv2_comnet.trainers.device import tune_for_cpu
tune_for_cpu()
print(torch.get_num_threads())
"""
CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def threads(asked: int, omp_num_threads: str | None, cores: str = "") -> int:
    """Threads of a new process in which nnU-Net asked for some, and which may run on these cores ("": on all)."""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    if omp_num_threads is not None:
        environment["OMP_NUM_THREADS"] = omp_num_threads
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(asked), cores], env=environment, capture_output=True, text=True, check=True
    )
    return int(ran.stdout)


@pytest.mark.parametrize(("variable", "expected"), [("1", 1), ("3", 3), ("2,1", 2), ("64", 8)])
def test_omp_num_threads_is_kept_to(variable: str, expected: int) -> None:
    assert threads(8, variable) == expected


@pytest.mark.skipif(not CORES, reason="this system does not say which cores a process may run on")
@pytest.mark.parametrize("variable", [None, "", "many", "0"])
def test_without_it_the_cores_that_the_job_was_given_decide(variable: str | None) -> None:
    assert threads(64, variable, cores=str(CORES[0])) == 1
    assert threads(64, variable) == len(CORES)


def test_fewer_threads_than_allowed_stay_so() -> None:
    assert threads(1, "4") == 1
