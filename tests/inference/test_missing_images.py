"""A patient with missing channels: predicted by a model of modality dropout as on zero channels, else refused."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch

from nnunetv2_comnet.errors import ConfigurationError, DataError
from nnunetv2_comnet.inference.options import Options
from nnunetv2_comnet.inference.predictor import CoMNeTPredictor, Prepared
from tests.inference.conftest import FOLDS, write_patient
from tests.inference.test_averaging import images_of, stock

CHANNELS = ("T1n", "T1c", "T2w", "FLAIR")
FAST = ("-device", "cpu", "--disable_tta")
NEEDS_ALL = "was not trained with modality dropout (comnet plan --modality-dropout), so it needs every image"


def with_dropout(model: Path, folder: Path) -> Path:
    """The model, its plans saying that it was trained with modality dropout."""
    shutil.copytree(model, folder)
    plans = json.loads((folder / "plans.json").read_text())
    plans["comnet"]["modality_dropout"] = 0.5
    (folder / "plans.json").write_text(json.dumps(plans))
    return folder


@pytest.fixture(scope="module")
def tolerant(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_dropout(model, tmp_path_factory.mktemp("tolerant") / "model")


def without(files: list[Path], channels: tuple[int, ...]) -> list[Path | None]:
    return [None if channel in channels else file for channel, file in enumerate(files)]


def with_zeros(predictor: CoMNeTPredictor, files: list[Path], channels: tuple[int, ...]) -> Prepared:
    """nnU-Net's own preprocessing of all the images, and then 0 in these channels."""
    configuration = predictor.configuration_manager
    data, _, properties = configuration.preprocessor_class(verbose=False).run_case(
        [str(file) for file in files], None, predictor.plans_manager, configuration, predictor.dataset_json
    )
    data[list(channels)] = 0
    return Prepared(torch.from_numpy(data), properties)


@pytest.mark.parametrize("case", ["LPS", "OBLIQUE", "RAS"])
def test_the_network_sees_what_it_saw_in_training(tolerant: Path, patients: Path, case: str) -> None:
    """Through resampling and every orientation: the plain preprocessing with the channel set to 0."""
    predictor = CoMNeTPredictor(tolerant, options=Options(use_mirroring=False), device="cpu")
    files = images_of(patients, case)
    complete = predictor.predict(files).probabilities
    for channels in ((0,), (1,), (2,), (3,), (0, 2), (0, 1, 2)):
        prepared, expected = predictor.prepare(without(files, channels)), with_zeros(predictor, files, channels)
        assert torch.equal(prepared.data, expected.data)
        assert not prepared.data[list(channels)].any()
        ours = predictor.finish(predictor.compute(prepared))
        theirs = predictor.finish(predictor.compute(expected))
        assert np.array_equal(ours.probabilities, theirs.probabilities)
        assert np.array_equal(ours.label_map, theirs.label_map)
        assert not np.array_equal(ours.probabilities, complete), channels


def test_averaged_logits_are_stock_nnunets_on_an_image_of_zeros(tolerant: Path, patients: Path, tmp_path: Path) -> None:
    for file in images_of(patients, "LPS"):
        shutil.copy(file, tmp_path)
    image = nibabel.load(tmp_path / "LPS_0003.nii.gz")
    nibabel.save(nibabel.Nifti1Image(np.zeros(image.shape, np.float32), image.affine), tmp_path / "LPS_0003.nii.gz")
    predictor = CoMNeTPredictor(tolerant, options=Options(average="logits"), device="cpu")
    files = images_of(patients, "LPS")
    ours = predictor.predict(without(files, (3,))).label_map
    assert np.array_equal(ours, stock(tolerant, FOLDS, tmp_path, "LPS"))
    assert not np.array_equal(ours, predictor.predict(files).label_map)


def test_stock_nnunet_cannot_predict_such_a_patient(tolerant: Path, patients: Path, tmp_path: Path) -> None:
    """It reads the images that are there, one after another: three channels, the last of another kind."""
    for channel in (0, 1, 3):
        shutil.copy(patients / f"LPS_{channel:04d}.nii.gz", tmp_path)
    with pytest.raises(ConfigurationError, match=r"\(B, 4, D, H, W\).*\(1, 3, "):
        stock(tolerant, (0,), tmp_path, "LPS")


