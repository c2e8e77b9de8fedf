"""Checks of an installation: versions, nnU-Net's four variables, that it finds our trainers, device, disk."""

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
    """The folder that nnUNet_extTrainer must name: it holds one module that re-exports our trainers."""
    return Path(__file__).parent / "trainers" / "ext"


def trainer_names() -> list[str]:
    """The trainers that the shim exports, read from its `__all__` without importing torch."""
    import ast

    tree = ast.parse((extension_folder() / "comnet_trainers.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(getattr(target, "id", "") == "__all__" for target in node.targets):
            return [str(name) for name in ast.literal_eval(node.value)]
    raise AssertionError("the shim has no __all__")


def examine() -> Iterator[Check]:
    """All checks, one after the other; a check that itself fails is a finding, never a crash."""
    checks: list[Callable[[], Iterator[Check]]] = [_versions, _variables, _trainers, _device, _disk]
    for check in checks:
        try:
            yield from check()
        except Exception as error:  # the doctor must report whatever a broken environment throws
            reason = " ".join(str(error).split())
            yield Check(
                check.__name__.strip("_"),
                False,
                f"{type(error).__name__}: {reason}",
                "reinstall in a fresh virtual environment: pip install nnunetv2-comnet",
            )


def _versions() -> Iterator[Check]:
    python = ".".join(str(part) for part in sys.version_info[:3])
    yield Check("python", sys.version_info >= (3, 10), python, "install Python 3.10 or newer")
    for package, accepts, remedy in (
        (
            "nnunetv2",
            lambda v: (2, 8) <= v < (3,),
            "pip install 'nnunetv2>=2.8,<3' (older ones take no outside trainer)",
        ),
        (
            "torch",
            lambda v: v >= (2, 6) and v[:2] != (2, 9),
            "pip install -U torch (2.9 runs 3D convolutions slowly)",
        ),
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
    """nnU-Net imports torchvision when it looks for an outside trainer; a build for another torch breaks that."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import torchvision
    except Exception as error:
        return Check(
            "torchvision fits torch",
            False,
            " ".join(str(error).split()),
            "install a matching pair from one place: pip install -U --force-reinstall torch torchvision",
        )
    return Check("torchvision fits torch", True, f"torchvision {torchvision.__version__} imports")


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
    """Whether nnU-Net finds each trainer; nothing where the variable does not say where: that has been told."""
    if not _extension_is_named():
        return
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    for name in trainer_names():
        try:
            with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = recursive_find_trainer_class_by_name(name)
            yield Check(name, True, f"stock nnU-Net finds it in {found.__module__}")
        except Exception as error:
            reason = " ".join(str(error).split())
            yield Check(
                name,
                False,
                f"stock nnU-Net does not find it: {reason[:200]}",
                "fix the checks above; if all are well, reinstall: pip install --force-reinstall nnunetv2-comnet",
            )


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
            yield Check(
                f"disk of {name}",
                free >= MIN_FREE_GB,
                f"{free:.0f} GB free",
                f"free at least {MIN_FREE_GB:.0f} GB, or name a folder on another disk",
            )
