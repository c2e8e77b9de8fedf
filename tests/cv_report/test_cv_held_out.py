"""Only held-out predictions pass: each way of having seen a case is refused in one line with its reason."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from cv_setup import CORRDIFF, MEDNEXT, PLANS, SPLITS, Setup, mask, write

from nnunetv2_comnet.cv_report.held_out import HeldOut, find_held_out, read_cross_validation
from nnunetv2_comnet.cv_report.models import TrainedModel, parse_model
from nnunetv2_comnet.cv_report.patients import note_on_patients
from nnunetv2_comnet.errors import DataError


def find(setup: Setup, trainer: str = MEDNEXT, *, allow_missing: bool = False) -> HeldOut:
    trained = TrainedModel(parse_model(trainer, PLANS, "3d_fullres"), setup.folder(trainer))
    return find_held_out(trained, read_cross_validation(setup.preprocessed), allow_missing=allow_missing)


def validation(setup: Setup, fold: int, trainer: str = MEDNEXT) -> Path:
    return setup.folder(trainer) / f"fold_{fold}" / "validation"


def test_what_was_held_out_is_found(setup: Setup) -> None:
    setup.add(CORRDIFF)
    held_out = find(setup, CORRDIFF)
    assert held_out.fold_of == {"A": 0, "B": 0, "C": 1, "D": 1}
    assert held_out.folds == (0, 1)
    assert held_out.gaps == []
    assert held_out.validation("C") == validation(setup, 1, CORRDIFF)


def _predicts_a_training_case(setup: Setup) -> None:
    write(validation(setup, 1) / "A.nii.gz", mask())


def _predicts_a_stranger(setup: Setup) -> None:
    write(validation(setup, 0) / "Z.nii.gz", mask())


def _is_of_all_cases(setup: Setup) -> None:
    for fold in (0, 1):
        shutil.rmtree(setup.folder(MEDNEXT) / f"fold_{fold}")
    (setup.folder(MEDNEXT) / "fold_all" / "validation").mkdir(parents=True)


def _was_trained_on_another_split(setup: Setup) -> None:
    setup.write_splits([{"train": ["B", "D"], "val": ["A", "C"]}, {"train": ["A", "C"], "val": ["B", "D"]}])


def _has_a_fold_too_many(setup: Setup) -> None:
    shutil.copytree(setup.folder(MEDNEXT) / "fold_0", setup.folder(MEDNEXT) / "fold_2")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_predicts_a_training_case, "A: fold 1"),
        (_predicts_a_stranger, "Z: splits_final.json"),
        (_is_of_all_cases, "nnUNetv2_train"),
        (_was_trained_on_another_split, "B: fold 0"),
        (_has_a_fold_too_many, "splits_final.json"),
    ],
)
@pytest.mark.parametrize("allow_missing", [False, True])
def test_a_prediction_by_a_model_that_saw_the_case_is_refused(
    setup: Setup, spoil: Callable[[Setup], None], said: str, allow_missing: bool
) -> None:
    setup.add(MEDNEXT)
    spoil(setup)
    with pytest.raises(DataError) as caught:
        find(setup, allow_missing=allow_missing)
    assert said in str(caught.value)
    assert str(caught.value).startswith("MedNeXt: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (None, "fold 0"),
        # Trained when fold 1 held A out: fold 0's stage 1 had A among its training cases.
        ({"served_by": {"A": 1, "B": 0, "C": 0, "D": 1}, "in_fold": []}, "fold 1"),
        ({"served_by": {"A": 0, "B": 0}, "in_fold": ["B"]}, "B "),
        ({"served_by": {"A": 0}, "in_fold": []}, "B "),
        ({"served_by": ["A"]}, "served_by"),
    ],
)
def test_a_refiner_must_show_which_models_served_it(setup: Setup, record: dict | None, said: str) -> None:
    path = setup.add(CORRDIFF) / "fold_0" / "out_of_fold.json"
    path.unlink() if record is None else path.write_text(json.dumps(record))
    with pytest.raises(DataError) as caught:
        find(setup, CORRDIFF)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_in_fold_training_maps_do_not_forbid_a_held_out_prediction(setup: Setup) -> None:
    # The ablation's refiner learns from its own fold's maps of its training cases; A and B stay held out.
    path = setup.add(f"{CORRDIFF}InFold") / "fold_0" / "out_of_fold.json"
    path.write_text(json.dumps({"served_by": dict.fromkeys("ABCD", 0), "in_fold": ["C", "D"]}))
    path = path.parents[1] / "fold_1" / "out_of_fold.json"
    path.write_text(json.dumps({"served_by": dict.fromkeys("ABCD", 1), "in_fold": ["A", "B"]}))
    assert find(setup, f"{CORRDIFF}InFold").fold_of == {"A": 0, "B": 0, "C": 1, "D": 1}


def test_missing_folds_and_cases_are_named_and_only_left_out_when_told(setup: Setup) -> None:
    setup.add(MEDNEXT)
    (validation(setup, 0) / "B.nii.gz").unlink()
    with pytest.raises(DataError, match=r"fold 0.*B.*nnUNetv2_train .* --val"):
        find(setup)
    shutil.rmtree(validation(setup, 1))
    with pytest.raises(DataError, match=r"fold 1.*--allow-missing"):
        find(setup)
    held_out = find(setup, allow_missing=True)
    assert held_out.fold_of == {"A": 0}
    assert (held_out.missing_folds, held_out.missing_cases) == ((1,), {0: ("B",)})
    assert len(held_out.gaps) == 2
    shutil.rmtree(validation(setup, 0))
    with pytest.raises(DataError, match="fold 0"):
        find(setup, allow_missing=True)


@pytest.mark.parametrize(
    ("splits", "said"),
    [
        ([{"train": ["A", "B"], "val": ["A"]}], "fold 0.* A"),
        ([{"train": ["B"], "val": ["A"]}, {"train": ["B"], "val": ["A"]}], " A .*folds 0 and 1"),
        ({"train": ["A"]}, "folds"),
    ],
)
def test_splits_that_hold_nothing_out_are_refused(setup: Setup, splits: object, said: str) -> None:
    setup.write_splits(splits)
    with pytest.raises(DataError, match=said):
        read_cross_validation(setup.preprocessed)


def test_patients_that_the_folds_split_apart_are_named(setup: Setup) -> None:
    splits = read_cross_validation(setup.preprocessed)
    assert note_on_patients(splits, setup.raw) == []  # no converter's report: nothing is known
    report = setup.raw / "conversion_report.csv"
    report.write_text("case,patient\nA,P1\nB,P1\nC,P2\nD,P2\n")
    assert note_on_patients(splits, setup.raw) == []
    report.write_text("case,patient\nA,P1\nB,P2\nC,P2\nD,P3\n")  # P2 is in both folds
    assert "splits 1 patient(s) apart (first P2)" in note_on_patients(splits, setup.raw)[0]
    assert note_on_patients(splits, None) == []


def test_no_splits_is_a_mistake_of_its_own(setup: Setup) -> None:
    assert read_cross_validation(setup.preprocessed) == SPLITS
    (setup.preprocessed / "splits_final.json").unlink()
    with pytest.raises(DataError):
        read_cross_validation(setup.preprocessed)
