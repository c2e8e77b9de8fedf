"""A whole folder of patients: one bad patient does not stop the others, and what is whole is not done again."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunetv2_comnet.errors import ConfigurationError, DataError
from nnunetv2_comnet.files import remove_leftovers, write_json
from nnunetv2_comnet.inference.cases import Case, find_cases
from nnunetv2_comnet.inference.nnunet_output import nnunet_messages_to_log, one_line
from nnunetv2_comnet.inference.outputs import MAPS, Outputs, require_possible_maps
from nnunetv2_comnet.inference.prediction import load_postprocessing
from nnunetv2_comnet.inference.predictor import CoMNeTPredictor, Computed, Prepared
from nnunetv2_comnet.inference.records import Records, by_short_name, describe_run
from nnunetv2_comnet.inference.stages import Outcome, in_stages
from nnunetv2_comnet.progress import bar, silent

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FolderRun:
    """What to predict, and how it is written.

    source, target: folders of images and of results, not the same. maps: some of outputs.MAPS. stock_probabilities:
    nnU-Net's npz and pkl. go_on: leave cases alone that are whole. part of parts: as nnU-Net's -part_id and -num_parts.
    postprocessing: nnU-Net's postprocessing.pkl, or comnet_postprocessing.json. overlap: read the next patient and
    write the last one while the network works; None: where that is not on the CPU itself. The files are the same.
    """

    source: Path
    target: Path
    maps: Sequence[str] = ()
    stock_probabilities: bool = False
    go_on: bool = False
    part: int = 0
    parts: int = 1
    postprocessing: Path | None = None
    show_progress: bool = True
    overlap: bool | None = None

    def __post_init__(self) -> None:
        if self.source.resolve() == self.target.resolve():
            raise ConfigurationError(f"{self.target} holds the images: choose another folder for the results")
        if self.target.exists() and not self.target.is_dir():
            raise ConfigurationError(f"{self.target} is a file, not a folder for the results")
        if unknown := [kind for kind in self.maps if kind not in MAPS]:
            raise ConfigurationError(f"there is no map '{unknown[0]}'; there are: {', '.join(MAPS)}")


@dataclass(frozen=True)
class FolderResult:
    """Names of the cases predicted now and of those found whole; failed: case -> reason. failures: file of reasons.

    missing_channels: those of the predicted ones with missing channels.
    """

    predicted: tuple[str, ...]
    kept: tuple[str, ...]
    failed: dict[str, str]
    failures: Path
    missing_channels: tuple[str, ...]


def predict_folder(predictor: CoMNeTPredictor, run: FolderRun) -> FolderResult:
    """Predicts the cases of `run.source`, and writes the records after each.

    Raises `DataError` for a folder without cases, `ConfigurationError` for a target that is the model, for maps that
    the options do not give, or for going on in a folder of another model. A case that fails is listed in the result.
    """
    if run.target.resolve() == predictor.model.path.resolve():
        raise ConfigurationError(f"{run.target} holds the model: choose another folder for the results")
    require_possible_maps(run.maps, predictor.options.average, predictor.options.refine)
    ending = predictor.dataset.file_ending
    cases = find_cases(
        run.source,
        ending,
        predictor.channels,
        run.part,
        run.parts,
        allows_missing_channels=predictor.allows_missing_channels,
    )
    outputs = Outputs(run.target, ending, list(predictor.regions), run.maps, run.stock_probabilities)
    rules = None
    if run.postprocessing is not None:
        rules = load_postprocessing(run.postprocessing, predictor.regions, predictor.options)
    part = f"_part{run.part}of{run.parts}" if run.parts > 1 else ""
    records = Records(run.target, part, describe_run(predictor, run.postprocessing))
    if run.go_on:
        records.keep_earlier(_cases_in(outputs))
    else:
        records.keep_volumes(_cases_in(outputs) - {case.name for case in cases})
    kept = [case for case in cases if run.go_on and _is_whole(case, predictor, outputs, records)]
    _prepare(predictor, outputs, records, kept)
    whole = set(kept)
    left = [case for case in cases if case not in whole]

    def prepare(case: Case, _: None) -> Prepared:
        outputs.forget(case.name)
        if case.problem is not None:
            raise DataError(case.problem)
        return predictor.prepare(case.images)

    def compute(_: Case, patient: Prepared) -> Computed:
        return predictor.compute(patient, outputs.maps)

    def finish(case: Case, computed: Computed) -> dict[str, float]:
        prediction = predictor.finish(computed, rules)
        outputs.write(case.name, prediction)
        return by_short_name(prediction.volumes_mm3)

    overlap = predictor.overlaps if run.overlap is None else run.overlap
    outcomes = in_stages(left, prepare, compute, finish, overlap=overlap)
    progress = bar if run.show_progress else silent
    predicted = []
    for outcome in progress(outcomes, "patients", len(left)):
        if _record(outcome, outputs, records):
            predicted.append(outcome.item)
    return FolderResult(
        predicted=tuple(case.name for case in predicted),
        kept=tuple(case.name for case in kept),
        failed=dict(records.failures),
        failures=records.path("failures.json"),
        missing_channels=tuple(case.name for case in predicted if case.missing_channels),
    )


def _is_whole(case: Case, predictor: CoMNeTPredictor, outputs: Outputs, records: Records) -> bool:
    """Tells whether an earlier run wrote all that is wanted of the case, from the images that are there now."""
    if case.problem is not None or not outputs.is_whole(case.name):
        return False
    return not predictor.allows_missing_channels or records.predicted_without(case.name) == case.missing_channels


def _prepare(predictor: CoMNeTPredictor, outputs: Outputs, records: Records, kept: Sequence[Case]) -> None:
    """Writes the files that stock commands expect beside masks, and a record of every mask that stays."""
    folder = outputs.folder
    if not records.part:  # the half-written files of another part that is running would be deleted
        for place in (folder, *(folder / kind for kind in MAPS)):
            remove_leftovers(place)
    write_json(folder / "dataset.json", predictor.dataset_json)
    write_json(folder / "plans.json", predictor.plans_manager.plans)
    for case in kept:
        if case.name not in records.volumes:  # killed between mask and table, or predicted by another part
            records.volumes[case.name] = _volumes_of_file(predictor, outputs.label_map(case.name))
        records.kept(case.name, case.missing_channels)
    records.write()


def _record(outcome: Outcome[Case], outputs: Outputs, records: Records) -> bool:
    """Records the outcome; returns whether the case's files are written. Deletes what is left of a failed case."""
    case, missing_channels = outcome.item.name, outcome.item.missing_channels
    if outcome.error is None:
        records.done(case, outcome.seconds, outcome.result, missing_channels)
        if missing_channels:
            log.warning("%s: predicted without its missing %s", case, ", ".join(missing_channels))
    else:
        outputs.forget(case)
        log.debug("%s", case, exc_info=outcome.error)
        records.failed(case, outcome.seconds, one_line(outcome.error))
    records.write()
    return outcome.error is None


def _volumes_of_file(predictor: CoMNeTPredictor, path: Path) -> dict[str, float]:
    with nnunet_messages_to_log():
        labels, properties = predictor.writer.read_seg(str(path))
    return by_short_name(predictor.regions.volumes_mm3(labels[0].astype("uint16"), properties["spacing"]))


def _cases_in(outputs: Outputs) -> set[str]:
    """Lists the cases whose label maps lie in the output folder."""
    return {path.name.removesuffix(outputs.file_ending) for path in outputs.folder.glob(f"*{outputs.file_ending}")}
