"""Whole or not at all: what a reader sees while, after and instead of a write."""

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nnunetv2_comnet.errors import DataError
from nnunetv2_comnet.files import (
    read_json,
    remove_leftovers,
    same_when_folded,
    sha256,
    write_json,
    write_text,
    written_whole,
)


def test_the_target_appears_only_when_whole(tmp_path: Path) -> None:
    target = tmp_path / "image.nii.gz"
    with written_whole(target) as temporary:
        temporary.write_bytes(b"half")
        assert temporary.name == target.name
        assert not target.exists()
        assert [p.name for p in tmp_path.iterdir() if p.is_file()] == []
    assert target.read_bytes() == b"half"
    assert [p.name for p in tmp_path.iterdir()] == ["image.nii.gz"]


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "kept.txt"
    write_text(target, "old")

    def fail() -> None:
        with written_whole(target) as temporary:
            temporary.write_text("new")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["kept.txt"]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")
def test_a_killed_write_leaves_what_was_there_and_its_leftover_goes(tmp_path: Path) -> None:
    write_text(tmp_path / "kept.txt", "old")
    program = (
        "import os, signal; from nnunetv2_comnet.files import written_whole\n"
        f"with written_whole({str(tmp_path / 'kept.txt')!r}) as new:\n"
        "    new.write_text('new')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -signal.SIGKILL
    assert (tmp_path / "kept.txt").read_text() == "old"
    remove_leftovers(tmp_path)
    assert os.listdir(tmp_path) == ["kept.txt"]


def test_json_keeps_the_order_of_regions(tmp_path: Path) -> None:
    write_json(tmp_path / "d.json", {"whole tumor": 1, "enhancing tumor": 2, "a": 3})
    assert list(read_json(tmp_path / "d.json")) == ["whole tumor", "enhancing tumor", "a"]


def test_a_broken_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "d.json").write_text("{")
    with pytest.raises(DataError, match=r"d\.json"):
        read_json(tmp_path / "d.json")
    with pytest.raises(DataError, match=r"none\.json"):
        read_json(tmp_path / "none.json")


@pytest.mark.skipif(os.name == "nt", reason="a file name on Windows is always Unicode")
def test_an_error_is_one_line_whatever_a_file_is_called() -> None:
    error = DataError(f"{os.fsdecode(b'a' + bytes([10, 27, 255]))}: é is bad")
    assert str(error) == "a\\n\\x1b\\udcff: é is bad"


def test_names_that_some_disks_cannot_tell_apart() -> None:
    names = ["A", "a", "B", "\u00e9", "e\u0301", "E\u0301"]
    twins = same_when_folded(names)
    assert twins == {"A": ["a"], "a": ["A"], "\u00e9": ["e\u0301", "E\u0301"], "e\u0301": ["\u00e9", "E\u0301"],
                     "E\u0301": ["\u00e9", "e\u0301"]}  # fmt: skip


def test_a_file_is_hashed_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(b"abc")
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1
    assert sha256(path) == abc
    path.write_bytes(b"abd")  # at once: the clock may not have moved, so nothing may be remembered yet
    assert sha256(path) == hashlib.sha256(b"abd").hexdigest()
    path.write_bytes(b"abc")
    later = path.stat().st_ctime_ns + 2_000_000_000
    monkeypatch.setattr("time.time_ns", lambda: later)
    assert sha256(path) == abc
    with monkeypatch.context() as unreadable:
        unreadable.setattr("builtins.open", None)
        assert sha256(path) == abc
    path.write_bytes(b"abcd")
    assert sha256(path) == hashlib.sha256(b"abcd").hexdigest()
