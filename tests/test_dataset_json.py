"""dataset.json read once for all: what it gives, and who is refused; the wording stands in the corpus of bad inputs."""

import json
from pathlib import Path
from typing import Any

import pytest

from nnunetv2_comnet.dataset_json import LABELS, TO_TRAIN, dataset_beside, parse_dataset_json, read_dataset_json
from nnunetv2_comnet.errors import DataError
from nnunetv2_comnet.label_schemes import BRATS_PED

CONTENT: dict[str, Any] = {
    "channel_names": {"1": "FLAIR", "0": "T1c"},
    "labels": BRATS_PED.dataset_json_labels(),
    "regions_class_order": list(BRATS_PED.regions_class_order),
    "numTraining": 3,
    "file_ending": ".nii.gz",
    "converted_by": "a converter",
}


def test_what_a_whole_one_gives(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text(json.dumps(CONTENT))
    found = read_dataset_json(tmp_path / "dataset.json", TO_TRAIN)
    assert found.channels == ("T1c", "FLAIR")
    assert list(found.regions.items()) == list(BRATS_PED.regions.items())
    assert found.regions.declared_order == BRATS_PED.regions_class_order
    assert (found.file_ending, found.numTraining) == (".nii.gz", 3)
    assert (found.model_extra or {})["converted_by"] == "a converter"
    below = tmp_path / "labelsTr" / "a"
    below.mkdir(parents=True)
    beside = dataset_beside(below)
    assert beside is not None
    assert beside == found


def test_old_names_and_plain_labels() -> None:
    old = {**CONTENT, "labels": {"background": 0, "necrosis": 1, "oedema": [2], "ignore": 3}}
    old["modality"] = old.pop("channel_names")
    found = parse_dataset_json(old)
    assert found.channels == ("T1c", "FLAIR")
    assert not found.has_regions
    assert dict(found.regions) == {"necrosis": (1,), "oedema": (2,)}
    assert found.regions.class_order == (1, 2)  # nnU-Net does not look at the order of plain labels


@pytest.mark.parametrize(
    ("change", "needs"),
    [
        ({"labels": {"background": 0}}, LABELS),
        ({"labels": {"a": []}}, LABELS),
        ({"labels": {"a": 0}}, LABELS),
        ({"labels": {"a": 256}}, LABELS),
        ({"labels": {"a": 1.5}}, LABELS),
        ({"channel_names": {"0": "T1c", "2": "FLAIR"}}, LABELS),
        ({"regions_class_order": [1, 2]}, LABELS),
        ({"regions_class_order": None}, TO_TRAIN),
        ({"labels": {"a": [1, 2], "b": [2], "c": 3, "d": 4}}, TO_TRAIN),
        ({"file_ending": ""}, TO_TRAIN),
    ],
)
def test_what_contradicts_itself_or_is_missing_is_refused(change: dict[str, Any], needs: tuple[str, ...]) -> None:
    with pytest.raises(DataError, match=r"^it must \S.*; a remedy$"):
        parse_dataset_json({**CONTENT, **change}, "it", needs, "a remedy")
