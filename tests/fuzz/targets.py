"""What is fuzzed: for each reader what is drawn for it, and how it is called in an empty folder."""

import copy
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import yaml
from hypothesis import strategies as st

from nnunetv2_comnet.cv_report.held_out import read_cross_validation
from nnunetv2_comnet.dataset_conversion.layouts.base import MaskSource
from nnunetv2_comnet.dataset_conversion.layouts.custom import load_custom_layout
from nnunetv2_comnet.dataset_conversion.masks import choose_mask
from nnunetv2_comnet.dataset_conversion.scan import scan
from nnunetv2_comnet.dataset_conversion.volumes import Volume, read_volume
from nnunetv2_comnet.dataset_json import TO_TRAIN, dataset_beside, read_dataset_json
from nnunetv2_comnet.evaluation.images import read_image, unknown_labels
from nnunetv2_comnet.evaluation.results import read_evaluation
from nnunetv2_comnet.inference.cases import find_cases
from nnunetv2_comnet.inference.images import read_images
from nnunetv2_comnet.inference.options import Options, parse_strengths, read_thresholds
from nnunetv2_comnet.label_schemes import BRATS_123, BRATS_124
from nnunetv2_comnet.plans import apply_settings
from nnunetv2_comnet.postprocessing.rule_file import read_rule_file
from nnunetv2_comnet.settings import make_settings, parse_settings
from nnunetv2_comnet.strengths.strengths_file import FILE as STRENGTHS_FILE
from nnunetv2_comnet.strengths.strengths_file import read_strengths
from tests.bad_inputs.convert_cases import GOOD_LAYOUT
from tests.bad_inputs.other_cases import EVALUATION, SPLITS
from tests.bad_inputs.plan_cases import DESCRIPTION
from tests.fuzz.strategies import JUNK, NAMES, masks, near, nifti_files

REGIONS = BRATS_123.regions
CHANNELS = ("T1n", "T1c", "T2w", "FLAIR")
SECTION = make_settings("demo").model_dump(mode="json")
PLANS = {
    "plans_name": "nnUNetPlans",
    "dataset_name": "Dataset501_A",
    "transpose_forward": [0, 1, 2],
    "configurations": {
        "3d_fullres": {
            "patch_size": [48, 48, 48], "batch_size": 2, "median_image_size_in_voxels": [140.0, 170.0, 140.0],
            "architecture": make_settings("demo").architecture(), "spacing": [1.0, 1.0, 1.0],
        }
    },
    "comnet": SECTION,
}  # fmt: skip
RULES = {
    "format": 1,
    "rules": [
        {"rule": "thresholds", "values": {"ET": 0.4}},
        {"rule": "drop-small-components", "region": "ET", "min_voxels": 10},
        {"rule": "fill-holes", "region": "WT"},
    ],
    "regions": {name: list(labels) for name, labels in REGIONS.items()},
    "evidence": {},
}
MEASURED = {
    "format": 1,
    "strength": dict.fromkeys(REGIONS, 0.5),
    "checkpoints": {"fold_0/checkpoint_final.pth": "0"},
    "evidence": {},
}


@dataclass(frozen=True)
class Target:
    """A reader: what is drawn, and the call, which gets it and a folder of its own; it may only raise our errors."""

    name: str
    drawn: st.SearchStrategy[Any]
    call: Callable[[Any, Path], Any]


def _written(name: str, read: Callable[[Path], Any]) -> Callable[[Any, Path], Any]:
    """Writes what was drawn as JSON under that name, and reads it."""

    def call(value: Any, folder: Path) -> Any:
        (folder / name).write_text(json.dumps(value), encoding="utf-8")
        return read(folder / name)

    return call


def _text(name: str, read: Callable[[Path], Any]) -> Callable[[Any, Path], Any]:
    def call(value: str, folder: Path) -> Any:
        (folder / name).write_bytes(value.encode("utf-8", "surrogatepass"))
        return read(folder / name)

    return call


def _convert(value: tuple[str, bytes], folder: Path) -> None:
    ending, content = value
    path = folder / f"image{ending}"
    path.write_bytes(content)
    _, findings = read_volume(path, 1e-3)
    assert all("\n" not in finding.text for finding in findings)


def _evaluate(value: tuple[str, bytes], folder: Path) -> None:
    ending, content = value
    path = folder / f"image{ending}"
    path.write_bytes(content)
    unknown_labels(read_image(path), {1, 2, 3})


def _predict(reader_name: str) -> Callable[[tuple[str, bytes], Path], None]:
    def call(value: tuple[str, bytes], folder: Path) -> None:
        from nnunetv2.imageio.reader_writer_registry import recursive_find_reader_writer_by_name

        ending, content = value
        path = folder / f"image{ending}"
        path.write_bytes(content)
        read_images(recursive_find_reader_writer_by_name(reader_name)(), [path], ["T1n"])

    return call


