"""A second run changes nothing, a killed one goes on, changed options reconvert, and nothing of the user's is lost."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import nibabel
import numpy as np
import pytest
from tiny_patients import TO_124, load, make_patient, renumber, save, snapshot, write_utsw

from nnunetv2_comnet.dataset_conversion.convert import ConversionOptions, convert_dataset

FOLDER = "Dataset501_UTSWGlioma"
COMNET = str(Path(sys.executable).parent / "comnet")


@pytest.fixture
def source(tmp_path):
    for index in range(1, 7):
        write_utsw(tmp_path / "in", f"BT000{index}", index)
    (tmp_path / "in/BT0006/tumorseg_FeTS.nii.gz").unlink()
    return tmp_path / "in"


@pytest.mark.parametrize("options", [[], ["--link", "--preview"]])
def test_second_run_changes_nothing(tmp_path, source, comnet, options):
    first = comnet("utsw", source, "--out", tmp_path, *options)
    before = snapshot(tmp_path / FOLDER)
    assert len([name for name in before if name.endswith(".png")]) == (5 if options else 0)
    second = comnet("utsw", source, "--out", tmp_path, *options)
    assert (first.code, second.code) == (0, 0)
    assert "5 unchanged" in second.out
    assert snapshot(tmp_path / FOLDER) == before


def test_links_after_copies_are_those_of_a_fresh_run_and_read_no_voxels(tmp_path, source, comnet):
    assert comnet("utsw", source, "--out", tmp_path / "fresh", "--link").code == 0
    assert comnet("utsw", source, "--out", tmp_path / "copied").code == 0
    scan = source / "BT0001/brain_t1.nii.gz"
    good, status = scan.read_bytes(), scan.stat()
    scan.write_bytes(bytes(len(good)))  # same size, and the same time of change: nobody can tell without reading it
    os.utime(scan, ns=(status.st_atime_ns, status.st_mtime_ns))
    linked = comnet("utsw", source, "--out", tmp_path / "copied", "--link")
    assert "converted 5 of 6 cases (0 unchanged since an earlier run, 20 files linked)" in linked.out
    scan.write_bytes(good)
    os.utime(scan, ns=(status.st_atime_ns, status.st_mtime_ns))
    fresh, copied = tmp_path / "fresh" / FOLDER, tmp_path / "copied" / FOLDER
    assert {name: data for name, (_, data) in snapshot(fresh).items()} == {
        name: data for name, (_, data) in snapshot(copied).items()
    }
    places = [path.relative_to(copied) for path in copied.rglob("*.nii.gz") if path.is_symlink()]
    assert len(places) == 20  # the four scans of five cases; the masks' 4 becomes 3
    assert all((copied / place).readlink() == (fresh / place).readlink() for place in places)
    before = snapshot(copied)
    assert "5 unchanged" in comnet("utsw", source, "--out", tmp_path / "copied", "--link").out
    assert snapshot(copied) == before


def test_a_scan_changed_since_the_copies_is_read_before_it_is_linked(tmp_path, source, comnet):
    comnet("utsw", source, "--out", tmp_path)
    scan = source / "BT0001/brain_t1.nii.gz"
    scan.write_bytes(bytes(scan.stat().st_size))
    os.utime(scan, ns=(1, 1))
    linked = comnet("utsw", source, "--out", tmp_path, "--link")
    assert "converted 4 of 6 cases (0 unchanged since an earlier run, 16 files linked)" in linked.out
    assert "unreadable: BT0001" in linked.out
    assert not list((tmp_path / FOLDER).glob("*Tr/BT0001*"))


def test_parallel_and_serial_write_the_same(tmp_path, source, comnet):
    assert comnet("utsw", source, "--out", tmp_path / "one").code == 0
    assert comnet("utsw", source, "--out", tmp_path / "two", "--jobs", "2").code == 0
    one, two = (snapshot(tmp_path / name / FOLDER) for name in ("one", "two"))
    assert {name: data for name, (_, data) in one.items()} == {name: data for name, (_, data) in two.items()}


def test_only_what_changed_is_converted_again(tmp_path, source, comnet):
    comnet("utsw", source, "--out", tmp_path)
    before = snapshot(tmp_path / FOLDER)
    patient = make_patient(99)
    save(source / "BT0002/tumorseg_FeTS.nii.gz", renumber(patient.mask, TO_124) * np.uint8(1))
    save(source / "BT0006/tumorseg_FeTS.nii.gz", renumber(patient.mask, TO_124))
    (tmp_path / FOLDER / "labelsTr/BT0003.nii.gz").unlink()
    done = comnet("utsw", source, "--out", tmp_path)
    assert "converted 6 of 6 cases (3 unchanged" in done.out
    after = snapshot(tmp_path / FOLDER)
    same = [name for name in before if "BT0001" in name or "BT0004" in name or "BT0005" in name]
    assert len(same) == 18
    assert all(before[name] == after[name] for name in same)


def test_a_case_that_fails_now_loses_its_files(tmp_path, source, comnet):
    comnet("utsw", source, "--out", tmp_path)
    (source / "BT0001/brain_t2.nii.gz").unlink()
    assert comnet("utsw", source, "--out", tmp_path).code == 0
    assert not list((tmp_path / FOLDER).glob("*Tr/BT0001*"))
    assert json.loads((tmp_path / FOLDER / "dataset.json").read_text())["numTraining"] == 4
    assert not (tmp_path / FOLDER / "splits_final.json").exists()  # four patients are fewer than five folds


def test_killed_in_between_then_resumed(tmp_path, run):
    for index in range(40):
        write_utsw(tmp_path / "in", f"BT{index:04d}", index)
    words = ["convert", "utsw", str(tmp_path / "in"), "-d", "501", "--out", str(tmp_path / "out"), "--jobs", "1"]
    labels = tmp_path / "out" / FOLDER / "labelsTr"
    process = subprocess.Popen([COMNET, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and len(list(labels.glob("*.nii.gz")) if labels.is_dir() else []) < 5:
        time.sleep(0.005)
    process.kill()
    process.wait()
    done = sorted(labels.glob("*.nii.gz"))
    assert 5 <= len(done) < 40
    for path in [*done, *(tmp_path / "out" / FOLDER / "imagesTr").glob("*.nii.gz")]:
        np.asarray(nibabel.load(path).dataobj)  # whole: a cut one would raise
    assert not (tmp_path / "out" / FOLDER / "dataset.json").exists()
    (labels / ".partial-left").mkdir(exist_ok=True)
    again = run("comnet", *words)
    assert again.returncode == 0, again.stderr
    unchanged = int(again.stdout.split("(")[1].split()[0])
    assert len(done) - 1 <= unchanged < 40
    assert "converted 40 of 40" in again.stdout
    assert not list((tmp_path / "out").rglob(".partial-*"))


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="Windows has no process groups that a signal reaches")
def test_ctrl_c_ends_cleanly_and_the_run_goes_on(tmp_path, run):
    for index in range(40):
        write_utsw(tmp_path / "in", f"BT{index:04d}", index)
    words = ["convert", "utsw", str(tmp_path / "in"), "-d", "501", "--out", str(tmp_path / "out"), "--jobs", "2"]
    labels = tmp_path / "out" / FOLDER / "labelsTr"
    # A test run in the background has SIGINT ignored, and a child inherits that: give it a terminal's own setting.
    listen = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(
        [COMNET, *words], stderr=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=listen
    )
    while process.poll() is None and len(list(labels.glob("*.nii.gz")) if labels.is_dir() else []) < 3:
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGINT)  # as the terminal does: parent and workers alike
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err == "comnet: interrupted; run the same command again to go on\n"
    assert run("comnet", *words).returncode == 0
    assert len(list(labels.iterdir())) == 40


def test_vanished_cases_are_named_and_removed_only_on_demand(tmp_path, source, comnet):
    comnet("utsw", source, "--out", tmp_path)
    before = snapshot(tmp_path / FOLDER)
    (source / "BT0001").rename(tmp_path / "BT0001")
    refused = comnet("utsw", source, "--out", tmp_path)
    assert refused.code == 1
    assert "BT0001" in refused.err
    assert "--overwrite" in refused.err
    assert snapshot(tmp_path / FOLDER) == before
    assert comnet("utsw", source, "--out", tmp_path, "--overwrite").code == 0
    assert not list((tmp_path / FOLDER).rglob("*BT0001*"))


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path, source, comnet):
    (tmp_path / "file").write_text("")
    done = comnet("utsw", source, "--out", tmp_path / "file/below")
    assert (done.code, done.err.count("\n")) == (1, 1)


def test_the_python_interface(tmp_path, source):
    result = convert_dataset(ConversionOptions(layout="utsw", source=source, dataset_id=7, out=tmp_path, name="Mine"))
    assert result.folder == tmp_path / "Dataset007_Mine"
    assert [case.case for case in result.excluded] == ["BT0006"]
    assert len(result.splits) == 5
    mask = make_patient(1).mask
    assert result.converted[0].voxels == {str(label): int((mask == label).sum()) for label in (1, 2, 3)}
    np.testing.assert_array_equal(load(result.folder / "labelsTr/BT0001.nii.gz"), mask)