def test_what_is_absent_does_not_move_the_crop(tolerant: Path, patients: Path, tmp_path: Path) -> None:
    files = write_patient(tmp_path, "WIDE", "LPS", seed=0)
    wide = nibabel.load(files[1])
    nibabel.save(nibabel.Nifti1Image(np.ones(wide.shape, np.float32), wide.affine), files[1])
    predictor = CoMNeTPredictor(tolerant, device="cpu")
    boxes = [
        predictor.prepare(images).properties["bbox_used_for_cropping"]
        for images in (files, without(files, (1,)), images_of(patients, "LPS"))
    ]
    assert boxes[0] == [[0, 22], [0, 26], [0, 30]]
    assert boxes[1] == boxes[2]


def test_the_refiner_is_conditioned_on_the_same_images(refined_model: Path, patients: Path, tmp_path: Path) -> None:
    options = Options(use_mirroring=False, steps=2)
    predictor = CoMNeTPredictor(with_dropout(refined_model, tmp_path / "model"), options=options, device="cpu")
    files = images_of(patients, "OBLIQUE")
    ours = predictor.predict(without(files, (2,)))
    theirs = predictor.finish(predictor.compute(with_zeros(predictor, files, (2,))))
    assert np.array_equal(ours.probabilities, theirs.probabilities)
    assert np.abs(ours.correction).max() > 0.1
    assert not np.array_equal(ours.correction, predictor.predict(files).correction)


def test_from_python_too_a_model_refuses_what_it_was_not_trained_for(
    model: Path, tolerant: Path, patients: Path
) -> None:
    files = images_of(patients, "LPS")
    with pytest.raises(DataError, match=re.escape(NEEDS_ALL)):
        CoMNeTPredictor(model, device="cpu").predict(without(files, (2,)))
    predictor = CoMNeTPredictor(tolerant, device="cpu")
    with pytest.raises(DataError):
        predictor.predict([None] * 4)
    with pytest.raises(DataError, match="T1n, T1c, FLAIR"):
        predictor.predict(without(files, (2,))[:3])


@pytest.fixture
def images(patients: Path, tmp_path: Path) -> Path:
    """The three patients; T2w is missing of RAS, T1n and FLAIR of OBLIQUE."""
    folder = tmp_path / "images"
    shutil.copytree(patients, folder)
    for name in ("RAS_0002", "OBLIQUE_0000", "OBLIQUE_0003"):
        (folder / f"{name}.nii.gz").unlink()
    return folder


@pytest.fixture
def predict(images: Path, tmp_path: Path, comnet: Any) -> Callable[..., tuple[int, str, str]]:
    """comnet predict of `images` to tmp_path/out with a model."""

    def call(model: Path, *words: object) -> tuple[int, str, str]:
        code, said, wrong = comnet("predict", "-i", images, "-o", tmp_path / "out", "-m", model, "-f", 0, *FAST, *words)
        return code, said, wrong

    return call


def cases_of(out: Path, name: str = "comnet_run.json") -> dict[str, Any]:
    cases: dict[str, Any] = json.loads((out / name).read_text())["cases"]
    return cases


def missing(out: Path, name: str = "comnet_run.json") -> dict[str, list[str] | None]:
    return {case: entry.get("missing_channels") for case, entry in cases_of(out, name).items()}