def _mask(data: Any, folder: Path) -> None:
    """The same label map to the converter's checks and to the evaluation's."""
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    image = nibabel.Nifti1Image(data, affine, dtype=data.dtype)
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    path = folder / "mask.nii.gz"
    nibabel.save(image, path)
    source = MaskSource("seg", ("{case}.nii.gz",))
    t1 = Volume(folder / "t1.nii.gz", data, affine, clean=False)
    chosen, findings = choose_mask({"seg": path}, [source], BRATS_124, {}, t1, 1e-3)
    assert (chosen is None) == any(finding.severity == "error" for finding in findings)
    assert all("\n" not in finding.text for finding in findings)
    unknown_labels(read_image(path), {1, 2, 3})


def _yaml(value: Any, folder: Path) -> None:
    (folder / "layout.yaml").write_text(yaml.safe_dump(value), encoding="utf-8")
    load_custom_layout(folder / "layout.yaml")


def _plans(value: Any, folder: Path) -> None:
    apply_settings(copy.deepcopy(value), "3d_fullres")


def _options(value: Any, folder: Path) -> None:
    Options(thresholds=_written("t.json", lambda path: read_thresholds(str(path)))(value, folder)).for_model(
        REGIONS, True
    )


def _strengths(value: str, folder: Path) -> None:
    Options(strengths=parse_strengths(value)).for_model(REGIONS, True)


def _rules(path: Path) -> None:
    read_rule_file(path).for_regions(REGIONS)


def _to_train(path: Path) -> None:
    read_dataset_json(path, TO_TRAIN)


def _regions(path: Path) -> None:
    dataset_beside(path.parent)


def _strengths_file(path: Path) -> None:
    (path.parent / "fold_0").mkdir(exist_ok=True)
    (path.parent / "fold_0" / "checkpoint_final.pth").write_bytes(b"")
    read_strengths(path.parent, list(REGIONS), [0])


def _folder_of(value: list[tuple[str, str, str]], folder: Path) -> None:
    for stem, ending, kind in value:
        path = folder / f"{stem}{ending}"
        if path.name in ("", ".", "..") or len(os.fsencode(path.name)) > 255 or os.path.lexists(path):
            continue
        if kind == "folder":
            path.mkdir()
        elif kind == "pipe":
            os.mkfifo(path)
        elif kind in ("link", "loop"):
            path.symlink_to(path.name if kind == "loop" else "..")
        else:
            path.write_bytes(b"")


def _find(value: list[tuple[str, str, str]], folder: Path) -> None:
    _folder_of(value, folder)
    assert all(case.problem is None or "\n" not in case.problem for case in find_cases(folder, ".nii.gz", CHANNELS))


def _scan(value: list[tuple[str, str, str]], folder: Path) -> None:
    (folder / "layout.yaml").write_text(yaml.safe_dump({**GOOD_LAYOUT, "case": "[^/]+"}), encoding="utf-8")
    layout = load_custom_layout(folder / "layout.yaml")
    for name in ("patient", "Patient", "p\n1"):
        (folder / name).mkdir()
        _folder_of(value, folder / name)
    assert all("\n" not in finding.text for case in scan(folder, layout) for finding in case.findings)


TARGETS = (
    Target("nifti: convert", nifti_files(), _convert),
    Target("nifti: evaluate", nifti_files(), _evaluate),
    Target("nifti: predict, SimpleITK", nifti_files(), _predict("SimpleITKIOWithReorient")),
    Target("nifti: predict, nibabel", nifti_files(), _predict("NibabelIO")),
    Target("masks", masks(), _mask),
    Target("layout", near(GOOD_LAYOUT), _yaml),
    Target("layout: any text", st.text(max_size=60), _text("layout.yaml", load_custom_layout)),
    Target("comnet section", near(SECTION), lambda value, _: parse_settings(value, "section")),
    Target("plans", near(PLANS), _plans),
    Target("calibration", near(MEASURED), _written(STRENGTHS_FILE, _strengths_file)),
    Target("post-processing rules", near(RULES), _written("rules.json", _rules)),
    Target("thresholds", near({"ET": 0.5, "whole tumor": 0.4}), _options),
    Target("strengths", st.text("ETWC=,.0123456789einfa -+", max_size=20) | st.text(max_size=20), _strengths),
    Target("dataset.json: plan", near(DESCRIPTION), _written("dataset.json", _to_train)),
    Target("dataset.json: evaluate", near(DESCRIPTION), _written("dataset.json", _regions)),
    Target("evaluation.json", near(EVALUATION), _written("evaluation.json", read_evaluation)),
    Target("splits_final.json", near(SPLITS), _written("splits_final.json", lambda p: read_cross_validation(p.parent))),
    Target("any JSON", JUNK, _written("rules.json", _rules)),
    Target("names: predict", NAMES, _find),
    Target("names: convert", NAMES, _scan),
)  # fmt: skip
