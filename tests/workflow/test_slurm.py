"""The workflow on a real SLURM of one node: its first steps on generated patients, and a job that is tried again."""

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.workflow.slurm_node import NotStarted, slurm_node
from tests.workflow.study_runs import TINY_STUDY, environment, snakemake

pytest.importorskip("snakemake_executor_plugin_slurm", reason="not installed: pip install '.[workflow]'")
pytestmark = pytest.mark.long

# This SLURM has no accounting data base, and is asked more often than a cluster should be.
ASKED = ("--slurm-no-account", "--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "3")


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Variables of a running SLURM; the tests are skipped, with the reason, where it cannot be started."""
    with ExitStack() as stack:
        try:
            variables = stack.enter_context(slurm_node(tmp_path_factory.mktemp("slurm") / "node"))
        except NotStarted as reason:
            pytest.skip(f"no SLURM: {reason}")
        yield variables


def with_node(node: dict[str, str], *first: Path) -> dict[str, str]:
    """The environment of a user of the node; programs in the folders `first` come before all others."""
    folders = [*map(str, first), node["PATH"].split(os.pathsep)[0]]
    return environment(Path(os.pathsep.join(folders)), SLURM_CONF=node["SLURM_CONF"])


def test_the_study_begins_on_the_cluster(node: dict[str, str], tmp_path: Path, run: Any) -> None:
    for name, start in (("patients", "1"), ("new patients", "501")):
        made = run("comnet", "phantom", str(tmp_path / name), "--cases", "2", "--start", start, "--spacing", "6")
        assert made.returncode == 0, made.stderr
    (tmp_path / "study.yaml").write_text(TINY_STUDY)
    targets = ("done/plan.done", "done/convert/heldout.done")
    answer = snakemake(tmp_path, *ASKED, "--", *targets, profile="slurm", env=with_node(node))
    said = answer.stdout + answer.stderr
    assert answer.returncode == 0, said[-3000:]
    assert len(re.findall(r"has been submitted with SLURM jobid \d+", said)) == 3
    assert all((tmp_path / target).is_file() for target in targets)
    assert (tmp_path / "preprocessed" / "Dataset501_Study" / "nnUNetCoMNeTPlans.json").is_file()
    assert len(list((tmp_path / "raw" / "Dataset502_heldout" / "imagesTr").glob("*.nii.gz"))) == 8


def test_a_job_that_dies_on_the_cluster_is_tried_again_with_more_memory(node: dict[str, str], tmp_path: Path) -> None:
    """A stand-in for the converter kills itself at first; the second job asks SLURM for twice the memory."""
    (tmp_path / "study.yaml").write_text(TINY_STUDY)
    commands = tmp_path / "bin"
    commands.mkdir()
    script = f'#!/bin/sh\n[ "$1" = env ] && exit 0\n[ -f "{tmp_path}/second" ] && exit 0\n'
    (commands / "comnet").write_text(f'{script}touch "{tmp_path}/second"; kill -9 $$\n')
    (commands / "comnet").chmod(0o755)
    answer = snakemake(
        tmp_path, *ASKED, "--", "done/convert.done", profile="slurm", env=with_node(node, commands)
    )  # fmt: skip
    said = answer.stdout + answer.stderr
    assert answer.returncode == 0, said[-3000:]
    assert re.findall(r"SLURM-job '\d+' failed", said)
    assert list(dict.fromkeys(re.findall(r"mem_mb=(\d+)", said))) == ["1000", "2000"]
    assert len(re.findall(r"has been submitted with SLURM jobid \d+", said)) == 2
