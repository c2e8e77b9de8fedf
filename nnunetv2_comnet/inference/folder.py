"""A whole folder of patients: one bad patient does not stop the others, and what is whole is not done again."""

import dataclasses
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from nnunetv2_comnet.errors import ConfigurationError, DataError
from nnunetv2_comnet.files import remove_leftovers, write_json
from nnunetv2_comnet.inference.cases import Case, find_cases
from nnunetv2_comnet.inference.decision import region_volumes_mm3
from nnunetv2_comnet.inference.messages import nnunet_messages_to_log, one_line
from nnunetv2_comnet.inference.outputs import MAPS, Outputs, require_possible_maps
from nnunetv2_comnet.inference.postprocessing import Rules, load_postprocessing
from nnunetv2_comnet.inference.predictor import CoMNeTPredictor
from nnunetv2_comnet.inference.records import Records, by_short_name, describe_run

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FolderRun:
    """What to predict, and how it is written.

    source, target: folders of images and of results, not the same. maps: some of outputs.MAPS. stock_probabilities:
    nnU-Net's npz and pkl. go_on: leave cases alone that are whole. part of parts: as nnU-Net's -part_id and -num_parts.
    postprocessing: nnU-Net's postprocessing.pkl, or comnet_postprocessing.json.
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

    def __post_init__(self) -> None:
        if self.source.resolve() == self.target.resolve():
            raise ConfigurationError(f"{self.target} holds the images: choose another folder for the results")
        if self.target.exists() and not self.target.is_dir():
            raise ConfigurationError(f"{self.target} is a file, not a folder for the results")
        if unknown := [kind for kind in self.maps if kind not in MAPS]:
            raise ConfigurationError(f"there is no map '{unknown[0]}'; there are: {', '.join(MAPS)}")


@dataclass(frozen=True)
class FolderResult:
    """Names of the cases predicted now and of those found whole; failed: case -> reason. failures: file of reasons."""

    predicted: tuple[str, ...]
    kept: tuple[str, ...]
    failed: dict[str, str]
    failures: Path


def predict_folder(predictor: CoMNeTPredictor, run: FolderRun) -> FolderResult:
    """Predicts the cases of `run.source`, and records after each what there is.

    Raises `DataError` for a folder without cases, `ConfigurationError` for maps that the options do not give, or for
    going on in a folder of another model. A case's own defect is in the result.
    """
    require_possible_maps(run.maps, predictor.options.average, predictor.options.refine)
    ending = predictor.dataset_json["file_ending"]
    cases = find_cases(run.source, ending, predictor.channels, run.part, run.parts)
    outputs = Outputs(run.target, ending, list(predictor.regions), run.maps, run.stock_probabilities)
    rules = None
    if run.postprocessing is not None:
        rules = load_postprocessing(run.postprocessing, predictor.regions, predictor.options)
    part = f"_part{run.part}of{run.parts}" if run.parts > 1 else ""
    records = Records(run.target, part, describe_run(predictor, run.postprocessing))
    kept = [case.name for case in cases if run.go_on and case.problem is None and outputs.is_whole(case.name)]
    if run.go_on:
        records.keep_earlier(_cases_in(outputs))
    else:
        records.keep_volumes(_cases_in(outputs) - {case.name for case in cases})
    _prepare(predictor, outputs, records, kept)
    predicted = []
    left = [case for case in cases if case.name not in kept]
    quiet = not run.show_progress or not sys.stderr.isatty()
    for case in tqdm(left, unit="patient", disable=quiet):
        if _predict_case(predictor, case, outputs, rules, records):
            predicted.append(case.name)
    return FolderResult(tuple(predicted), tuple(kept), dict(records.failures), records.path("failures.json"))


def _prepare(predictor: CoMNeTPredictor, outputs: Outputs, records: Records, kept: Sequence[str]) -> None:
    """The files that stock commands expect beside masks, and a record of every mask that stays."""
    folder = outputs.folder
    folder.mkdir(parents=True, exist_ok=True)
    if not records.part:  # beside another part, its files would be taken for leftovers
        for place in (folder, *(folder / kind for kind in MAPS)):
            remove_leftovers(place)
    write_json(folder / "dataset.json", predictor.dataset_json)
    write_json(folder / "plans.json", predictor.plans_manager.plans)
    for case in kept:
        if case not in records.volumes:  # killed between mask and table, or predicted by another part
            records.volumes[case] = _volumes_of_file(predictor, outputs.label_map(case))
        records.run["cases"].setdefault(case, {"state": "done", "seconds": None})
    records.write()


def _predict_case(
    predictor: CoMNeTPredictor, case: Case, outputs: Outputs, rules: Rules | None, records: Records
) -> bool:
    """True if the case's files are written; else its reason is recorded and nothing is left of it."""
    start = time.monotonic()
    outputs.forget(case.name)
    try:
        if case.problem is not None:
            raise DataError(case.problem)
        prediction = predictor.predict(case.images)
        if rules is not None:
            prediction = dataclasses.replace(prediction, label_map=rules(prediction))
        outputs.write(case.name, prediction)
    except Exception as error:  # whatever one patient's files provoke, the others are predicted
        outputs.forget(case.name)
        log.debug("%s", case.name, exc_info=True)
        records.failed(case.name, time.monotonic() - start, one_line(error))
        records.write()
        return False
    records.done(case.name, time.monotonic() - start, by_short_name(prediction.volumes_mm3))
    records.write()
    return True


def _volumes_of_file(predictor: CoMNeTPredictor, path: Path) -> dict[str, float]:
    with nnunet_messages_to_log():
        labels, properties = predictor.writer.read_seg(str(path))
    return by_short_name(region_volumes_mm3(labels[0].astype("uint16"), predictor.regions, properties["spacing"]))


def _cases_in(outputs: Outputs) -> set[str]:
    """Names of the label maps that lie in the output folder."""
    return {path.name.removesuffix(outputs.file_ending) for path in outputs.folder.glob(f"*{outputs.file_ending}")}
