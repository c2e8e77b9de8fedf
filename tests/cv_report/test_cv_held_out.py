"""Only held-out predictions pass: each way of having seen a case is refused in one line with its reason."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from cv_world import CORRDIFF, MEDNEXT, PLANS, SPLITS, World, mask, write

from nnunetv2_comnet.cv_report.held_out import HeldOut, find_held_out, read_cross_validation
from nnunetv2_comnet.cv_report.models import TrainedModel, parse_model
from nnunetv2_comnet.cv_report.patients import note_on_patients
from nnunetv2_comnet.errors import DataError


def find(world: World, trainer: str = MEDNEXT, *, allow_missing: bool = False) -> HeldOut:
    trained = TrainedModel(parse_model(trainer, PLANS, "3d_fullres"), world.folder(trainer))
    return find_held_out(trained, read_cross_validation(world.preprocessed), allow_missing=allow_missing)


def validation(world: World, fold: int, trainer: str = MEDNEXT) -> Path:
    return world.folder(trainer) / f"fold_{fold}" / "validation"


def test_what_was_held_out_is_found(world: World) -> None:
    world.add(CORRDIFF)
    held_out = find(world, CORRDIFF)
    assert held_out.fold_of == {"A": 0, "B": 0, "C": 1, "D": 1}
    assert held_out.folds == (0, 1)
    assert held_out.gaps == []
    assert held_out.validation("C") == validation(world, 1, CORRDIFF)


def _predicts_a_training_case(world: World) -> None:
    write(validation(world, 1) / "A.nii.gz", mask())


def _predicts_a_stranger(world: World) -> None:
    write(validation(world, 0) / "Z.nii.gz", mask())


def _is_of_all_cases(world: World) -> None:
    for fold in (0, 1):
        shutil.rmtree(world.folder(MEDNEXT) / f"fold_{fold}")
    (world.folder(MEDNEXT) / "fold_all" / "validation").mkdir(parents=True)


def _was_trained_on_another_split(world: World) -> None:
    world.write_splits([{"train": ["B", "D"], "val": ["A", "C"]}, {"train": ["A", "C"], "val": ["B", "D"]}])


def _has_a_fold_too_many(world: World) -> None:
    shutil.copytree(world.folder(MEDNEXT) / "fold_0", world.folder(MEDNEXT) / "fold_2")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_predicts_a_training_case, "1 case(s) that are not held out, first A: fold 1 trained on it"),
        (_predicts_a_stranger, "first Z: splits_final.json does not hold it out in fold 0"),
        (_is_of_all_cases, "holds fold 'all' only, whose model saw every case; train folds: nnUNetv2_train"),
        (_was_trained_on_another_split, "first B: fold 0 trained on it"),
        (_has_a_fold_too_many, "has fold 2, but splits_final.json has 2 folds"),
    ],
)
@pytest.mark.parametrize("allow_missing", [False, True])
def test_a_prediction_by_a_model_that_saw_the_case_is_refused(
    world: World, spoil: Callable[[World], None], said: str, allow_missing: bool
) -> None:
    world.add(MEDNEXT)
    spoil(world)
    with pytest.raises(DataError) as caught:
        find(world, allow_missing=allow_missing)
    assert said in str(caught.value)
    assert str(caught.value).startswith("MedNeXt: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (None, "nothing shows that fold 0's frozen model had not seen its cases"),
        # Trained when fold 1 held A out: fold 0's stage 1 had A among its training cases.
        ({"served_by": {"A": 1, "B": 0, "C": 0, "D": 1}, "in_fold": []}, "A was held out by fold 1, says"),
        ({"served_by": {"A": 0, "B": 0}, "in_fold": ["B"]}, "B was held out by no other fold than its own"),
        ({"served_by": {"A": 0}, "in_fold": []}, "B was held out by no fold"),
        ({"served_by": ["A"]}, "served_by: Input should be a valid dictionary"),
    ],
)
def test_a_refiner_must_show_which_models_served_it(world: World, record: dict | None, said: str) -> None:
    path = world.add(CORRDIFF) / "fold_0" / "out_of_fold.json"
    path.unlink() if record is None else path.write_text(json.dumps(record))
    with pytest.raises(DataError) as caught:
        find(world, CORRDIFF)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_in_fold_training_maps_do_not_forbid_a_held_out_prediction(world: World) -> None:
    # The ablation's refiner learns from its own fold's maps of its training cases; A and B stay held out.
    path = world.add(f"{CORRDIFF}InFold") / "fold_0" / "out_of_fold.json"
    path.write_text(json.dumps({"served_by": dict.fromkeys("ABCD", 0), "in_fold": ["C", "D"]}))
    path = path.parents[1] / "fold_1" / "out_of_fold.json"
    path.write_text(json.dumps({"served_by": dict.fromkeys("ABCD", 1), "in_fold": ["A", "B"]}))
    assert find(world, f"{CORRDIFF}InFold").fold_of == {"A": 0, "B": 0, "C": 1, "D": 1}


def test_missing_folds_and_cases_are_named_and_only_left_out_when_told(world: World) -> None:
    world.add(MEDNEXT)
    (validation(world, 0) / "B.nii.gz").unlink()
    with pytest.raises(DataError, match=r"fold 0 lacks 1 held-out case\(s\): B; predict them: nnUNetv2_train .* --val"):
        find(world)
    shutil.rmtree(validation(world, 1))
    with pytest.raises(DataError, match=r"fold 1 has no held-out predictions.*\(and 1 more\); --allow-missing"):
        find(world)
    held_out = find(world, allow_missing=True)
    assert held_out.fold_of == {"A": 0}
    assert (held_out.missing_folds, held_out.missing_cases) == ((1,), {0: ("B",)})
    assert len(held_out.gaps) == 2
    shutil.rmtree(validation(world, 0))
    with pytest.raises(DataError, match="fold 0 has no held-out predictions"):
        find(world, allow_missing=True)


@pytest.mark.parametrize(
    ("splits", "said"),
    [
        ([{"train": ["A", "B"], "val": ["A"]}], "fold 0 trains on A and validates on it"),
        ([{"train": ["B"], "val": ["A"]}, {"train": ["B"], "val": ["A"]}], "holds A out in folds 0 and 1"),
        ({"train": ["A"]}, "is not nnU-Net's list of folds"),
    ],
)
def test_splits_that_hold_nothing_out_are_refused(world: World, splits: object, said: str) -> None:
    world.write_splits(splits)
    with pytest.raises(DataError, match=said):
        read_cross_validation(world.preprocessed)


def test_patients_that_the_folds_split_apart_are_named(world: World) -> None:
    splits = read_cross_validation(world.preprocessed)
    assert note_on_patients(splits, world.raw) == []  # no converter's report: nothing is known
    report = world.raw / "conversion_report.csv"
    report.write_text("case,patient\nA,P1\nB,P1\nC,P2\nD,P2\n")
    assert note_on_patients(splits, world.raw) == []
    report.write_text("case,patient\nA,P1\nB,P2\nC,P2\nD,P3\n")  # P2 is in both folds
    assert "splits 1 patient(s) apart (first P2)" in note_on_patients(splits, world.raw)[0]
    assert note_on_patients(splits, None) == []


def test_no_splits_is_a_mistake_of_its_own(world: World) -> None:
    assert read_cross_validation(world.preprocessed) == SPLITS
    (world.preprocessed / "splits_final.json").unlink()
    with pytest.raises(DataError, match="nothing tells which cases a fold held out"):
        read_cross_validation(world.preprocessed)
