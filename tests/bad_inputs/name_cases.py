"""Names of patients' files that a shell, a disk or a reader could take for something else; no name reaches a shell."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.bad_inputs import evaluate_cases, predict_cases
from tests.bad_inputs.case import BadInput
from tests.bad_inputs.convert_cases import GOOD_LAYOUT
from tests.dataset_conversion.tiny_patients import write_utsw
from tests.inference.conftest import write_patient

CONVERT = "comnet convert custom <HERE>/source -d 501 --jobs 1 --layout-file <HERE>/layout.yaml"
RULE = (
    "nnU-Net's file names take letters, digits, '_', '-' and '.', beginning with a letter or digit, at most 200 bytes"
)
ODD = {
    "a space": "P 1",
    "a quote": "P'1",
    "a leading dash": "-rf",
    "a dollar and brackets": "$(touch owned)",
    "a semicolon": "P;touch owned",
    "a line break": "P\n1",
    "a control character": "P\x1b[31m1",
    "two dots": "P..1",
    "a letter made of two characters": "Pe\u0301",
    "a byte that is no UTF-8": os.fsdecode(b"P\xff"),
    "220 letters": "P" * 220,
}


def patients(*names: str) -> Callable[[Path], object]:
    """Good patients of a layout that takes any name."""

    def make(here: Path) -> None:
        for seed, name in enumerate(("BT0001", *names)):
            write_utsw(here / "source", name, seed)
        layout = {**GOOD_LAYOUT, "case": "[^/]+", "dataset_name": "Odd"}
        (here / "layout.yaml").write_text(json.dumps(layout))

    return make


def excluded(title: str, names: tuple[str, ...], report: str) -> BadInput:
    return BadInput(title, CONVERT, (), patients(*names), 0, report, makes=("raw/Dataset501_Odd/*",))


def images(*names: str) -> Callable[[Path], object]:
    def make(here: Path) -> None:
        (here / "images").mkdir()
        for seed, name in enumerate(names):
            write_patient(here / "images", name, "LPS", seed)

    return make


def predicted(title: str, name: str) -> BadInput:
    makes = (*predict_cases.RECORDS, "out/*.nii.gz")
    return BadInput(title, predict_cases.CALL, (), images(name), 0, makes=makes)


def scored(title: str, name: str, *says: str, code: int = 0) -> BadInput:
    """A case of that name is scored beside two others."""

    def make(here: Path) -> None:
        masks = evaluate_cases.two(here)
        for folder in (masks, here / "truth"):
            (folder / f"{name}.nii.gz").write_bytes((folder / "GOOD.nii.gz").read_bytes())

    return BadInput(title, evaluate_cases.CALL, says, make, code, makes=evaluate_cases.SCORES)


def _hidden(here: Path) -> None:
    """Beside each image the file that a Mac leaves on other disks."""
    images("P1")(here)
    for path in list((here / "images").iterdir()):
        path.with_name(f"._{path.name}").write_bytes(b"Mac OS X")


def _links(here: Path) -> None:
    """Images that are links to files elsewhere, and a link that leads to itself."""
    images("P1")(here)
    (here / "elsewhere").mkdir()
    for path in list((here / "images").iterdir()):
        path.rename(here / "elsewhere" / path.name)
        path.symlink_to(here / "elsewhere" / path.name)
    (here / "images" / "P2_0000.nii.gz").symlink_to("P2_0000.nii.gz")


def failing(title: str, says: str, make: Callable[[Path], object], **more: Any) -> BadInput:
    return BadInput(title, predict_cases.CALL, (says,), make, makes=predict_cases.RECORDS, **more)


FAILED = "comnet: error: 1 of 1 cases failed (all reasons in <HERE>/out/failures.json): "
CONVERTING = (
    *(excluded(f"a name with {what}", (name,), f"the identifier {name!r} cannot be used: {RULE}; rename the case")
      for what, name in ODD.items() if what != "two dots"),
    excluded("two names that differ in case", ("PAT", "Pat"),
             "the identifiers 'PAT' and 'Pat' differ only in how they are written; rename one of them"),
)  # fmt: skip
PREDICTING = (
    *(predicted(f"a name with {what}", ODD[what])
      for what in ("a space", "a quote", "a leading dash", "a dollar and brackets", "two dots",
                   "a letter made of two characters", "220 letters")),
    failing("a name with a line break", FAILED + "P\\n1: its name holds a character that cannot be printed; rename "
        "its files", images("P\n1")),
    failing("a name with a control character", FAILED + "P\\x1b[31m1: its name holds a character that cannot be "
        "printed; rename its files", images("P\x1b[31m1")),
    failing("a name with a byte that is no UTF-8", FAILED + "P\\udcff: its name holds a character that cannot be "
        "printed; rename its files", images(ODD["a byte that is no UTF-8"])),
    failing("two names that differ in case",
            "comnet: error: 2 of 2 cases failed (all reasons in <HERE>/out/failures.json): PAT: its name and Pat "
                "differ only in how they are written; rename one of them",
            images("PAT", "Pat")),
    BadInput("hidden files beside the images", predict_cases.CALL, tuple(f"<HERE>/images/._P1_{channel:04d}.nii.gz "
        f"is hidden and is left out" for channel in range(4)), _hidden, 0, makes=(*predict_cases.RECORDS,
        "out/P1.nii.gz")),
    BadInput("images that are links, one of them to itself", predict_cases.CALL, (), _links, 0,
        makes=(*predict_cases.RECORDS, "out/P1.nii.gz")),
)  # fmt: skip
EVALUATING = (
    *(scored(f"a name with {what}", ODD[what])
      for what in ("a space", "a quote", "a leading dash", "a dollar and brackets", "a line break",
          "a control character",
                   "a letter made of two characters", "220 letters")),
    scored("a name with a byte that is no UTF-8", ODD["a byte that is no UTF-8"],
           "warning: P\\udcff: unusable-reference: <HERE>/truth/P\\udcff.nii.gz cannot be read: its path is no "
               "UTF-8; copy or make it again",
           "comnet: error: 1 of 3 cases could not be scored as they are (--strict)", code=1),
)  # fmt: skip
GOOD = (
    BadInput("a name with two dots", CONVERT, (), patients("P..1"), 0, makes=("raw/Dataset501_Odd/*",)),
    BadInput(
        "accents in a name and in its folder",
        CONVERT.replace("<HERE>/source", "'<HERE>/Kranke, ü 東'"),
        (),
        lambda here: patients("Pé")(here) or (here / "source").rename(here / "Kranke, ü 東"),
        0,
        makes=("raw/Dataset501_Odd/*",),
    ),
)
CASES = (*CONVERTING, *PREDICTING, *EVALUATING, *GOOD)
