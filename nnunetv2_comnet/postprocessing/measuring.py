"""Scores of held-out cases under many lists of rules: a case is read once, and each different label map scored once."""

import contextlib
import hashlib
import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nnunetv2_comnet.crossval import read_probabilities
from nnunetv2_comnet.errors import ConfigurationError, DataError
from nnunetv2_comnet.grid import Box, box_around
from nnunetv2_comnet.postprocessing.predictions import PredictedCase
from nnunetv2_comnet.postprocessing.rule_list import Rules
from nnunetv2_comnet.postprocessing.volume import FIRST_VOXEL, Volume
from nnunetv2_comnet.progress import Progress
from nnunetv2_comnet.regions import Labels, Regions, short_name
from nnunetv2_comnet.workers import Workers

Score = Callable[[Labels, Labels, tuple[float, ...]], Mapping[str, Mapping[str, float]]]
Reader = Callable[[Path], tuple[Labels, tuple[float, ...]]]
Table = npt.NDArray[np.float64]

MARGIN = 8  # voxels kept around the tumour: more than any protocol dilates a lesion
BOTH_EMPTY, OTHERWISE = 1.0, 0.0  # what an undefined score counts as when cases are compared


@dataclass(frozen=True)
class Question:
    """What is measured.

    Attributes:
        regions: of the label maps.
        metrics: names; higher must be better.
        score: from truth, prediction and spacing to region's short name -> metric -> value.
        reader: of masks.
        lowest: probability below which no rule decides.
    """

    regions: Regions
    metrics: tuple[str, ...]
    score: Score
    reader: Reader
    lowest: float = 0.5


@dataclass(frozen=True)
class Packed:
    """A case cut to the box around its tumour, compressed; `probabilities` are read again when they are needed."""

    name: str
    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    box: Box
    kind: str
    truth: bytes
    labels: bytes
    probabilities: Path | None

    def unpacked(self, content: bytes) -> Labels:
        """Unpacks labels (Z, Y, X) of the box."""
        shape = tuple(side.stop - side.start for side in self.box)
        return np.frombuffer(zlib.decompress(content), self.kind).reshape(shape)


@dataclass(frozen=True)
class Scores:
    """values: (regions, metrics) as the protocol gives them; counted: the same without NaN (see BOTH_EMPTY)."""

    values: Table
    counted: Table


@dataclass
class Bench:
    """The cases, and what is known of them: the label map that a list of rules makes, the scores of a label map."""

    question: Question
    packed: list[Packed]
    workers: Workers
    progress: Progress
    maps: list[dict[str, str]] = field(default_factory=list)
    scores: list[dict[str, Scores]] = field(default_factory=list)

    def measure(self, lists: Iterable[Rules], title: str) -> None:
        """Applies these lists and scores the label maps, so that `counted`, `values` and `maps_of` know them."""
        wanted = {key_of(rules): rules for rules in lists}
        new = {key: rules for key, rules in wanted.items() if key not in self.maps[0]}
        if not new:
            return
        tasks = [(case, new, frozenset(known)) for case, known in zip(self.packed, self.scores, strict=True)]
        answers = self.workers.run(partial(_measured, self.question), tasks, name=lambda task: task[0].name)
        for number, (maps, scores) in enumerate(self.progress(answers, title, len(tasks))):
            self.maps[number].update(maps)
            self.scores[number].update(scores)

    def maps_of(self, rules: Rules) -> list[str]:
        """Returns for each case the digest of the label map that the rules make."""
        return [maps[key_of(rules)] for maps in self.maps]

    def values(self, rules: Rules) -> Table:
        """Returns scores (cases, regions, metrics) as the protocol gives them, NaN where it has no value."""
        return np.stack([known[name].values for known, name in zip(self.scores, self.maps_of(rules), strict=True)])

    def counted(self, rules: Rules) -> Table:
        """Returns scores (cases, regions, metrics) without NaN."""
        return np.stack([known[name].counted for known, name in zip(self.scores, self.maps_of(rules), strict=True)])


@contextlib.contextmanager
def bench(cases: Sequence[PredictedCase], question: Question, jobs: int, progress: Progress) -> Iterator[Bench]:
    """Reads the cases, in `jobs` processes. Raises `DataError` that names a case that cannot be used."""
    with Workers(jobs) as workers:
        read = workers.run(partial(_pack, question), cases, name=lambda case: case.name)
        packed = list(progress(read, "reading", len(cases)))
        yield Bench(question, packed, workers, progress, [{} for _ in packed], [{} for _ in packed])


