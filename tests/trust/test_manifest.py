"""comnet manifest and comnet verify: hashes by hashlib, and every way in which a model can differ from its manifest."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nnunetv2_comnet.errors import DataError
from nnunetv2_comnet.trust.manifest import make_manifest, read_manifest, require_same

LISTED = {
    "plans.json": b"{}",
    "dataset.json": b"{ }",
    "calibration.json": b'{"a": 1}',
    "postprocessing.pkl": b"\x80\x04.",
    "crossval_results_folds_0_1/postprocessing.json": b"[]",
    "fold_0/checkpoint_final.pth": bytes(range(256)) * 5000,
    "fold_1/checkpoint_final.pth": b"two",
}
UNLISTED = ("fold_0/checkpoint_best.pth", "fold_0/out_of_fold.json", "fold_0/validation/A.nii.gz", "notes.txt")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    for name, content in {**LISTED, **dict.fromkeys(UNLISTED, b"x")}.items():
        path = tmp_path / "a model" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "a model"


def test_the_manifest_is_what_hashlib_says_and_its_own_digest_is_printed(run: Any, model: Path) -> None:
    answer = run("comnet", "manifest", str(model))
    assert answer.returncode == 0, answer.stderr
    written = model / "comnet_manifest.json"
    content = json.loads(written.read_text())
    assert content["files"] == {
        name: {"sha256": hashlib.sha256(value).hexdigest(), "bytes": len(value)} for name, value in LISTED.items()
    }
    digest = hashlib.sha256(written.read_bytes()).hexdigest()
    assert answer.stdout.splitlines()[-1] == f"its own sha256: {digest}"
    same = run("comnet", "verify", str(model), "--sha256", digest.upper())
    assert (same.returncode, same.stderr) == (0, "")
    assert same.stdout == "".join(f"same  {name}\n" for name in LISTED) + "all 7 files are the same\n"
    other = run("comnet", "verify", str(model), "--sha256", "0" * 64)
    assert other.returncode == 1
    assert other.stderr.startswith(f"comnet: error: {written}")


def _flip_a_bit(model: Path) -> None:
    path = model / "fold_0" / "checkpoint_final.pth"
    content = bytearray(path.read_bytes())
    status = path.stat()
    content[700_000] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # same size, same time of change


CHANGES: list[tuple[Callable[[Path], Any], str, str]] = [
    (_flip_a_bit, "changed", "fold_0/checkpoint_final.pth"),
    (lambda m: (m / "calibration.json").unlink(), "missing", "calibration.json"),
    (
        lambda m: (m / "comnet_postprocessing.json").write_text("{}"),
        "not in the manifest",
        "comnet_postprocessing.json",
    ),
    (lambda m: (m / "fold_1").rename(m / "fold_2"), "missing", "fold_1/checkpoint_final.pth"),
]


@pytest.mark.parametrize(("change", "state", "name"), CHANGES, ids=[f"{c[1]} {c[2]}" for c in CHANGES])
def test_each_difference_is_reported(run: Any, model: Path, tmp_path: Path, change: Any, state: str, name: str) -> None:
    elsewhere = tmp_path / "manifest.json"
    assert run("comnet", "manifest", str(model), "-o", str(elsewhere)).returncode == 0
    assert not (model / "comnet_manifest.json").exists()
    change(model)
    answer = run("comnet", "verify", str(model), "--manifest", str(elsewhere))
    assert answer.returncode == 1
    assert any(line.startswith(f"{state} ") and line.endswith(f" {name}") for line in answer.stdout.splitlines())
    assert answer.stderr.count("\n") == 1
    assert f"{name} ({state})" in answer.stderr


def test_another_checkpoint_than_the_manifests_is_not_in_it(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    path.write_text(make_manifest(model).model_dump_json())
    require_same(model, path, "checkpoint_final.pth")
    with pytest.raises(DataError, match=r"fold_0/checkpoint_best\.pth"):
        require_same(model, path, "checkpoint_best.pth")


GOOD = {"sha256": "0" * 64, "bytes": 1}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[", "JSON"),
        ("[" * 100_000, "JSON"),
        ("[]", "m.json"),
        ("{}", "checkpoint"),
        ({"files": {}}, "files"),
        ({"format": 2}, "format"),
        ({"more": 1}, "more"),
        ({"files": {"plans.json": {**GOOD, "sha256": "x"}}}, "files.plans.json.sha256"),
        ({"files": {"plans.json": {**GOOD, "bytes": -1}}}, "files.plans.json.bytes"),
        ({"files": {"../plans.json": GOOD}}, "../plans.json"),
        ({"files": {"/etc/passwd": GOOD}}, "/etc/passwd"),
        ({"files": {"a\\b": GOOD}}, "files"),
    ],
)
def test_a_file_that_is_no_manifest_is_refused_in_one_line(tmp_path: Path, content: Any, said: str) -> None:
    if isinstance(content, dict):
        content = json.dumps({"checkpoint": "checkpoint_final.pth", "files": {"plans.json": GOOD}, **content})
    (tmp_path / "m.json").write_text(content)
    with pytest.raises(DataError) as caught:
        read_manifest(tmp_path / "m.json")
    assert str(caught.value).startswith(f"{tmp_path / 'm.json'}")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_model_gets_no_manifest(run: Any, model: Path) -> None:
    for name, said in (
        ("fold_1/checkpoint_final.pth", ""),
        ("plans.json", "plans.json"),
    ):
        (model / name).unlink()
        answer = run("comnet", "manifest", str(model))
        assert answer.returncode == (1 if said else 0)
        assert said in answer.stderr
    assert run("comnet", "manifest", str(model / "nowhere")).stderr.count("\n") == 1
    nothing = run("comnet", "verify", str(model / "fold_0"))
    assert nothing.returncode == 1
    assert nothing.stderr.startswith(f"comnet: error: {model / 'fold_0' / 'comnet_manifest.json'}")
