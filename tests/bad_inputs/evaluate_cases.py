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


def spoilt(spoil: files.Spoil, place: str = "masks") -> Callable[[Path], object]:
    def make(here: Path) -> None:
        two(here)
        spoil(here / place / "BAD.nii.gz")

    return make


def told(title: str, make: Callable[[Path], object], note: str, **more: Any) -> BadInput:
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


def _description(content: str) -> Callable[[Path], object]:
    def make(here: Path) -> None:
        two(here)
        (here / "truth" / "dataset.json").write_text(content)

    return make


def _file(name: str, content: str = "") -> Callable[[Path], object]:
    def make(here: Path) -> None:
        two(here)
        (here / name).write_text(content)

    return make


BASE = "comnet evaluate -ref <HERE>/truth -pred <HERE>/masks --protocol "
PREDICTIONS = (
    told(
        "a bit turned over in a compressed prediction",
        spoilt(files.damaged_gzip),
        "BAD: unreadable-prediction: <HERE>/masks/BAD.nii.gz cannot be read: its gzip stream is damaged; copy or "
        "make it again; scored as missing",
    ),
    told(
        "a prediction cut in half",
        spoilt(files.cut),
        "BAD: unreadable-prediction: <HERE>/masks/BAD.nii.gz cannot be read: its gzip stream is cut off; copy or "
        "make it again; scored as missing",
    ),
    told(
        "half of the voxels missing",
        spoilt(files.cut_inside),
        "BAD: unreadable-prediction: <HERE>/masks/BAD.nii.gz cannot be read: it ends after 3232 of 6112 bytes; copy "
        "or make it again; scored as missing",
    ),
    told(
        "a prediction of zero bytes",
        spoilt(files.empty),
        "BAD: unreadable-prediction: <HERE>/masks/BAD.nii.gz cannot be read: it is empty; copy or make it again; "
        "scored as missing",
    ),
    told(
        "a text file named .nii.gz",
        spoilt(files.text),
        "BAD: unreadable-prediction: <HERE>/masks/BAD.nii.gz cannot be read: it is not gzipped; copy or make it "
        "again; scored as missing",
        shell=True,
    ),
    told(
        "a prediction that is a folder",
        spoilt(files.folder),
        "BAD: unreadable-prediction: <HERE>/masks/BAD.nii.gz cannot be read: it is a folder, not a file; copy or "
        "make it again; scored as missing",
    ),
    told(
        "a prediction that is a FIFO",
        spoilt(files.pipe),
        "BAD: unreadable-prediction: <HERE>/masks/BAD.nii.gz cannot be read: it is no regular file; copy or make it "
        "again; scored as missing",
    ),
    told(
        "a prediction that is a link to itself",
        spoilt(lambda path: path.unlink() or path.symlink_to(path.name)),
        "BAD: unreadable-prediction: <HERE>/masks/BAD.nii.gz cannot be read: Too many levels of symbolic links; copy "
        "or make it again; scored as missing",
    ),
    told(
        "no prediction",
        spoilt(Path.unlink),
        "BAD: missing-prediction: <HERE>/masks/BAD.nii.gz does not exist; scored as missing",
    ),
    told(
        "a header that claims 32767 x 32767 x 32767 voxels",
        spoilt(files.with_header(files.DIM, "4h", 3, 32767, 32767, 32767)),
        "BAD: unreadable-prediction: <HERE>/masks/BAD.nii.gz cannot be read: its header claims 32767 x 32767 x 32767 "
        "voxels, more than the 536870912 that are read; copy or make it again; scored as missing",
    ),
    told(
        "a prediction on another grid",
        spoilt(files.with_affine(files.shifted)),
        "BAD: other-grid: <HERE>/masks/BAD.nii.gz is on another grid: origin in mm (0, 0, 5) where (0, 0, 0) is "
        "expected; scored as missing",
    ),
    told(
        "a prediction mirrored",
        spoilt(files.with_affine(files.mirrored)),
        "BAD: other-grid: <HERE>/masks/BAD.nii.gz is on another grid: direction (1, 0, 0, 0, -1, 0, 0, 0, 1) where "
        "(-1, 0, 0, 0, -1, 0, 0, 0, 1) is expected; scored as missing",
    ),
    told(
        "a prediction of another size",
        spoilt(files.with_voxels(lambda mask: mask[1:])),
        "BAD: other-grid: <HERE>/masks/BAD.nii.gz is on another grid: shape (19, 18, 16) where (20, 18, 16) is "
        "expected; scored as missing",
    ),
    told(
        "a prediction with two axes",
        spoilt(files.with_voxels(lambda mask: mask[..., 8])),
        "BAD: unreadable-prediction: <HERE>/masks/BAD.nii.gz has 2 axes; three are expected, without a channel axis; "
        "scored as missing",
    ),
    told(
        "a prediction with label 9",
        spoilt(files.one_voxel(9)),
        "BAD: unknown-label: <HERE>/masks/BAD.nii.gz has label 9, which no region holds; scored as missing",
    ),
    told(
        "a prediction with label -1",
        spoilt(files.one_voxel(-1)),
        "BAD: unknown-label: <HERE>/masks/BAD.nii.gz has label -1, which no region holds; scored as missing",
    ),
    told(
        "a prediction with half labels",
        spoilt(files.one_voxel(0.5)),
        "BAD: unknown-label: <HERE>/masks/BAD.nii.gz has label 0.5, which no region holds; scored as missing",
    ),
    told(
        "a prediction with NaN",
        spoilt(files.one_voxel(np.nan)),
        "BAD: unreadable-prediction: <HERE>/masks/BAD.nii.gz cannot be read: it has 1 voxels that are NaN or "
        "infinite; copy or make it again; scored as missing",
    ),
    told(
        "a prediction in colours",
        spoilt(files.with_header(files.DATATYPE, "hh", 128, 24)),
        "BAD: unreadable-prediction: <HERE>/masks/BAD.nii.gz cannot be read: it ends after 6112 of 17632 bytes; copy "
        "or make it again; scored as missing",
    ),
    told(
        "a prediction of complex numbers",
        spoilt(files.with_voxels(lambda mask: mask.astype(np.complex64))),
        "BAD: unreadable-prediction: <HERE>/masks/BAD.nii.gz holds colours or complex numbers; one number per voxel "
        "is expected; scored as missing",
    ),
    told(
        "a singular affine",
        spoilt(files.with_affine(files.flat)),
        "BAD: unreadable-prediction: <HERE>/masks/BAD.nii.gz cannot be read: its affine is singular; copy or make it "
        "again; scored as missing",
    ),
    told(
        "a truth cut in half",
        spoilt(files.cut, "truth"),
        "BAD: unusable-reference: <HERE>/truth/BAD.nii.gz cannot be read: its gzip stream is cut off; copy or make "
        "it again",
    ),
    told(
        "a truth that is a FIFO",
        spoilt(files.pipe, "truth"),
        "BAD: unusable-reference: <HERE>/truth/BAD.nii.gz cannot be read: it is no regular file; copy or make it again",
    ),
    told(
        "a truth with label 9",
        spoilt(files.one_voxel(9), "truth"),
        "BAD: unusable-reference: <HERE>/truth/BAD.nii.gz has label 9, which is none of its dataset's; convert it "
        "with `comnet convert`",
    ),
    told(
        "a truth with NaN",
        spoilt(files.one_voxel(np.nan), "truth"),
        "BAD: unusable-reference: <HERE>/truth/BAD.nii.gz cannot be read: it has 1 voxels that are NaN or infinite; "
        "copy or make it again",
    ),
)
GOOD = (
    BadInput(
        "a prediction with a fourth axis of 1",
        CALL,
        (),
        spoilt(files.with_voxels(lambda mask: mask[..., None])),
        0,
        makes=SCORES,
    ),
)
COMMANDS = (
    BadInput(
        "nothing in common",
        CALL,
        (
            "warning: BAD: missing-prediction: <HERE>/masks/BAD.nii.gz does not exist; scored as missing",
            "warning: GOOD: missing-prediction: <HERE>/masks/GOOD.nii.gz does not exist; scored as missing",
            "warning: other_BAD: extra prediction without a reference",
            "warning: other_GOOD: extra prediction without a reference",
            "comnet: error: no case could be scored: BAD: <HERE>/masks/BAD.nii.gz does not exist; scored as missing",
        ),
        _none_in_common,
        makes=SCORES,
    ),
    refused(
        "no such truth",
        "comnet evaluate -ref <HERE>/absent -pred <HERE>/masks --protocol legacy",
        "reference folder <HERE>/absent does not exist; name the folder that holds the *.nii.gz files",
        shell=True,
    ),
    refused(
        "a truth without masks",
        "comnet evaluate -ref <HERE>/raw -pred <HERE>/masks --protocol legacy",
        "no *.nii.gz in reference folder <HERE>/raw; name the folder that holds the true masks",
    ),
    refused(
        "predictions in a file",
        "comnet evaluate -ref <HERE>/truth -pred <HERE>/file --protocol legacy",
        "prediction folder <HERE>/file is not a folder; name the folder that holds the *.nii.gz files",
        _file("file"),
    ),
    refused(
        "unknown protocol",
        BASE + "brats2022",
        "unknown protocol 'brats2022'; there are: legacy, brats2023, brats2023:ssa, brats2023:ped, brats2023:men, "
        "brats2023:met, brats2024, brats2024:ssa, brats2024:ped, brats2024:men, brats2024:met, brats2026, "
        "brats2026:goat, brats2026:men, brats2026:ped, brats2026:met",
    ),
    refused(
        "unknown tumour of a protocol",
        BASE + "brats2023:brain",
        "unknown protocol 'brats2023:brain'; there are: legacy, brats2023, brats2023:ssa, brats2023:ped, "
        "brats2023:men, brats2023:met, brats2024, brats2024:ssa, brats2024:ped, brats2024:men, "
        "brats2024:met, brats2026, brats2026:goat, brats2026:men, brats2026:ped, brats2026:met",
    ),
    refused(
        "no protocol",
        "comnet evaluate -ref <HERE>/truth -pred <HERE>/masks",
        "Missing option '--protocol'; see comnet evaluate --help",
        code=2,
    ),
    refused(
        "output is a file",
        BASE + "legacy -o <HERE>/file",
        "the output <HERE>/file is not a folder; choose another",
        _file("file"),
    ),
    refused(
        "0 processes",
        BASE + "legacy --jobs 0",
        "Invalid value for '--jobs': <...>; see comnet evaluate --help",
        code=2,
    ),
    refused(
        "no such folder of probabilities",
        BASE + "legacy --probabilities <HERE>/absent",
        "folder of probabilities <HERE>/absent does not exist; `comnet predict --probability-maps` makes it",
    ),
    refused(
        "dataset.json that is not JSON",
        BASE + "legacy",
        "<HERE>/truth/dataset.json cannot be read as JSON: Expecting property name enclosed in double quotes: line 1 "
        "column 2 (char 1)",
        _description("{"),
    ),
    refused(
        "dataset.json without labels",
        BASE + "legacy",
        "<HERE>/truth/dataset.json must name the labels, each a number from 1 to 255 or a list of such numbers; name "
        "the regions in it as nnU-Net's dataset.json does",
        _description("{}"),
    ),
    refused(
        "dataset.json with labels in words",
        BASE + "legacy",
        "<HERE>/truth/dataset.json must name the labels, each a number from 1 to 255 or a list of such numbers; name "
        "the regions in it as nnU-Net's dataset.json does",
        _description('{"labels": {"WT": "all"}}'),
    ),
    refused(
        "dataset.json with labels nested too deep",
        BASE + "legacy",
        "<HERE>/truth/dataset.json must name the labels, each a number from 1 to 255 or a list of such numbers; name "
        "the regions in it as nnU-Net's dataset.json does",
        _description('{"labels": {"WT": [[1]]}}'),
    ),
    refused(
        "dataset.json with label 1e999",
        BASE + "legacy",
        "<HERE>/truth/dataset.json must name the labels, each a number from 1 to 255 or a list of such numbers; name "
        "the regions in it as nnU-Net's dataset.json does",
        _description('{"labels": {"WT": 1e999}}'),
    ),
    refused(
        "dataset.json with background alone",
        BASE + "legacy",
        "<HERE>/truth/dataset.json must name the labels, each a number from 1 to 255 or a list of such numbers; name "
        "the regions in it as nnU-Net's dataset.json does",
        _description('{"labels": {"background": 0}}'),
    ),
)
CASES = (*PREDICTIONS, *COMMANDS, *GOOD)
