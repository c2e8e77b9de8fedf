"""comnet install against archives made by hand: what each evil one is refused for, and that nothing is left of it."""

import hashlib
import json
import os
import pickle
import shutil
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from nnunetv2_comnet.errors import DataError
from nnunetv2_comnet.trust import archive
from nnunetv2_comnet.trust import install as installing
from nnunetv2_comnet.trust.install import install
from tests.trust.evil import Touch

DATASET = "Dataset501_Blobs"
MODEL = f"{DATASET}/nnUNetTrainerCoMNeT__nnUNetCoMNeTPlans__3d_fullres"
Add = Callable[[zipfile.ZipFile], Any]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "nnUNet_results"
    folder.mkdir()
    return folder


def files(tmp_path: Path, weight: float = 1.0) -> dict[str, bytes]:
    torch.save({"network_weights": {"a": torch.full((2,), weight)}}, tmp_path / "made.pth")
    return {
        "plans.json": b'{"plans_name": "p"}',
        "dataset.json": b"{}",
        "fold_0/checkpoint_final.pth": (tmp_path / "made.pth").read_bytes(),
        "fold_0/validation/summary.json": b"{}",
    }


def make_zip(path: Path, content: dict[str, bytes], *add: Add, below: str = MODEL) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, value in content.items():
            made.writestr(f"{below}/{name}", value)
        for each in add:
            each(made)
    return path


