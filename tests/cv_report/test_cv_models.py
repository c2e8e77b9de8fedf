"""Models as users write them, and what the data are taken for."""

import pytest

from nnunetv2_comnet.cv_report.data import describe_data
from nnunetv2_comnet.cv_report.models import Model, parse_model, parse_models
from nnunetv2_comnet.dataset_json import DatasetJson
from nnunetv2_comnet.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nnUNetTrainerCoMNeT", ("MedNeXt", "nnUNetTrainerCoMNeT", "P", "C")),
        ("nnUNetTrainer", ("nnUNetTrainer", "nnUNetTrainer", "P", "C")),
        ("nnUNetTrainer:Q", ("nnUNetTrainer (Q)", "nnUNetTrainer", "Q", "C")),
        ("nnUNetTrainer:Q:3d_lowres", ("nnUNetTrainer (Q:3d_lowres)", "nnUNetTrainer", "Q", "3d_lowres")),
        ("nnU-Net=nnUNetTrainer:Q", ("nnU-Net", "nnUNetTrainer", "Q", "C")),
        ("nnUNetTrainer:P", ("nnUNetTrainer", "nnUNetTrainer", "P", "C")),
    ],
)
def test_a_model_is_read(text: str, expected: tuple) -> None:
    assert parse_model(text, "P", "C") == Model(*expected)


@pytest.mark.parametrize("text", ["", "=nnUNetTrainer", "a:b:c:d", "nnUNetTrainer:", "name="])
def test_what_is_no_model_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="TRAINER"):
        parse_model(text, "P", "C")


def test_two_models_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="MedNeXt"):
        parse_models(["nnUNetTrainerCoMNeT", "MedNeXt=nnUNetTrainer:Q"], "P", "C")


@pytest.mark.parametrize(
    ("dataset_json", "kind", "said"),
    [
        ({"converted_by": "nnunetv2-comnet 0.1.0, layout utsw", "numTraining": 625}, "utsw", "the paper's data"),
        ({"converted_by": "nnunetv2-comnet 0.1.0, layout utsw", "numTraining": 600}, "utsw", "600 of 625 patients"),
        (
            {"converted_by": "nnunetv2-comnet 0.1.0, layout utsw", "generated_by": "comnet phantom, seed 0"},
            "generated",
            "ANOTHER DATA SET: generated patients",
        ),
        ({"converted_by": "nnunetv2-comnet 0.1.0, layout brats2023", "name": "GLI"}, "other", "ANOTHER DATA SET: GLI"),
        ({}, "other", "ANOTHER DATA SET: an unnamed data set"),
    ],
)
def test_the_data_are_known_by_the_converters_notes(dataset_json: dict, kind: str, said: str) -> None:
    data = describe_data(DatasetJson(**dataset_json))
    assert data.kind == kind
    assert said in data.remark
    assert data.is_the_papers == (kind == "utsw")


def test_the_user_may_say_what_the_data_are() -> None:
    assert describe_data(DatasetJson(numTraining=625), "utsw").is_the_papers
    assert describe_data(DatasetJson(converted_by="x, layout utsw"), "generated").kind == "generated"
    with pytest.raises(ConfigurationError, match="auto, utsw, generated, other"):
        describe_data(DatasetJson(), "real")
