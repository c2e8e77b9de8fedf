"""A real SLURM of one node on this machine: munged, slurmctld and slurmd from Debian's packages, in one folder."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue")
SBIN = ("/usr/sbin", "/sbin")
SECONDS = 60  # for the node to report itself ready

CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
SlurmctldPort={controller_port}
SlurmdPort={node_port}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
# No control groups, which a container does not give: processes are found by their parents.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=16000 State=UNKNOWN
PartitionName=study Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


class NotStarted(Exception):  # noqa: N818 - the reason why a test is skipped, no defect
    """SLURM is not here, or did not start; the text says what failed, with the last lines of its logs."""


@contextmanager
def slurm_node(folder: Path) -> Iterator[dict[str, str]]:
    """Yields the variables under which sbatch and its like reach the node; ends its daemons afterwards."""
    missing = [name for name in PROGRAMS if _program(name) is None]
    if missing:
        raise NotStarted(f"{', '.join(missing)} not installed (Debian: slurmctld slurmd slurm-client munge)")
    if os.getuid() != 0:
        raise NotStarted("slurmd must be started by root")
    _write_configuration(folder)
    variables = {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    munge = folder / "munge"
    try:
        _start(
            folder, {}, "munged", "--force", f"--key-file={munge / 'key'}", f"--socket={munge / 'socket'}",
            f"--pid-file={folder / 'munged.pid'}", f"--log-file={folder / 'munged.log'}",
            f"--seed-file={munge / 'seed'}",
        )  # fmt: skip
        _start(folder, variables, "slurmctld", "-c")
        _start(folder, variables, "slurmd", "-N", _host())
        _wait_until_idle(folder, variables)
        yield variables
    finally:
        for name in ("slurmd", "slurmctld", "munged"):
            _end(folder / f"{name}.pid")


def _write_configuration(folder: Path) -> None:
    for name in ("munge", "state", "spool", "bin"):
        (folder / name).mkdir(parents=True, mode=0o755)
    (folder / "munge" / "key").write_bytes(os.urandom(1024))
    (folder / "munge" / "key").chmod(0o600)
    ports = dict(zip(("controller_port", "node_port"), _free_ports(2), strict=True))
    (folder / "slurm.conf").write_text(CONFIGURATION.format(host=_host(), folder=folder, **ports))
    # Inside a job the variable is gone; a cluster has its configuration in /etc/slurm, which is not ours to write.
    srun = folder / "bin" / "srun"
    srun.write_text(f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {_program("srun")} "$@"\n')
    srun.chmod(0o755)


def _start(folder: Path, variables: dict[str, str], name: str, *flags: str) -> None:
    environment = {**os.environ, **variables}
    # Daemons keep what they are given open: a pipe would never end.
    with open(folder / f"{name}.said", "wb") as said:
        code = subprocess.run([str(_program(name)), *flags], env=environment, stdout=said, stderr=said, check=False)
    if code.returncode:
        raise NotStarted(f"{name} ended with code {code.returncode}: {_last_words(folder)}")


def _wait_until_idle(folder: Path, variables: dict[str, str]) -> None:
    command = [str(_program("sinfo")), "--noheader", "--format=%T"]
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        answer = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, check=False)
        if answer.stdout.strip() == "idle":
            return
        time.sleep(0.5)
    raise NotStarted(f"the node is not ready after {SECONDS} s (sinfo: {answer.stdout.strip()}): {_last_words(folder)}")


def _last_words(folder: Path) -> str:
    lines = []
    for path in sorted([*folder.glob("*.log"), *folder.glob("*.said")]):
        lines += [f"{path.name}: {line}" for line in path.read_text(errors="replace").splitlines()[-3:]]
    return " | ".join(lines)


def _end(pid_file: Path) -> None:
    with suppress(OSError, ValueError):
        os.kill(int(pid_file.read_text()), signal.SIGTERM)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def _host() -> str:
    return socket.gethostname().partition(".")[0]


def _program(name: str) -> str | None:
    return shutil.which(name, path=os.pathsep.join([os.environ["PATH"], *SBIN]))