def tree(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def everything(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


def test_a_good_archive_is_installed_whole_and_a_second_time_only_on_demand(
    tmp_path: Path, results: Path, run: Any
) -> None:
    good = make_zip(tmp_path / "a good.zip", files(tmp_path))
    env = {"nnUNet_results": str(results)}
    answer = run("comnet", "install", str(good), env=env)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert f"{results / MODEL}" in answer.stdout
    assert tree(results) == {f"{MODEL}/{name}": value for name, value in files(tmp_path).items()}
    assert [path.name for path in results.iterdir()] == [DATASET]
    better = make_zip(tmp_path / "better.zip", files(tmp_path, 2.0))
    again = run("comnet", "install", str(better), env=env)
    assert (again.returncode, again.stderr.count("\n")) == (1, 1)
    assert "--overwrite" in again.stderr
    assert tree(results / MODEL) == files(tmp_path)
    (results / MODEL / "of the old one.txt").write_text("x")
    assert run("comnet", "install", str(better), "--overwrite", env=env).returncode == 0
    assert tree(results / MODEL) == files(tmp_path, 2.0)
    assert [path.name for path in results.iterdir()] == [DATASET]
    missing = run("comnet", "install", str(tmp_path / "none.zip"), env=env)
    assert (missing.returncode, missing.stderr.count("\n")) == (1, 1)


def entry(name: str, content: bytes = b"x", mode: int = 0, **more: Any) -> Add:
    def add(made: zipfile.ZipFile) -> None:
        info = zipfile.ZipInfo("placeholder")
        info.filename = info.orig_filename = name
        info.external_attr = mode << 16
        info.compress_type = more.get("compress_type", zipfile.ZIP_DEFLATED)
        made.writestr(info, content)

    return add


EVIL = [
    (entry("../escaped.txt"), "../escaped.txt"),
    (entry(f"{MODEL}/../../../escaped.txt"), "../../../escaped.txt"),
    (entry(f"{MODEL}/fold_0/.."), "fold_0/.."),
    (entry("/tmp/escaped.txt"), "/tmp/escaped.txt"),
    (entry("C:/escaped.txt"), "C:/escaped.txt"),
    (entry("C:escaped.txt"), "C:escaped.txt"),
    (entry(f"{MODEL}\\..\\..\\escaped.txt"), "escaped.txt"),
    (entry(f"{MODEL}/a.json:stream"), "a.json:stream"),
    (entry(f"{MODEL}/./a.json"), "./a.json"),
    (entry(f"{MODEL}//a.json"), "//a.json"),
    (entry(f"{MODEL}/new\nline.json"), "line.json"),
    (entry(f"{MODEL}/link", b"/etc", stat.S_IFLNK | 0o777), f"{MODEL}/link"),
    (entry(f"{MODEL}/fold_0/pipe", b"", stat.S_IFIFO | 0o644), "fold_0/pipe"),
    (entry(f"{MODEL}/fold_0/device", b"", stat.S_IFCHR | 0o644), "fold_0/device"),
    (entry(f"{MODEL}/plans.json", b"{}"), "plans.json"),
    (entry(f"{MODEL}/PLANS.json", b"{}"), "PLANS.json"),
    (entry(f"{MODEL}/plans.json/more", b"{}"), "plans.json/more"),
    (entry("evil.py"), "evil.py"),
    (entry(f"{DATASET}/evil.py"), "/evil.py"),
    (entry(f"{DATASET}/.hidden/evil.py"), "/evil.py"),
    (entry(f"{DATASET}/a__b/evil.py"), "/evil.py"),
    (entry("nnUNet_raw/a__b__c/evil.py"), "/evil.py"),
    (entry("Dataset5_X/a__b__c/evil.py"), "/evil.py"),
    (entry(f"{MODEL}/a", b"x", compress_type=zipfile.ZIP_LZMA), f"{MODEL}/a"),
    (entry("Dataset502_B/a__b__c/plans.json", b"{}"), "Dataset502_B/a__b__c/dataset.json"),
]


@pytest.mark.parametrize(("add", "said"), EVIL, ids=[said for _, said in EVIL])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_evil_entries_are_refused_in_one_line_and_leave_nothing(
    tmp_path: Path, results: Path, add: Add, said: str
) -> None:
    evil = make_zip(tmp_path / "evil.zip", files(tmp_path), add)
    before = everything(tmp_path)
    with pytest.raises(DataError) as caught:
        install(evil, results)
    assert said in str(caught.value)
    assert str(caught.value).startswith(str(evil))
    assert "\n" not in str(caught.value)
    assert ".partial" not in str(caught.value)
    assert everything(tmp_path) == before
    assert not Path("/tmp/escaped.txt").exists()


def test_a_name_cut_at_a_nul_byte_is_refused(tmp_path: Path, results: Path) -> None:
    path = make_zip(tmp_path / "nul.zip", files(tmp_path), entry(f"{MODEL}/aXb.json"))
    path.write_bytes(path.read_bytes().replace(b"/aXb.json", b"/a\0b.json"))
    with pytest.raises(DataError):
        install(path, results)


def test_bombs_are_refused_before_they_are_unpacked(
    tmp_path: Path, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpacked: list[Any] = []
    monkeypatch.setattr(installing, "unpack", lambda *given: unpacked.append(given))
    monkeypatch.setattr(archive, "FREE_BYTES", 1 << 20)
    zeros = make_zip(tmp_path / "zeros.zip", files(tmp_path), entry(f"{MODEL}/zeros", bytes(8 << 20)))
    with pytest.raises(DataError):
        install(zeros, results)
    # Many entries of one stretch of compressed data (Fifield): each is small, their sum is not.
    with zipfile.ZipFile(tmp_path / "one.zip", "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr(f"{MODEL}/zeros", bytes(1 << 19))
        first = made.infolist()[0]
        for number in range(64):
            twin = zipfile.ZipInfo(f"{MODEL}/zeros{number}")
            for name in ("header_offset", "CRC", "compress_size", "file_size", "compress_type"):
                setattr(twin, name, getattr(first, name))
            made.filelist.append(twin)
    with pytest.raises(DataError):
        install(tmp_path / "one.zip", results)
    assert not unpacked
    assert not list(results.iterdir())


@pytest.mark.parametrize("claimed", [10, 1 << 19, (1 << 20) + 1])
def test_an_entry_that_lies_about_its_size_is_refused(tmp_path: Path, results: Path, claimed: int) -> None:
    path = make_zip(tmp_path / "liar.zip", files(tmp_path), entry(f"{MODEL}/zeros", bytes(1 << 20)))
    content = path.read_bytes()
    name = f"{MODEL}/zeros".encode()
    at = content.rindex(name) - 46  # the central directory's entry: the uncompressed size is at byte 24
    assert content[at : at + 4] == b"PK\x01\x02"
    path.write_bytes(content[: at + 24] + struct.pack("<I", claimed) + content[at + 28 :])
    with pytest.raises(DataError, match="zeros"):
        install(path, results)
    assert not list(results.iterdir())


def test_damaged_archives_are_refused(tmp_path: Path, results: Path) -> None:
    whole = make_zip(tmp_path / "whole.zip", files(tmp_path)).read_bytes()
    flipped = bytearray(whole)
    flipped[whole.index(b"PK\x01\x02") // 2] ^= 0xFF
    for content in (b"", b"not a zip", whole[:-30], whole[: len(whole) // 2], bytes(flipped)):
        (tmp_path / "broken.zip").write_bytes(content)
        with pytest.raises(DataError, match=r"^[^\n]*broken\.zip[^\n]*$"):
            install(tmp_path / "broken.zip", results)
    with pytest.raises(DataError):
        install(make_zip(tmp_path / "empty.zip", {}), results)
    assert not list(results.iterdir())


@pytest.mark.parametrize("name", ["fold_0/checkpoint_best.pth", "crossval_results_folds_0/postprocessing.pkl"])
def test_models_that_could_run_code_are_refused(tmp_path: Path, results: Path, name: str) -> None:
    content = files(tmp_path)
    if name.endswith(".pth"):
        torch.save({"network_weights": {}, "x": Touch(tmp_path / "ran")}, tmp_path / "evil.pth")
        content[name] = (tmp_path / "evil.pth").read_bytes()
    else:
        content[name] = pickle.dumps(([Touch(tmp_path / "ran")], [{}]))
    with pytest.raises(DataError, match=rf"{MODEL}/{name}.*posix\.system") as caught:
        install(make_zip(tmp_path / "evil.zip", content), results)
    assert ".partial" not in str(caught.value)
    assert not (tmp_path / "ran").exists()
    assert not list(results.iterdir())


def test_a_manifest_in_the_archive_is_verified(tmp_path: Path, results: Path) -> None:
    content = files(tmp_path)
    listed = {
        name: {"sha256": hashlib.sha256(value).hexdigest(), "bytes": len(value)}
        for name, value in content.items()
        if "validation" not in name
    }
    manifest = {"checkpoint": "checkpoint_final.pth", "files": listed}
    content["comnet_manifest.json"] = json.dumps(manifest).encode()
    changed = {**content, "plans.json": b'{"plans_name": "q"}'}
    with pytest.raises(DataError, match=r"plans\.json"):
        install(make_zip(tmp_path / "changed.zip", changed), results)
    del (partial := dict(content))["dataset.json"]
    with pytest.raises(DataError, match=r"dataset\.json"):
        install(make_zip(tmp_path / "partial.zip", partial), results)
    assert not list(results.iterdir())
    assert install(make_zip(tmp_path / "whole.zip", content), results).verified == (MODEL,)


def test_several_models_are_all_installed_or_none(
    tmp_path: Path, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{DATASET}/nnUNetTrainer__p__{kind}" for kind in ("2d", "3d_fullres")]
    both = {f"{name}/{file}": value for name in names for file, value in files(tmp_path, 2.0).items()}
    beside = {f"{DATASET}/inference_information.json": b"{}", f"{DATASET}/ensembles/e/summary.json": b"{}"}
    for name, value in files(tmp_path).items():
        (results / names[0] / name).parent.mkdir(parents=True, exist_ok=True)
        (results / names[0] / name).write_bytes(value)
    before = tree(results)
    packed = tmp_path / "both.zip"
    with zipfile.ZipFile(packed, "w") as made:
        for name, value in {**both, **beside}.items():
            made.writestr(name, value)
    replace = os.replace

    def full(source: Any, target: Any) -> None:
        if str(target).endswith("3d_fullres"):
            raise OSError(28, "No space left on device")
        replace(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", full)
        with pytest.raises(DataError):
            install(packed, results, overwrite=True)
    assert tree(results) == before
    done = install(packed, results, overwrite=True)
    assert tree(results) == both
    assert done.left_out == tuple(beside)


def test_a_full_disk_and_another_dataset_of_the_number_are_refused(
    tmp_path: Path, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = make_zip(tmp_path / "m.zip", files(tmp_path))
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10}))
        with pytest.raises(DataError, match="10"):
            install(packed, results)
    (results / "Dataset501_Other").mkdir()
    with pytest.raises(DataError, match="Dataset501_Other"):
        install(packed, results)
