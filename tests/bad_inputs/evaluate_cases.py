"""Bad inputs of `comnet evaluate`: no case is left out, what is wrong with one is said; and of the steps after it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from tests.bad_inputs import files
from tests.bad_inputs.case import BadInput

CALL = "comnet evaluate -ref <HERE>/truth -pred <HERE>/masks --protocol brats2023 --strict"
SCORES = ("masks/evaluation.json", "masks/cases.csv", "masks/summary.csv")
STRICT = "comnet: error: 1 of 2 cases could not be scored as they are (--strict)"


def two(here: Path) -> Path:
    """Truth and prediction of two cases, both perfect; returns the folder of predictions."""
    mask = np.zeros((20, 18, 16), np.uint8)
    mask[4:14, 4:12, 4:10], mask[6:12, 6:10, 6:9], mask[7:10, 7:9, 7:8] = 2, 1, 3
    for place in ("truth", "masks"):
        (here / place).mkdir()
        for case in ("BAD", "GOOD"):
            image = nibabel.Nifti1Image(mask, np.diag([-1.0, -1.0, 1.0, 1.0]))
            image.set_qform(image.affine, 1)
            image.set_sform(image.affine, 1)
            nibabel.save(image, here / place / f"{case}.nii.gz")
    return here / "masks"


def spoilt(spoil: files.Spoil, place: str = "masks") -> Callable[[Path], None]:
    def make(here: Path) -> None:
        two(here)
        spoil(here / place / "BAD.nii.gz")

    return make


def told(title: str, make: Callable[[Path], None], note: str, **more: Any) -> BadInput:
    """A case that cannot be scored as it is: a warning with the reason; the exit code is that of --strict."""
    return BadInput(title, CALL, (f"warning: {note}", STRICT), make, makes=SCORES, **more)


def refused(title: str, words: str, says: str, make: Callable[[Path], object] = two, **more: Any) -> BadInput:
    def made(here: Path) -> None:
        make(here)

    return BadInput(title, words, (f"comnet: error: {says}",), made, **more)


def _none_in_common(here: Path) -> None:
    masks = two(here)
    for path in list(masks.iterdir()):
        path.rename(masks / f"other_{path.name}")


def _description(content: str) -> Callable[[Path], None]:
    def make(here: Path) -> None:
        two(here)
        (here / "truth" / "dataset.json").write_text(content)

    return make


def _file(name: str, content: str = "") -> Callable[[Path], None]:
    def make(here: Path) -> None:
        two(here)
        (here / name).write_text(content)

    return make


BASE = "comnet evaluate -ref <HERE>/truth -pred <HERE>/masks --protocol "
PREDICTIONS = (
    told("a bit turned over in a compressed prediction", spoilt(files.damaged_gzip), "?"),
    told("a prediction cut in half", spoilt(files.cut), "?"),
    told("half of the voxels missing", spoilt(files.cut_inside), "?"),
    told("a prediction of zero bytes", spoilt(files.empty), "?"),
    told("a text file named .nii.gz", spoilt(files.text), "?", shell=True),
    told("a prediction that is a folder", spoilt(files.folder), "?"),
    told("a prediction that is a FIFO", spoilt(files.pipe), "?"),
    told("a prediction that is a link to itself", spoilt(lambda path: path.unlink() or path.symlink_to(path.name)), "?"),
    told("no prediction", spoilt(Path.unlink), "?"),
    told("a header that claims 32767 x 32767 x 32767 voxels", spoilt(files.with_header(files.DIM, "4h", 3, 32767, 32767, 32767)), "?"),
    told("a prediction on another grid", spoilt(files.with_affine(files.shifted)), "?"),
    told("a prediction mirrored", spoilt(files.with_affine(files.mirrored)), "?"),
    told("a prediction of another size", spoilt(files.with_voxels(lambda mask: mask[1:])), "?"),
    told("a prediction with two axes", spoilt(files.with_voxels(lambda mask: mask[..., 8])), "?"),
    told("a prediction with label 9", spoilt(files.one_voxel(9)), "?"),
    told("a prediction with label -1", spoilt(files.one_voxel(-1)), "?"),
    told("a prediction with half labels", spoilt(files.one_voxel(0.5)), "?"),
    told("a prediction with NaN", spoilt(files.one_voxel(np.nan)), "?"),
    told("a prediction in colours", spoilt(files.with_header(files.DATATYPE, "hh", 128, 24)), "?"),
    told("a prediction of complex numbers", spoilt(files.with_voxels(lambda mask: mask.astype(np.complex64))), "?"),
    told("a singular affine", spoilt(files.with_affine(files.flat)), "?"),
    told("a truth cut in half", spoilt(files.cut, "truth"), "?"),
    told("a truth that is a FIFO", spoilt(files.pipe, "truth"), "?"),
    told("a truth with label 9", spoilt(files.one_voxel(9), "truth"), "?"),
    told("a truth with NaN", spoilt(files.one_voxel(np.nan), "truth"), "?"),
)
GOOD = (
    BadInput("a prediction with a fourth axis of 1", CALL, (), spoilt(files.with_voxels(lambda mask: mask[..., None])), 0, makes=SCORES),
)
COMMANDS = (
    BadInput("nothing in common", CALL,
             ("warning: BAD: missing-prediction: <HERE>/masks/BAD.nii.gz does not exist; scored as missing",
              "warning: GOOD: missing-prediction: <HERE>/masks/GOOD.nii.gz does not exist; scored as missing",
              "warning: other_BAD: extra prediction without a reference",
              "warning: other_GOOD: extra prediction without a reference",
              "comnet: error: no case could be scored: BAD: <HERE>/masks/BAD.nii.gz does not exist; scored as missing"),
             _none_in_common, makes=SCORES),
    refused("no such truth", "comnet evaluate -ref <HERE>/absent -pred <HERE>/masks --protocol legacy", "?", shell=True),
    refused("a truth without masks", "comnet evaluate -ref <HERE>/raw -pred <HERE>/masks --protocol legacy", "?"),
    refused("predictions in a file", "comnet evaluate -ref <HERE>/truth -pred <HERE>/file --protocol legacy", "?", _file("file")),
    refused("unknown protocol", BASE + "brats2022", "?"),
    refused("unknown tumour of a protocol", BASE + "brats2023:brain", "?"),
    refused("no protocol", "comnet evaluate -ref <HERE>/truth -pred <HERE>/masks", "?", code=2),
    refused("output is a file", BASE + "legacy -o <HERE>/file", "?", _file("file")),
    refused("0 processes", BASE + "legacy --jobs 0", "?", code=2),
    refused("no such folder of probabilities", BASE + "legacy --probabilities <HERE>/absent", "?"),
    refused("dataset.json that is not JSON", BASE + "legacy", "?", _description("{")),
    refused("dataset.json without labels", BASE + "legacy", "?", _description("{}")),
    refused("dataset.json with labels in words", BASE + "legacy", "?", _description('{"labels": {"WT": "all"}}')),
    refused("dataset.json with labels nested too deep", BASE + "legacy", "?", _description('{"labels": {"WT": [[1]]}}')),
    refused("dataset.json with label 1e999", BASE + "legacy", "?", _description('{"labels": {"WT": 1e999}}')),
    refused("dataset.json with background alone", BASE + "legacy", "?", _description('{"labels": {"background": 0}}')),
)
CASES = (*PREDICTIONS, *COMMANDS, *GOOD)
