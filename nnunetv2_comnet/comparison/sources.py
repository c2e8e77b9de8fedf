"""Finds the scores of each model NAME=DIR: stored ones that still hold, else those of its predictions."""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunetv2_comnet.comparison.compare import metrics_of
from nnunetv2_comnet.errors import ConfigurationError, DataError
from nnunetv2_comnet.evaluation.images import ENDING
from nnunetv2_comnet.evaluation.protocols import NONE, protocol_named
from nnunetv2_comnet.evaluation.results import FILE, MISSING, OF_PROBABILITIES, SCORED, Evaluation, read_evaluation
from nnunetv2_comnet.progress import Progress, silent

log = logging.getLogger(__name__)

_NAME = re.compile(r"\w[\w.+ -]*")
_HAD_PREDICTION = {SCORED: True, MISSING: False}  # by a case's state, when it was scored


@dataclass(frozen=True)
class Source:
    """A model's folder, the evaluation found in it (if any), and the folder of the predictions themselves."""

    name: str
    folder: Path
    stored: Evaluation | None
    predictions: Path


def parse_models(words: Sequence[str]) -> dict[str, Path]:
    """Reads NAME=DIR words. Raises ConfigurationError for another form, a name or folder given twice, a lone model."""
    models: dict[str, Path] = {}
    for word in words:
        name, equals, folder = word.partition("=")
        if not equals or not folder or not _NAME.fullmatch(name):
            raise ConfigurationError(
                f"'{word}' is not NAME=DIR; write e.g. coarse=/path/to/predictions (a name of letters, digits, . _ + -)"
            )
        if name in models:
            raise ConfigurationError(f"two models are named '{name}'; give them different names")
        path = Path(folder).expanduser()
        if not path.is_dir():
            raise DataError(f"{path} of model '{name}' is not a folder; name the folder of its predictions or scores")
        same = [other for other, its in models.items() if its.resolve() == path.resolve()]
        if same:
            raise ConfigurationError(f"'{same[0]}' and '{name}' name the same folder {path}; nothing would differ")
        models[name] = path
    if len(models) < 2:
        raise ConfigurationError("a comparison needs two models or more; name another one, NAME=DIR")
    return models


def load_evaluations(
    models: Mapping[str, Path],
    reference: Path | None,
    protocol: str | None,
    metrics: Sequence[str] | None = None,
    *,
    jobs: int = 1,
    progress: Progress = silent,
    keep: Path | None = None,
) -> dict[str, Evaluation]:
    """Loads the evaluation of every model, or scores its predictions where the stored one no longer holds.

    Nothing is written into the models' own folders.

    Args:
        models: name -> folder of predictions, of an evaluation, or of both.
        reference: the folder of true masks; None takes what the stored evaluations agree on.
        protocol: its name; None likewise.
        metrics: those that will be compared.
        jobs: processes.
        progress: as `evaluate_folder` takes it.
        keep: a folder that gets NAME/evaluation.json of what is scored here, with all metrics; without it only
            `metrics` are computed.

    Raises:
        ConfigurationError: reference or protocol must be named.
        DataError: a stored evaluation does not hold, and the predictions are not there.
    """
    sources = [_find(name, folder) for name, folder in models.items()]
    rules = protocol_named(protocol or _agreed(sources, "protocol", "--protocol"))
    protocol, metrics = rules.name, metrics_of(rules.name, metrics)
    if rules.lesions == NONE and any(metric.startswith("lesion_") for metric in metrics):
        raise ConfigurationError(f"protocol {protocol} has no lesion-wise metrics; leave them out or name another")
    evaluations: dict[str, Evaluation] = {}
    if reference is None:
        reference = Path(_agreed(sources, "reference", "-ref"))
    elif not reference.is_dir():
        raise DataError(f"-ref {reference} is not a folder; name the folder of the true masks")
    reasons = {source.name: _why_not(source, reference, protocol) for source in sources}
    for source in sources:  # before hours of scoring another model
        if reasons[source.name] is None:
            continue
        if not _images(source.predictions):
            absent = f"its predictions are not in {source.predictions}"
        elif not reference.is_dir():
            absent = f"the true masks are not in {reference}"
        else:
            continue
        raise DataError(f"{source.name}: {reasons[source.name]}, and {absent}; write it with `comnet evaluate`")
    for source in sources:
        if source.stored is not None and reasons[source.name] is None:
            evaluations[source.name] = source.stored
            continue
        log.info("%s: scoring %s (%s)", source.name, source.predictions, reasons[source.name])
        evaluations[source.name] = _score(source, reference, protocol, None if keep else metrics, jobs, progress)
        if keep:
            evaluations[source.name].write(keep / source.name)
    return evaluations


def _find(name: str, folder: Path) -> Source:
    if not (folder / FILE).is_file():
        if not _images(folder):
            raise DataError(f"{folder} of model '{name}' has neither {FILE} nor predictions (*{ENDING})")
        return Source(name, folder, None, folder)
    stored = read_evaluation(folder)
    return Source(name, folder, stored, folder if _images(folder) else Path(stored.prediction))


def _agreed(sources: Sequence[Source], what: str, option: str) -> str:
    values = {str(getattr(source.stored, what)): source.name for source in sources if source.stored is not None}
    if len(values) == 1:
        return next(iter(values))
    if not values:
        raise ConfigurationError(
            f"no model's folder holds an evaluation that would say the {what}; name it with {option}"
        )
    said = ", ".join(f"{value} ({name})" for value, name in values.items())
    raise ConfigurationError(f"the evaluations are of different {what}s: {said}; name one with {option} to score again")


def _why_not(source: Source, reference: Path, protocol: str) -> str | None:
    """Says why the stored evaluation cannot be used; None where it can."""
    stored = source.stored
    if stored is None:
        return "not scored yet"
    if stored.protocol != protocol:
        return f"its {FILE} is of protocol {stored.protocol}, not {protocol}"
    if Path(stored.reference).resolve() != reference.resolve():
        return f"its {FILE} was scored against {stored.reference}, not {reference}"
    written = (source.folder / FILE).stat().st_mtime_ns
    images = _images(source.predictions)
    files = [*images.values(), *_images(reference).values()]
    newer = [path.name for path in files if path.stat().st_mtime_ns > written]
    if newer:
        return f"{newer[0]} is newer than its {FILE}"
    if not images:
        return None
    moved = [case.case for case in stored.cases if _HAD_PREDICTION.get(case.state) is (case.case not in images)]
    return f"the prediction of {moved[0]} came or went after its {FILE} was written" if moved else None


def _score(
    source: Source,
    reference: Path,
    protocol: str,
    metrics: Sequence[str] | None,
    jobs: int,
    progress: Progress,
) -> Evaluation:
    from nnunetv2_comnet.evaluation.evaluate import evaluate_folder

    probabilities = source.predictions / "probabilities"
    wanted = probabilities.is_dir() and (metrics is None or not set(OF_PROBABILITIES).isdisjoint(metrics))
    return evaluate_folder(
        reference,
        source.predictions,
        protocol,
        jobs=jobs,
        probabilities=probabilities if wanted else None,
        progress=progress,
        title=source.name,
        only=None if metrics is None else {*metrics, "volume_truth_mm3"},  # by it the truths are compared
    )


def _images(folder: Path) -> dict[str, Path]:
    """Lists the label maps of a folder by case; none where it does not exist."""
    if not folder.is_dir():
        return {}
    return {path.name.removesuffix(ENDING): path for path in sorted(folder.glob(f"*{ENDING}"))}
