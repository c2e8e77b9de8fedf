"""Settings: the paper's values, refusals in one line, the patch fitted to small images."""

import pytest

from nnunetv2_comnet.errors import ConfigurationError
from nnunetv2_comnet.settings import PRESETS, fit_patch, make_settings, parse_settings


def test_the_paper_preset_is_the_papers_table() -> None:
    settings = make_settings("paper")
    assert settings.patch_size == (112, 160, 128)
    assert (settings.learning_rate, settings.weight_decay, settings.max_gradient_norm) == (1e-4, 1e-5, 1.0)
    assert (settings.max_epochs, settings.patience, settings.warmup_epochs) == (150, 30, 5)
    assert (settings.batch_size, settings.effective_batch_size, settings.steps_per_epoch) == (1, 2, 250)
    assert (settings.network_size, settings.kernel_size, settings.grn) == ("B", 3, True)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_valid(preset: str) -> None:
    assert make_settings(preset).preset == preset


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"network_size": "XL"}, "network_size"),
        ({"patch_size": (100, 160, 128)}, "patch_size"),
        ({"effective_batch_size": 3, "batch_size": 2}, "batch_size 2"),
        ({"learning_rate": 0}, "learning_rate = 0"),
        ({"gamma": (1.5, 0.7)}, "gamma"),
        ({"learnign_rate": 1e-3}, "learnign_rate"),
        ({"save_every": 50}, "save_every = 50"),
        ({"modality_dropout": 1.5}, "modality_dropout = 1.5"),
    ],
)
def test_a_wrong_value_is_refused_in_one_line(wrong: dict, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make_settings("paper", **wrong)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_model_that_knows_no_modality_dropout_had_none() -> None:
    section = make_settings("demo").model_dump(mode="json")
    del section["modality_dropout"]
    assert parse_settings(section, "an old plans.json").modality_dropout == 0


def test_an_unknown_preset_lists_the_known() -> None:
    with pytest.raises(ConfigurationError, match="paper, demo"):
        make_settings("papr")


@pytest.mark.parametrize(
    ("median", "expected"),
    [
        ((155, 240, 240), (112, 160, 128)),  # larger than the patch on every axis
        ((100, 160, 129), (112, 160, 128)),  # 100 needs 112, which the patch has
        ((90, 120, 80), (96, 128, 80)),  # next multiples of 16
        ((10, 10, 10), (32, 32, 32)),  # never under two voxels at the lowest level
    ],
)
def test_the_patch_shrinks_to_the_images(median: tuple, expected: tuple) -> None:
    assert fit_patch((112, 160, 128), median) == expected


def test_settings_are_taken_by_the_names_that_they_had_before() -> None:
    old = {"refiner_training_steps": 50, "refiner_sampling_steps": 5, "refiner_average_decay": 0.5}
    new = {"refiner_num_train_timesteps": 50, "refiner_num_inference_steps": 5, "refiner_ema_decay": 0.5}
    was = make_settings("demo", **old, refiner_parameterisation="noise")
    assert was == make_settings("demo", **new, refiner_prediction_type="epsilon")
    written = was.model_dump(mode="json")["refiner"]
    assert {f"refiner_{name}" for name in written} > set(new)
    assert not {f"refiner_{name}" for name in written} & set(old)


def test_a_refusal_names_the_present_name() -> None:
    with pytest.raises(ConfigurationError, match=r"^settings: refiner\.num_train_timesteps = 1: "):
        parse_settings({"refiner": {"training_steps": 1}}, "settings")
