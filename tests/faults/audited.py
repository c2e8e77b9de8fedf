"""Runs a command and notes each file under a folder that Python opens for writing, and by whose code: ours, nnU-Net's.

Usage: python audited.py FOLDER NOTES comnet|nnUNetv2_train WORDS...
"""

import os
import sys
from importlib.metadata import entry_points
from pathlib import Path

import nnunetv2

import nnunetv2_comnet
from nnunetv2_comnet import dataset_conversion
from nnunetv2_comnet.files import PARTIAL

OURS = tuple(str(Path(str(module.__file__)).resolve().parent) for module in (nnunetv2_comnet, dataset_conversion))
THEIRS = str(Path(nnunetv2.__file__).resolve().parent)
WRITING = os.O_WRONLY | os.O_RDWR


def owner() -> str:
    """The first of the two packages on the way up from the call."""
    frame = sys._getframe(2)
    while frame is not None:
        file = os.path.realpath(frame.f_code.co_filename)
        if file.startswith(OURS):
            return "ours"
        if file.startswith(THEIRS):
            return "theirs"
        frame = frame.f_back
    return "nobody's"


def watch(folder: str, notes: Path) -> None:
    """Installs the hook."""
    found = notes.open("a")

    def hook(event: str, arguments: tuple) -> None:
        if event != "open" or not isinstance(arguments[0], str | bytes) or not arguments[2] & WRITING:
            return
        path = os.path.abspath(os.fsdecode(arguments[0]))
        if path.startswith(folder) and PARTIAL not in path:
            found.write(f"{owner()}\t{os.path.relpath(path, folder)}\n")
            found.flush()

    sys.addaudithook(hook)


if __name__ == "__main__":
    watch(os.path.abspath(sys.argv[1]), Path(sys.argv[2]))
    sys.argv = sys.argv[3:]
    (command,) = entry_points(group="console_scripts", name=sys.argv[0])
    sys.exit(command.load()())
