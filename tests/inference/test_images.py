"""Every map lies on the input's own grid, for each reader and each way that a patient can lie."""

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK

from nnunetv2_comnet.errors import ConfigurationError
from nnunetv2_comnet.inference.images import READERS, write_map
from nnunetv2_comnet.inference.options import Options
from nnunetv2_comnet.inference.predictor import CoMNeTPredictor
from tests.inference.test_averaging import images_of

ORIENTATIONS = ("LPS", "OBLIQUE", "RAS")


def with_reader(model: Path, folder: Path, reader: str) -> Path:
    """The model, its plans naming another reader."""
    shutil.copytree(model, folder)
    plans = json.loads((folder / "plans.json").read_text())
    (folder / "plans.json").write_text(json.dumps({**plans, "image_reader_writer": reader}))
    return folder


@pytest.mark.parametrize("reader", READERS)
def test_masks_and_maps_lie_where_the_images_lie(model: Path, patients: Path, tmp_path: Path, reader: str) -> None:
    folder = with_reader(model, tmp_path / "model", reader)
    predictor = CoMNeTPredictor(folder, (0,), options=Options(use_mirroring=False), device="cpu")
    for case in ORIENTATIONS:
        images = images_of(patients, case)
        prediction = predictor.predict(images)
        prediction.save(tmp_path / f"{case}.nii.gz")
        write_map(prediction.probabilities[1], tmp_path / f"{case}_TC.nii.gz", prediction.properties)

        given = nibabel.load(images[0])
        brain = np.asarray(given.dataobj) != 0
        for name in (f"{case}.nii.gz", f"{case}_TC.nii.gz"):
            written = nibabel.load(tmp_path / name)
            assert np.allclose(written.affine, given.affine, atol=1e-4), (name, reader)
            assert written.shape == given.shape
            assert _box(np.asarray(written.dataobj) > 0) == _box(brain) or name == f"{case}.nii.gz"
            same = SimpleITK.ReadImage(str(tmp_path / name))
            image = SimpleITK.ReadImage(str(images[0]))
            assert np.allclose(same.GetDirection(), image.GetDirection(), atol=1e-6)
            assert np.allclose(same.GetOrigin(), image.GetOrigin(), atol=1e-4)
        # What lies at a voxel is what was predicted there: mask and map agree, and the reader finds both again.
        mask, _ = predictor.writer.read_seg(str(tmp_path / f"{case}.nii.gz"))
        assert np.array_equal(mask[0], prediction.label_map)
        again, _ = predictor.writer.read_images([str(tmp_path / f"{case}_TC.nii.gz")])
        assert np.array_equal(again[0], prediction.probabilities[1])
        assert nibabel.load(tmp_path / f"{case}_TC.nii.gz").get_data_dtype() == np.float32


def test_another_reader_is_refused(model: Path, tmp_path: Path) -> None:
    folder = with_reader(model, tmp_path / "model", "Tiff3DIO")
    with pytest.raises(ConfigurationError, match=r"Tiff3DIO.*SimpleITKIO"):
        CoMNeTPredictor(folder, device="cpu")


def _box(inside: np.ndarray) -> list[tuple[int, int]]:
    """First and last index along each axis."""
    return [(int(axis.min()), int(axis.max())) for axis in np.nonzero(inside)]
