"""The dataset's folder: where it lies, what may already be in it, and the files that describe it as a whole."""

import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from nnunetv2_comnet import __version__
from nnunetv2_comnet.dataset_conversion.case import ENDING, remove_case
from nnunetv2_comnet.dataset_conversion.layouts.base import CHANNELS, Layout
from nnunetv2_comnet.errors import ConfigurationError, DataError
from nnunetv2_comnet.files import GENERATED_MARKER, read_json, remove_leftovers, write_text
from nnunetv2_comnet.label_schemes import LabelScheme

_IMAGE = re.compile(rf"(.+)_\d{{4}}{re.escape(ENDING)}")


def dataset_folder(out: Path | None, dataset_id: int, name: str) -> Path:
    """Returns `<out>/DatasetNNN_<name>`. Raises `ConfigurationError` where id, name or folder cannot be used."""
    if not 1 <= dataset_id <= 999:
        raise ConfigurationError(f"dataset id {dataset_id} cannot be used; choose one from 1 to 999 (-d)")
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise ConfigurationError(
            f"dataset name '{name}' cannot be used; it takes letters, digits, '_' and '-' (--name)"
        )
    if out is None:
        raw = os.environ.get("nnUNet_raw")
        if not raw:
            raise ConfigurationError(
                "nnUNet_raw is not set; export nnUNet_raw=/a/folder of yours, or give --out FOLDER"
            )
        out = Path(raw)
    if os.path.exists(out) and not os.path.isdir(out):
        raise ConfigurationError(f"the output {out} is a file; --out (or nnUNet_raw) must be a folder")
    folder = Path(os.path.abspath(out)) / f"Dataset{dataset_id:03d}_{name}"
    others = [path.name for path in out.glob(f"Dataset{dataset_id:03d}_*") if path.name != folder.name]
    if others:
        raise ConfigurationError(
            f"{out} already has {others[0]} under id {dataset_id}, and nnU-Net wants each id once; choose another id "
            "(-d), or remove that folder"
        )
    return folder


def prepare_folder(folder: Path, cases: Collection[str], overwrite: bool) -> None:
    """Makes the folders, and removes what a killed run left and cases that the source no longer has.

    Raises `DataError`, and changes nothing, where the folder holds files that are not ours or cases that this run
    would not write, unless `overwrite` allows to remove those.
    """
    stale = sorted(_present_cases(folder) - set(cases))
    if folder.is_dir() and any(folder.iterdir()) and not (folder / ".comnet").is_dir() and not overwrite:
        raise DataError(
            f"{folder} has contents that this command did not write; choose another id or name, or --overwrite"
        )
    if stale and not overwrite:
        shown = ", ".join(stale[:5]) + (f" and {len(stale) - 5} more" if len(stale) > 5 else "")
        raise DataError(
            f"{folder} holds cases that this run does not find in SOURCE: {shown}; --overwrite removes them, or choose "
            "another id"
        )
    for case in stale:
        remove_case(folder, case)
    # The records' folder first: it marks the others as ours, should the run be killed here.
    for part in (folder / ".comnet" / "cases", folder, folder / "imagesTr", folder / "labelsTr", folder / "previews"):
        if part.name != "previews":
            part.mkdir(parents=True, exist_ok=True)
        remove_leftovers(part)


def _present_cases(folder: Path) -> set[str]:
    images = {match[1] for path in folder.glob("imagesTr/*") if (match := _IMAGE.fullmatch(path.name))}
    labels = {path.name.removesuffix(ENDING) for path in folder.glob(f"labelsTr/*{ENDING}")}
    records = {path.stem for path in folder.glob(".comnet/cases/*.json")}
    return images | labels | records


def generated_by(source: Path) -> str | None:
    """Says what generated the patients in `source`, by the note of `comnet phantom`; None for all other patients."""
    marker = source / GENERATED_MARKER
    if not marker.is_file():
        return None
    said = read_json(marker)
    if not isinstance(said, dict) or "generated" not in said:  # a file of that name by somebody else
        return None
    return f"comnet phantom, layout {said.get('layout')}, seed {said.get('seed')}, {said.get('spacing_mm')} mm"


def dataset_json(
    layout: Layout, scheme: LabelScheme, name: str, n_cases: int, generated: str | None = None
) -> dict[str, Any]:
    """Makes the contents of nnU-Net's dataset.json; regions keep their order, which is that of the output channels.

    Args:
        layout: Gives title, licence and reference.
        scheme: Gives the labels and regions.
        name: The dataset's name, without its id.
        n_cases: How many cases there are.
        generated: `generated_by` of the source; generated patients have no licence and no reference.
    """
    content = {
        "channel_names": {str(index): channel for index, channel in enumerate(CHANNELS)},
        "labels": scheme.dataset_json_labels(),
        "regions_class_order": list(scheme.regions_class_order),
        "numTraining": n_cases,
        "file_ending": ENDING,
        "overwrite_image_reader_writer": "SimpleITKIOWithReorient",
        "name": name,
        "description": f"{layout.title}, masks in the numbering of BraTS 2023 (1 NCR, 2 ED, 3 ET)",
        "licence": layout.licence,
        "reference": layout.reference,
        "converted_by": f"nnunetv2-comnet {__version__}, layout {layout.name}",
    }
    if generated is not None:
        described = f"Generated patients, no real person's, in the layout of {content['description']}"
        content |= {"description": described, "licence": "none needed", "reference": "", "generated_by": generated}
    return content


def write_or_remove(files: Mapping[Path, str | None]) -> None:
    """Writes each text that changed, so that a second run changes nothing; removes a file whose text is None."""
    for path, text in files.items():
        if text is None:
            path.unlink(missing_ok=True)
        elif not path.is_file() or path.read_bytes() != text.encode("utf-8"):
            write_text(path, text)
