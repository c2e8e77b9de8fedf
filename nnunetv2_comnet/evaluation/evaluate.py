"""Scores a folder of predictions against a folder of references, case by case, in as many processes as wanted."""

from collections.abc import Collection, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from nnunetv2_comnet import __version__
from nnunetv2_comnet.dataset_json import dataset_beside
from nnunetv2_comnet.errors import DataError
from nnunetv2_comnet.evaluation.calibration import pooled
from nnunetv2_comnet.evaluation.case_files import CaseFiles, evaluate_case
from nnunetv2_comnet.evaluation.images import ENDING
from nnunetv2_comnet.evaluation.protocols import protocol_named
from nnunetv2_comnet.evaluation.results import Evaluation
from nnunetv2_comnet.label_schemes import BRATS_123
from nnunetv2_comnet.progress import Progress, silent
from nnunetv2_comnet.regions import short_name
from nnunetv2_comnet.workers import require_jobs, run_all

_IMAGES_OF = {"labelsTr": "imagesTr", "labelsTs": "imagesTs"}
_MEASURED_WITH = ("surface-distance", "connected-components-3d", "scipy", "numpy")


def evaluate_folder(
    reference: Path,
    prediction: Path,
    protocol: str,
    *,
    regions: Mapping[str, tuple[int, ...]] | None = None,
    jobs: int = 1,
    probabilities: Path | None = None,
    images: Path | None = None,
    progress: Progress = silent,
    title: str = "evaluating",
    only: Collection[str] | None = None,
) -> Evaluation:
    """Scores every `<case>.nii.gz` of the reference folder; no case is left out, whatever is wrong with it.

    Args:
        reference: the folder of true masks.
        prediction: the folder of predicted masks.
        protocol: a protocol's name.
        regions: name -> written labels; None: those of a dataset.json in or up to three levels above the reference or
            the prediction folder, else ET, TC, WT.
        jobs: processes.
        probabilities: a folder of `<case>_<ET>.nii.gz` as `comnet predict --probability-maps` writes it.
        images: the folder of `<case>_0000.nii.gz`, whose nonzero voxels are the brain; None: imagesTr beside labelsTr.
        progress: shows how far it is.
        title: of the progress.
        only: names of metrics, None for all.

    Raises:
        DataError: a folder is missing or holds no reference.
    """
    require_jobs(jobs)
    rules = protocol_named(protocol)
    cases = _cases(reference, prediction)
    beside = None if regions else dataset_beside(reference, prediction)
    regions = regions or (beside.regions if beside else BRATS_123.regions)
    if images is None and reference.resolve().name in _IMAGES_OF:
        images = reference.resolve().parent / _IMAGES_OF[reference.resolve().name]
    short = [short_name(name) for name in reversed(list(regions))]
    files = [
        CaseFiles(
            case=case,
            reference=reference / f"{case}{ENDING}",
            prediction=prediction / f"{case}{ENDING}",
            probabilities={} if probabilities is None else _maps(probabilities, case, short),
            image=None if images is None else images / f"{case}_0000{ENDING}",
            regions=regions,
            protocol=rules.name,
            only=None if only is None else tuple(only),
        )
        for case in cases
    ]
    found = run_all(evaluate_case, files, jobs, name=lambda one: one.case)
    outcomes = list(progress(found, title, len(files)))
    information: dict[str, Any] = {
        "comnet": __version__,
        "packages": {name: version(name) for name in _MEASURED_WITH},
        "labels": {short_name(name): list(labels) for name, labels in regions.items()},
    }
    if table := pooled(outcome.bins for outcome in outcomes):
        information["reliability"] = table
    return Evaluation(
        rules.name,
        str(reference),
        str(prediction),
        tuple(short),
        tuple(outcome.scores for outcome in outcomes),
        tuple(_names(prediction, set(cases))),
        information,
    )


def _cases(reference: Path, prediction: Path) -> list[str]:
    for what, folder in (("reference", reference), ("prediction", prediction)):
        if not folder.is_dir():
            wrong = "is not a folder" if folder.exists() else "does not exist"
            raise DataError(f"{what} folder {folder} {wrong}; name the folder that holds the *{ENDING} files")
    cases = _names(reference, set())
    if not cases:
        raise DataError(f"no *{ENDING} in reference folder {reference}; name the folder that holds the true masks")
    return cases


def _names(folder: Path, known: set[str]) -> list[str]:
    return sorted({path.name.removesuffix(ENDING) for path in folder.glob(f"*{ENDING}")} - known)


def _maps(folder: Path, case: str, regions: Sequence[str]) -> dict[str, Path]:
    if not folder.is_dir():
        raise DataError(
            f"folder of probabilities {folder} does not exist; `comnet predict --probability-maps` makes it"
        )
    return {region: folder / f"{case}_{region}{ENDING}" for region in regions}
