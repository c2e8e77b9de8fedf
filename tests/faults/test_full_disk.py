"""A disk without room, a folder without permission: one line, exit code not 0, no half file, and the rest goes on."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch

from nnunetv2_comnet.errors import OutputError
from nnunetv2_comnet.files import PARTIAL, write_text, written_whole
from nnunetv2_comnet.inference.images import write_label_map, write_map
from tests.dataset_conversion.tiny_patients import write_utsw
from tests.inference.conftest import build_trainer
from tests.running import BIN

Disk = Callable[[int], Path]
FAST = ("-f", "0", "--disable_tta", "-device", "cpu")
FOLDER = "Dataset501_UTSWGlioma"


def require_whole(folder: Path) -> list[str]:
    """Every file can be read to its end and there is no leftover; the files' names."""
    names = []
    for path in sorted(folder.rglob("*")):
        assert not path.name.startswith(PARTIAL)
        if path.is_file():
            names.append(str(path.relative_to(folder)))
            if path.name.endswith(".nii.gz"):
                np.asarray(nibabel.load(path).dataobj)
            if path.suffix == ".npz":
                assert np.load(path)["probabilities"].size
            if path.suffix == ".json":
                json.loads(path.read_text())
    return names


def is_one_line(answer: Any, *said: str) -> None:
    assert answer.returncode == 1, answer.stderr
    assert answer.stderr.count("\n") == 1, answer.stderr
    assert answer.stderr.startswith("comnet: error: ")
    for words in said:
        assert words in answer.stderr


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Six patients to convert."""
    for number in range(1, 7):
        write_utsw(tmp_path / "in", f"BT000{number}", number)
    return tmp_path / "in"


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_conversion_ends_in_one_line_and_goes_on(run: Any, source: Path, disk: Disk, tmp_path: Path, jobs: str) -> None:
    words = ("comnet", "convert", "utsw", str(source), "-d", "501", "--jobs", jobs)
    answer = run(*words, "--out", str(disk(200)))
    is_one_line(answer)
    done = require_whole(disk(200))
    assert 0 < len([name for name in done if name.startswith(f"{FOLDER}/.comnet/cases")]) < 6
    assert f"{FOLDER}/dataset.json" not in done
    assert run(*words, "--out", str(disk(4000))).returncode == 0
    assert run(*words, "--out", str(tmp_path / "ample")).returncode == 0
    found, expected = disk(4000), tmp_path / "ample"
    assert require_whole(found) == require_whole(expected)
    assert all((found / name).read_bytes() == (expected / name).read_bytes() for name in require_whole(expected))


def test_prediction_tells_the_reason_and_goes_on(
    model: Path, patients: Path, disk: Disk, tmp_path: Path, comnet: Any
) -> None:
    words = ("predict", "-i", patients, "-m", model, *FAST, "--save_probabilities")
    assert comnet(*words, "-o", tmp_path / "ample")[0] == 0
    needed = {path.name: path.stat().st_size for path in (tmp_path / "ample").iterdir()}
    one = sum(size for name, size in needed.items() if "OBLIQUE" not in name and "RAS" not in name)
    out = disk(one // 1024 + 60)  # room for the first patient's files and for the records
    code, said, wrong = comnet(*words, "-o", out)
    assert (code, wrong.count("\n")) == (1, 1)
    assert said.startswith("predicted 1 of 3 cases")
    reasons = json.loads((out / "failures.json").read_text())
    assert set(reasons) == {"OBLIQUE", "RAS"}
    assert [name for name in require_whole(out) if name.endswith(".nii.gz")] == ["LPS.nii.gz"]

    disk(8000)
    code, said, _ = comnet(*words, "-o", out, "--continue_prediction")
    assert (code, said.split(";")[0]) == (0, "predicted 2 of 3 cases, 1 were there already")
    assert require_whole(out) == sorted(needed)
    for name in needed.keys() - {"comnet_run.json"}:
        assert (out / name).read_bytes() == (tmp_path / "ample" / name).read_bytes()


def test_a_batch_ends_where_nothing_more_can_be_written(model: Path, patients: Path, disk: Disk, comnet: Any) -> None:
    code, said, wrong = comnet("predict", "-i", patients, "-o", disk(16), "-m", model, *FAST)
    assert (code, said, wrong.count("\n")) == (1, "", 1)
    assert wrong.startswith("comnet: error: ")
    require_whole(disk(16))


@pytest.mark.chain
def test_a_limit_of_file_sizes_costs_only_what_exceeds_it(model: Path, patients: Path, tmp_path: Path) -> None:
    """In blocks of 1024 bytes: masks and records fit, the first patient's probabilities do not."""
    images = tmp_path / "images"
    shutil.copytree(patients, images)
    for path in images.glob("LPS_*"):
        image = nibabel.load(path)
        nibabel.save(nibabel.Nifti1Image(np.tile(image.get_fdata(dtype=np.float32), (2, 2, 2)), image.affine), path)
    words = (str(BIN / "comnet"), "predict", "-i", images, "-o", tmp_path / "out", "-m", model, *FAST)
    limited = ("bash", "-c", 'ulimit -f 400; exec "$@"', "bash", *words, "--save_probabilities")
    answer = subprocess.run(list(map(str, limited)), capture_output=True, text=True, check=False)
    is_one_line(answer, "LPS.npz")
    assert set(json.loads((tmp_path / "out" / "failures.json").read_text())) == {"LPS"}
    names = require_whole(tmp_path / "out")
    assert [name for name in names if name.endswith("nii.gz")] == ["OBLIQUE.nii.gz", "RAS.nii.gz"]


