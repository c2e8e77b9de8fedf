"""The challenges' contract: cases under a read-only /input, NAME.nii.gz flat in /output, no network, any user.

Cases are found by the converter's declaration of the challenge (`--layout`), linked under nnU-Net's names in a
temporary folder, predicted by `comnet predict`, and written in the challenge's own numbering of labels.
"""

import argparse
import dataclasses
import gzip
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np

from nnunetv2_comnet.dataset_conversion.layouts import LAYOUTS
from nnunetv2_comnet.dataset_conversion.layouts.base import CHANNELS, Layout
from nnunetv2_comnet.dataset_conversion.scan import CaseFiles, scan
from nnunetv2_comnet.dataset_json import FILE, RESTORE, read_dataset_json
from nnunetv2_comnet.errors import ComnetError, ConfigurationError, DataError
from nnunetv2_comnet.files import read_json, written_whole
from nnunetv2_comnet.label_schemes import LabelScheme

ENDING = ".nii.gz"
CHALLENGES = [name for name in LAYOUTS if name.startswith("brats")]


def main(words: Sequence[str] | None = None) -> int:
    """Exit code 0 if every case found has its mask in the output."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layout", default="brats2023", choices=CHALLENGES, help="the challenge (%(default)s)")
    parser.add_argument("--input", type=Path, default=Path("/input"), metavar="FOLDER")
    parser.add_argument("--output", type=Path, default=Path("/output"), metavar="FOLDER")
    parser.add_argument("--model", type=Path, default=Path("/model"), metavar="FOLDER")
    given, flags = parser.parse_known_args(words)
    try:
        with tempfile.TemporaryDirectory(prefix="comnet-") as work:
            failed, count = predict_cases(given.input, given.output, given.model, LAYOUTS[given.layout], work, flags)
    except ComnetError as error:
        print(f"entry: error: {error}", file=sys.stderr)
        return 1
    for case, reason in sorted(failed.items()):
        print(f"entry: failed: {case}: {reason}", file=sys.stderr)
    print(f"{count - len(failed)} of {count} cases are predicted in {given.output}")
    return 1 if failed else 0


def predict_cases(
    source: Path, target: Path, model: Path, layout: Layout, work: str, flags: Sequence[str]
) -> tuple[dict[str, str], int]:
    """Writes what can be predicted; returns case -> reason of the others, and the number of cases found.

    Raises `DataError` where there is no case at all, or nothing may be written.
    """
    if not os.access(target, os.W_OK | os.X_OK):
        raise DataError(f"{target} is not a folder that user {os.getuid()} may write to")
    if not (model / "dataset.json").is_file():
        raise ConfigurationError(f"{model} holds no model: mount one there, or build it in (dataset.json is not there)")
    require_channels(model)
    images, masks = Path(work) / "images", Path(work) / "masks"
    images.mkdir()
    cases = scan(source, or_flat(layout))
    failed = {case.case: reason for case in cases if (reason := link_case(case, images)) is not None}
    if len(failed) < len(cases):
        command = ["predict", "-i", str(images), "-o", str(masks), "-m", str(model), *flags]
        answer = subprocess.run([sys.executable, "-m", "nnunetv2_comnet.cli.app", *command], check=False)
        reasons = masks / "failures.json"
        failed |= read_json(reasons) if reasons.is_file() else {}
        nothing_said = f"comnet predict ended with code {answer.returncode}"
        for case in cases:
            mask = masks / f"{case.case}{ENDING}"
            if mask.is_file() and case.case not in failed:
                write_mask(mask, target / mask.name, layout.scheme)
            else:
                failed.setdefault(case.case, nothing_said)
    return failed, len(cases)


def require_channels(model: Path) -> None:
    """Raises `ConfigurationError` for a model that does not take the four sequences in the converter's order."""
    channels = read_dataset_json(model / FILE, ("channel_names",), RESTORE).channels
    if channels != tuple(CHANNELS):
        raise ConfigurationError(f"{model} takes {list(channels)}, this container gives {CHANNELS}")


def or_flat(layout: Layout) -> Layout:
    """The layout, and as second choice its files without a folder per case."""
    channels = {
        name: (*files, *(pattern.rpartition("/")[2] for pattern in files)) for name, files in layout.channels.items()
    }
    return dataclasses.replace(layout, channels=channels)


def link_case(case: CaseFiles, images: Path) -> str | None:
    """Links the images that there are; a lack is left to `comnet predict`. Returns why the case is refused, if so."""
    refused = [finding.text for finding in case.findings if finding.code != "missing-modality"]
    if refused or not case.channels:
        return "; ".join(refused) or "it has no image"
    for number, channel in enumerate(CHANNELS):
        if channel in case.channels:
            path, link = case.channels[channel], images / f"{case.case}_{number:04d}{ENDING}"
            if path.name.endswith(ENDING):
                link.symlink_to(path)
            else:
                with open(path, "rb") as plain, gzip.open(link, "wb", compresslevel=1) as packed:
                    shutil.copyfileobj(plain, packed)
    return None


def write_mask(mask: Path, target: Path, scheme: LabelScheme) -> None:
    """The mask in the challenge's numbering, which is that of its training masks."""
    image = nibabel.load(mask)
    labels = np.asarray(image.dataobj)
    own = np.zeros(labels.shape, np.uint8)
    for source, written in scheme.to_canonical.items():
        own[labels == written] = source
    with written_whole(target) as temporary:
        nibabel.save(nibabel.Nifti1Image(own, image.affine, image.header), temporary)


if __name__ == "__main__":
    sys.exit(main())
