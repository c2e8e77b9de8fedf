"""Disks that are full or read-only, and models and patients to try them with."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.inference.conftest import comnet, model, patients  # noqa: F401 - fixtures

Mount = Callable[[str], Path]


def try_to_mount(folder: Path, options: str) -> None:
    """A file system in memory at `folder`; skips the test, with the reason, where that is not allowed."""
    words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if done.returncode:
        pytest.skip(f"a small file system cannot be mounted: {' '.join(done.stderr.split())}")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Makes a disk of so many KiB, or changes its size; returns its folder."""
    folder = tmp_path / "disk"

    def of_size(kilobytes: int) -> Path:
        if folder.exists():
            subprocess.run(["mount", "-o", f"remount,size={kilobytes}k", str(folder)], check=True)
        else:
            folder.mkdir()
            try_to_mount(folder, f"size={kilobytes}k")
        return folder

    yield of_size
    if folder.exists():
        subprocess.run(["umount", str(folder)], capture_output=True, check=False)


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A folder that cannot be written to, by root neither."""
    folder = tmp_path / "read only"
    folder.mkdir()
    if os.geteuid():
        folder.chmod(0o555)
        yield folder
        folder.chmod(0o755)
        return
    try_to_mount(folder, "ro")
    yield folder
    subprocess.run(["umount", str(folder)], capture_output=True, check=False)