def test_the_command_says_and_records_the_missing_channels(
    tolerant: Path, predict: Any, patients: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    code, said, warned = predict(tolerant)
    assert code == 0
    assert said == f"predicted 3 of 3 cases, 2 with missing channels; masks are in {out}\n"
    assert warned.splitlines() == [
        "OBLIQUE: predicted without its missing T1n, FLAIR",
        "RAS: predicted without its missing T2w",
    ]
    assert missing(out) == {"LPS": None, "OBLIQUE": ["T1n", "FLAIR"], "RAS": ["T2w"]}
    assert {entry["state"] for entry in cases_of(out).values()} == {"done"}
    assert [row.split(",")[0] for row in (out / "volumes.csv").read_text().splitlines()] == [
        "case", "LPS", "OBLIQUE", "RAS",
    ]  # fmt: skip
    predictor = CoMNeTPredictor(tolerant, (0,), options=Options(use_mirroring=False), device="cpu")
    for case, channels in (("LPS", ()), ("OBLIQUE", (0, 3)), ("RAS", (2,))):
        predictor.predict(without(images_of(patients, case), channels)).save(tmp_path / "expected.nii.gz")
        masks = [
            np.asarray(nibabel.load(path).dataobj) for path in (out / f"{case}.nii.gz", tmp_path / "expected.nii.gz")
        ]
        assert np.array_equal(*masks)


def test_without_modality_dropout_such_patients_are_refused(model: Path, predict: Any, tmp_path: Path) -> None:
    code, said, wrong = predict(model)
    assert code == 1
    assert said == f"predicted 1 of 3 cases; masks are in {tmp_path / 'out'}\n"
    assert wrong.count("\n") == 1
    reasons = json.loads((tmp_path / "out" / "failures.json").read_text())
    for case, files in (("OBLIQUE", "_0000 (T1n), _0003 (FLAIR)"), ("RAS", "_0002 (T2w)")):
        assert f"missing: {files}; the model {NEEDS_ALL}" in reasons[case]
    assert [path.name for path in (tmp_path / "out").glob("*.nii.gz")] == ["LPS.nii.gz"]


def test_images_of_no_channel_are_refused_by_every_model(
    tolerant: Path, predict: Any, images: Path, tmp_path: Path
) -> None:
    shutil.copy(images / "RAS_0000.nii.gz", images / "RAS_0007.nii.gz")
    shutil.copy(images / "RAS_0000.nii.gz", images / "OTHER_0004.nii.gz")
    code, said, _ = predict(tolerant)
    assert code == 1
    assert said.startswith("predicted 2 of 4 cases, 1 with missing channels; ")
    reasons = json.loads((tmp_path / "out" / "failures.json").read_text())
    assert set(reasons) == {"RAS", "OTHER"}
    assert reasons["RAS"].endswith("; not of this model: _0007")
    assert reasons["OTHER"].endswith("; not of this model: _0004")


def test_going_on_predicts_again_where_the_images_are_others(
    tolerant: Path, predict: Any, images: Path, patients: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert predict(tolerant)[0] == 0
    first = (out / "RAS.nii.gz").read_bytes()
    assert "predicted 0 of 3 cases, 3 were there already;" in predict(tolerant, "--continue_prediction")[1]
    assert missing(out) == {"LPS": None, "OBLIQUE": ["T1n", "FLAIR"], "RAS": ["T2w"]}

    shutil.copy(patients / "RAS_0002.nii.gz", images)  # the image has come after all
    assert "predicted 1 of 3 cases, 2 were there already;" in predict(tolerant, "--continue_prediction")[1]
    assert missing(out)["RAS"] is None
    assert (out / "RAS.nii.gz").read_bytes() != first

    (images / "RAS_0002.nii.gz").unlink()
    said = predict(tolerant, "--continue_prediction")[1]
    assert "predicted 1 of 3 cases, 2 were there already, 1 with missing channels;" in said
    assert (out / "RAS.nii.gz").read_bytes() == first

    # Killed between a mask and its record: from which images the mask was made is not known.
    record = json.loads((out / "comnet_run.json").read_text())
    del record["cases"]["RAS"]
    (out / "comnet_run.json").write_text(json.dumps(record))
    assert "predicted 1 of 3 cases, 2 were there already" in predict(tolerant, "--continue_prediction")[1]


def test_the_missing_channels_of_parts_count_for_the_whole(tolerant: Path, predict: Any, tmp_path: Path) -> None:
    for part in (0, 1):
        assert predict(tolerant, "-num_parts", 2, "-part_id", part)[0] == 0
    assert missing(tmp_path / "out", "comnet_run_part1of2.json") == {"OBLIQUE": ["T1n", "FLAIR"]}
    assert "predicted 0 of 3 cases, 3 were there already;" in predict(tolerant, "--continue_prediction")[1]
    assert missing(tmp_path / "out") == {"LPS": None, "OBLIQUE": ["T1n", "FLAIR"], "RAS": ["T2w"]}
