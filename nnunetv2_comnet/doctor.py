"""Checks of an installation: versions, nnU-Net's four variables, that it finds our trainers, device, disk."""

import ast
import contextlib
import importlib.metadata
import io
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from nnunetv2_comnet.errors import one_line

EXTENSION_VARIABLE = "nnUNet_extTrainer"
FOLDER_VARIABLES = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")
MIN_FREE_GB = 5.0  # a fold of checkpoints and the predictions of a few hundred patients


@dataclass(frozen=True)
class Check:
    """One line of the doctor's report; `remedy` says what to do where `well` is false."""

    name: str
    well: bool
    found: str
    remedy: str = ""


def extension_folder() -> Path:
    """Returns the folder that nnUNet_extTrainer must name: its one module re-exports our trainers."""
    return Path(__file__).parent / "trainers" / "ext"


def trainer_names() -> list[str]:
    """Lists the trainers in the `__all__` of that module, without importing torch."""
    source = (extension_folder() / "comnet_trainers.py").read_text(encoding="utf-8")
    exported = next(node for node in ast.parse(source).body if isinstance(node, ast.Assign))
    return [str(name) for name in ast.literal_eval(exported.value)]


def examine() -> Iterator[Check]:
    """Runs all checks; one that itself fails is a finding, never a crash."""
    checks: list[Callable[[], Iterator[Check]]] = [_versions, _variables, _trainers, _device, _disk]
    for check in checks:
        try:
            yield from check()
        except Exception as error:  # the doctor must report whatever a broken environment throws
            found = f"{type(error).__name__}: {one_line(error)}"
            remedy = "reinstall in a fresh virtual environment: pip install nnunetv2-comnet"
            yield Check(check.__name__.strip("_"), False, found, remedy)


def _versions() -> Iterator[Check]:
    python = ".".join(str(part) for part in sys.version_info[:3])
    yield Check("python", sys.version_info >= (3, 10), python, "install Python 3.10 or newer")
    nnunet = "pip install 'nnunetv2>=2.8,<3' (older ones take no outside trainer)"
    torch = "pip install -U torch (2.9 runs 3D convolutions slowly)"
    for package, accepts, remedy in (
        ("nnunetv2", lambda v: (2, 8) <= v < (3,), nnunet),
        ("torch", lambda v: v >= (2, 6) and v[:2] != (2, 9), torch),
        ("torchvision", lambda v: True, "pip install -U torch torchvision (one matching pair)"),
    ):
        try:
            version = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            yield Check(package, False, "not installed", remedy)
            continue
        numbers = tuple(int(part) for part in version.split("+")[0].split(".")[:2] if part.isdecimal())
        yield Check(package, accepts(numbers), version, remedy)
    yield _torchvision_fits_torch()


def _torchvision_fits_torch() -> Check:
    """Checks that torchvision imports: nnU-Net needs it to find our trainers, and a build for another torch breaks."""
    name = "torchvision fits torch"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import torchvision
    except Exception as error:
        remedy = "install a matching pair from one place: pip install -U --force-reinstall torch torchvision"
        return Check(name, False, one_line(error), remedy)
    return Check(name, True, f"torchvision {torchvision.__version__} imports")


def _variables() -> Iterator[Check]:
    for name in FOLDER_VARIABLES:
        value = os.environ.get(name)
        if not value:
            yield Check(name, False, "not set", f"export {name}=/a/folder/of/yours")
        elif not Path(value).is_dir():
            yield Check(name, False, f"{value} is not a folder", f"mkdir -p {value}")
        else:
            yield Check(name, os.access(value, os.W_OK), value, f"make {value} writable, or name another folder")
    value = os.environ.get(EXTENSION_VARIABLE)
    yield Check(EXTENSION_VARIABLE, _extension_is_named(), value or "not set", 'eval "$(comnet env)"')


def _extension_is_named() -> bool:
    folder, value = extension_folder().resolve(), os.environ.get(EXTENSION_VARIABLE, "")
    return any(Path(part).resolve() == folder for part in value.split(os.pathsep) if part.strip())


def _trainers() -> Iterator[Check]:
    """Checks that nnU-Net finds each trainer; skipped where the variable is wrong, which is already reported."""
    if not _extension_is_named():
        return
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    for name in trainer_names():
        try:
            with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                trainer = recursive_find_trainer_class_by_name(name)
            yield Check(name, True, f"stock nnU-Net finds it in {trainer.__module__}")
        except Exception as error:
            found = f"stock nnU-Net does not find it: {one_line(error)[:200]}"
            remedy = "fix the checks above; if all are well, reinstall: pip install --force-reinstall nnunetv2-comnet"
            yield Check(name, False, found, remedy)


def _device() -> Iterator[Check]:
    import torch

    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            yield Check(f"GPU {index}", True, f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB")
    elif torch.backends.mps.is_available():
        yield Check("device", True, "Apple GPU; pass -device mps to nnU-Net's commands")
    else:
        threads = torch.get_num_threads()
        yield Check("device", True, f"no GPU: CPU with {threads} threads; pass -device cpu to nnU-Net's commands")


def _disk() -> Iterator[Check]:
    for name in FOLDER_VARIABLES:
        value = os.environ.get(name)
        if value and Path(value).is_dir():
            free = shutil.disk_usage(value).free / 1e9
            remedy = f"free at least {MIN_FREE_GB:.0f} GB, or name a folder on another disk"
            yield Check(f"disk of {name}", free >= MIN_FREE_GB, f"{free:.0f} GB free", remedy)