def key_of(rules: Rules) -> str:
    """Writes the rules as text."""
    return "\n".join(rule.model_dump_json() for rule in rules)


def _pack(question: Question, case: PredictedCase) -> Packed:
    labels, spacing = question.reader(case.prediction)
    truth, _ = question.reader(case.truth)
    if labels.shape != truth.shape:
        raise DataError(f"{case.prediction} is on another grid than {case.truth}: {labels.shape} and {truth.shape}")
    for path, mask in ((case.prediction, labels), (case.truth, truth)):
        if unknown := sorted(set(np.unique(mask).tolist()) - question.regions.known - {0}):
            raise DataError(f"{path} holds label {unknown[0]}, which no region of dataset.json has")
    anywhere = (labels > 0) | (truth > 0)
    if case.probabilities is not None:
        maps = read_probabilities(case.probabilities, (len(question.regions), *labels.shape))
        anywhere |= (maps > question.lowest).any(axis=0)
    box = box_around(anywhere, MARGIN) or FIRST_VOXEL
    kind = np.promote_types(labels.dtype, truth.dtype)
    return Packed(
        case.name,
        labels.shape,
        spacing,
        box,
        kind.str,
        zlib.compress(truth[box].astype(kind).tobytes(), 1),
        zlib.compress(labels[box].astype(kind).tobytes(), 1),
        case.probabilities,
    )


def _measured(
    question: Question, task: tuple[Packed, Mapping[str, Rules], frozenset[str]]
) -> tuple[dict[str, str], dict[str, Scores]]:
    """Applies lists of rules to a case: the digest of each list's label map, and the scores of new label maps."""
    case, lists, known = task
    truth = case.unpacked(case.truth)
    volumes = {
        "": Volume(
            case.unpacked(case.labels), question.regions, case.spacing_mm, _probabilities(case, lists, question.regions)
        )
    }
    maps, scores, digests = {}, {}, {}
    for key, rules in lists.items():
        volume = _after(rules, volumes)
        if id(volume) not in digests:  # `volumes` keeps them alive
            digests[id(volume)] = _digest(volume.labels)
        maps[key] = digest = digests[id(volume)]
        if digest not in known and digest not in scores:
            scores[digest] = _scored(question, truth, volume.labels, case)
    return maps, scores


def _digest(labels: Labels) -> str:
    """Computes a digest that is the same for the same labels, whatever their type."""
    small = labels.astype(np.uint8, copy=False) if labels.max() <= np.iinfo(np.uint8).max else labels
    return hashlib.blake2b(np.ascontiguousarray(small).data, digest_size=16).hexdigest()


def _probabilities(case: Packed, lists: Mapping[str, Rules], regions: Regions) -> npt.NDArray[np.float32] | None:
    if not any(rule.uses_probabilities for rules in lists.values() for rule in rules):
        return None
    if case.probabilities is None:
        raise ConfigurationError("rules on probabilities are to be measured, but probabilities were not asked for")
    inside = (slice(None), *case.box)
    return read_probabilities(case.probabilities, (len(regions), *case.shape))[inside]


def _after(rules: Rules, volumes: dict[str, Volume]) -> Volume:
    """Applies the rules; what lists share from their beginning is done once, and its components are numbered once."""
    key = key_of(rules)
    if key not in volumes:
        volumes[key] = rules[-1].applied(_after(rules[:-1], volumes))
    return volumes[key]


def _scored(question: Question, truth: Labels, labels: Labels, case: Packed) -> Scores:
    found = question.score(truth, labels, case.spacing_mm)
    values = np.full((len(question.regions), len(question.metrics)), math.nan)
    counted = values.copy()
    for row, name in enumerate(question.regions):
        empty = not question.regions.mask(truth, name).any() and not question.regions.mask(labels, name).any()
        for column, metric in enumerate(question.metrics):
            try:
                value = float(found[short_name(name)][metric])
            except KeyError as error:
                raise ConfigurationError(
                    f"the protocol gives no {metric} of {name}: choose another --metric"
                ) from error
            values[row, column] = value
            counted[row, column] = (BOTH_EMPTY if empty else OTHERWISE) if math.isnan(value) else value
    return Scores(values, counted)