@pytest.mark.parametrize("reader", ["SimpleITKIO", "NibabelIO"])
@pytest.mark.parametrize("ending", [".nii.gz", ".nii"])
def test_an_image_that_its_writer_cuts_is_no_image(disk: Disk, reader: str, ending: str) -> None:
    """SimpleITK says nothing of a full disk: it leaves a cut file, and reads it as a whole one."""
    from nnunetv2.imageio.reader_writer_registry import recursive_find_reader_writer_by_name

    folder = disk(64)
    geometry = {"spacing": (1.0, 1.0, 1.0), "origin": (0.0, 0.0, 0.0), "direction": tuple(np.eye(3).ravel())}
    properties = (
        {"sitk_stuff": geometry} if reader == "SimpleITKIO" else {"nibabel_stuff": {"original_affine": np.eye(4)}}
    )
    noise = np.random.default_rng(0).integers(0, 255, (40, 60, 60))
    writer = recursive_find_reader_writer_by_name(reader)()
    for write in (
        lambda path: write_label_map(writer, noise.astype(np.uint8), path, properties),
        lambda path: write_map(noise.astype(np.float32), path, properties),
    ):
        with pytest.raises(OutputError):
            write(folder / f"image{ending}")
        assert not list(folder.iterdir())


def test_a_checkpoint_that_does_not_fit_leaves_the_last_one(blobs: Path, disk: Disk, tmp_path: Path) -> None:
    trainer = build_trainer(blobs, tmp_path / "results", 0)
    size = tmp_path / "size.pth"
    trainer.save_checkpoint(str(size))
    target = disk(size.stat().st_size // 1024 + 100) / "checkpoint_latest.pth"
    trainer.save_checkpoint(str(target))
    with pytest.raises(SystemExit, match=r"^comnet: error: .*checkpoint_latest\.pth"):
        trainer.save_checkpoint(str(target))
    assert [path.name for path in target.parent.iterdir()] == ["checkpoint_latest.pth"]
    assert torch.load(target, weights_only=False)["network_weights"]


@pytest.fixture
def scored(tmp_path: Path, source: Path, run: Any) -> tuple[str, str]:
    """True masks, and themselves as predictions."""
    assert run("comnet", "convert", "utsw", str(source), "-d", "501", "--out", str(tmp_path)).returncode == 0
    folder = str(tmp_path / FOLDER / "labelsTr")
    return folder, folder


def test_nothing_is_left_of_scores_and_pages_on_a_full_disk(run: Any, scored: Any, disk: Disk) -> None:
    reference, prediction = scored
    full = disk(8)
    (full / "filler").write_bytes(bytes(8192))
    words = ("-ref", reference, "-pred", prediction)
    is_one_line(run("comnet", "evaluate", *words, "--protocol", "brats2023", "-o", str(full)), str(full))
    is_one_line(run("comnet", "report", str(full / "page.html"), *words), str(full))
    assert [path.name for path in full.iterdir()] == ["filler"]


def test_a_folder_that_is_read_only_is_named(
    run: Any, scored: Any, source: Path, model: Path, patients: Path, read_only: Path
) -> None:
    reference, prediction = scored
    out, words = str(read_only / "out"), ("-ref", reference, "-pred", prediction)
    for command in (
        ("convert", "utsw", str(source), "-d", "501", "--out", out),
        ("predict", "-i", str(patients), "-o", out, "-m", str(model), *FAST),
        ("evaluate", *words, "--protocol", "brats2023", "-o", out),
        ("report", str(read_only / "page.html"), *words),
        ("phantom", out, "--cases", "1", "--spacing", "6"),
    ):
        is_one_line(run("comnet", *command), str(read_only))
    assert not list(read_only.iterdir())


def test_an_error_of_reading_is_not_taken_for_one_of_writing(tmp_path: Path) -> None:
    with pytest.raises(OutputError):
        write_text(tmp_path, "text")
    with pytest.raises(FileNotFoundError, match="absent"), written_whole(tmp_path / "target"):
        (tmp_path / "absent").read_bytes()
