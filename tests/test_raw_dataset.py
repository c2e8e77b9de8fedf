"""A raw dataset looked over before it is planned, and the damaged file named when nnU-Net has stumbled over one."""

from pathlib import Path
from typing import Any

import pytest

from nnunetv2_comnet.crossval import require_fold
from nnunetv2_comnet.errors import DataError
from nnunetv2_comnet.plans import prepare_dataset
from nnunetv2_comnet.raw_dataset import first_unsound, require_plannable
from tests.bad_inputs import files
from tests.bad_inputs.plan_cases import dataset


def test_a_good_dataset_passes(tmp_path: Path) -> None:
    folder = dataset(tmp_path)
    require_plannable(folder)
    assert first_unsound(folder) == ""


def test_the_damaged_file_is_named_after_nnunet_stumbled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A header is whole in a file that is cut in half: only reading it to its end tells."""
    folder = dataset(tmp_path)
    damaged = folder / "imagesTr" / "B_0002.nii.gz"
    files.cut(damaged)
    require_plannable(folder)

    def stumble(*_: Any, **__: Any) -> None:
        raise RuntimeError("Some background worker\nis 6 feet under")

    api = "nnunetv2.experiment_planning.plan_and_preprocess_api"
    monkeypatch.setattr(f"{api}.extract_fingerprint_dataset", stumble)
    for name in ("raw", "preprocessed", "results"):
        (tmp_path / name).mkdir(exist_ok=True)
        monkeypatch.setenv(f"nnUNet_{name}", str(tmp_path / name))
    with pytest.raises(DataError) as refusal:
        prepare_dataset(501, 1)
    assert str(refusal.value) == f"{damaged} cannot be read: its gzip stream is cut off; copy or make it again"


def test_a_fold_of_all_cases_needs_no_split(tmp_path: Path) -> None:
    path = tmp_path / "splits_final.json"
    path.write_text("[]")
    require_fold(path, "all", set())
    with pytest.raises(DataError, match="fold 0"):
        require_fold(path, 0, set())
