"""Chooses rules on held-out cases: greedily in a fixed order, values by nested cross-validation over folds.

For each fold there is a path: the values that the other folds choose. A case is measured under its own fold's path, so
that no value is judged by a case that chose it. The fitted rules are the path that all cases choose.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nnunetv2_comnet.errors import ConfigurationError
from nnunetv2_comnet.postprocessing.families import Family
from nnunetv2_comnet.postprocessing.measuring import Bench, Question, Table, bench
from nnunetv2_comnet.postprocessing.predictions import PredictedCase
from nnunetv2_comnet.postprocessing.rule_list import Rules
from nnunetv2_comnet.progress import Progress, silent
from nnunetv2_comnet.statistics import mean_of_known, paired_interval

CRITERION = (
    "kept if the mean over all cases of the nested gain (each case under the value that the other folds chose) is "
    "above 0, its paired 95 % bootstrap interval does not reach below 0, and the protocol's mean over the fitted data "
    "is not lower with the value that all cases choose"
)
_DIGITS = 12  # gains equal to so many decimals are equal
_ALL = None  # the path that every case chooses
Paths = dict[int | None, Rules]
Off = object()


@dataclass(frozen=True)
class Gain:
    """Mean of paired differences over cases, and its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Step:
    """What became of a family.

    Attributes:
        gains: mean gain of each value over all cases, not nested.
        chosen: the value that all cases choose, or `Off`.
        by_fold: what the other folds chose for each fold's cases.
        nested: the gain on cases that did not choose the value.
        changed: cases whose label map the chosen value changes.
        kept: whether the rule is kept.
        why: the reason for that.
    """

    family: Family
    gains: tuple[float, ...]
    chosen: Any
    by_fold: Mapping[int, Any]
    nested: Gain
    changed: int
    kept: bool
    why: str


@dataclass(frozen=True)
class Fit:
    """The fitted rules and their evidence.

    Attributes:
        rules: those kept, in their order.
        gain: nested, of all of them together.
        before: the protocol's means over the fitted data, (regions, metrics); `after` the same with the rules.
        voxel_mm3: of the cases, None where it differs.
        cases: name -> fold.
    """

    rules: Rules
    steps: tuple[Step, ...]
    gain: Gain
    before: Table
    after: Table
    voxel_mm3: float | None
    cases: Mapping[str, int]


def fit(
    cases: Sequence[PredictedCase],
    families: Sequence[Family],
    question: Question,
    *,
    jobs: int = 1,
    progress: Progress = silent,
) -> Fit:
    """Fits rules on held-out cases of two folds or more.

    Args:
        cases: held-out predictions.
        families: what may be chosen, in their order.
        question: what is measured.
        jobs: processes.
        progress: shows what is waited for.

    Raises:
        ConfigurationError: there are fewer than two folds.
        DataError: a case cannot be read.
    """
    folds = np.array([case.fold for case in cases])
    if len(set(folds.tolist())) < 2:
        raise ConfigurationError("rules need the held-out cases of two folds or more; train more folds")
    with bench(cases, question, jobs, progress) as measured:
        measured.measure([()], "scoring")
        paths: Paths = {_ALL: (), **{int(fold): () for fold in sorted(set(folds.tolist()))}}
        steps = []
        for number, family in enumerate(families, start=1):
            title = f"{number}/{len(families)} {family.rule} {family.region}".strip()
            step, paths = _step(measured, family, folds, paths, title)
            steps.append(step)
        before, final = _objective(measured, ()), paths[_ALL]
        return Fit(
            rules=final,
            steps=tuple(steps),
            gain=_gain(_nested(measured, paths, folds) - before),
            before=mean_of_known(measured.values(()), axis=0),
            after=mean_of_known(measured.values(final), axis=0),
            voxel_mm3=_one_voxel(measured),
            cases={case.name: case.fold for case in cases},
        )


def _step(measured: Bench, family: Family, folds: npt.NDArray[Any], paths: Paths, title: str) -> tuple[Step, Paths]:
    """Tries one family after the rules of every path; paths with the same rules share the work."""
    candidates = {
        path: [rules, *(family.extended(rules, value) for value in family.values)] for path, rules in paths.items()
    }
    measured.measure([rules for lists in candidates.values() for rules in lists], title)
    gains = {path: _gains(measured, lists) for path, lists in candidates.items()}
    choice: dict[int | None, int] = {}
    nested = np.zeros(len(folds))
    for path, table in gains.items():
        held = folds == path
        choice[path] = _best(table if path is _ALL else table[~held])
        if path is not _ALL:
            nested[held] = table[held, choice[path]]
    gain = _gain(nested)
    best = candidates[_ALL][choice[_ALL]]
    changed = sum(a != b for a, b in zip(measured.maps_of(paths[_ALL]), measured.maps_of(best), strict=True))
    ever = any(measured.maps_of(rules) != measured.maps_of(paths[_ALL]) for rules in candidates[_ALL])
    fails = _protocol_mean(measured, best) < _protocol_mean(measured, paths[_ALL])
    why = _objection(family, choice[_ALL], ever, gain, fails)
    step = Step(
        family=family,
        gains=tuple(float(mean) for mean in gains[_ALL].mean(axis=0)[1:]),
        chosen=_value(family, choice[_ALL]),
        by_fold={path: _value(family, index) for path, index in choice.items() if path is not _ALL},
        nested=gain,
        changed=changed,
        kept=not why,
        why=why or "helps held-out cases, and the interval does not reach below 0",
    )
    if why:
        return step, paths
    return step, {path: candidates[path][index] for path, index in choice.items()}


def _objection(family: Family, index: int, ever: bool, gain: Gain, fails: bool) -> str:
    """Says why a family is not kept; "" if it is."""
    if not ever:
        return "changes no case"
    if index == 0:
        return "no value is better than none"
    if gain.mean <= 0:
        return "no gain on cases that did not choose the value"
    if gain.low < 0:
        return "the interval of the gain reaches below 0"
    return "the protocol's mean would be lower" if fails else ""


def _value(family: Family, index: int) -> Any:
    return Off if index == 0 else family.values[index - 1]


def _best(gains: Table) -> int:
    """Finds the candidate of highest mean gain, of equals the weakest, in gains (cases, candidates)."""
    return int(np.argmax(gains.mean(axis=0).round(_DIGITS)))


def _gains(measured: Bench, lists: Sequence[Rules]) -> Table:
    """Computes what each list adds to the first, (cases, candidates)."""
    objectives = np.stack([_objective(measured, rules) for rules in lists], axis=1)
    return (objectives - objectives[:, :1]).round(_DIGITS)


def _objective(measured: Bench, rules: Rules) -> Table:
    """Averages each case's scores over regions and metrics, (cases,)."""
    return measured.counted(rules).mean(axis=(1, 2))


def _nested(measured: Bench, paths: Paths, folds: npt.NDArray[Any]) -> Table:
    """Scores each case under the rules of its own fold's path, (cases,)."""
    result = np.empty(len(folds))
    for path, rules in paths.items():
        if path is not _ALL:
            result[folds == path] = _objective(measured, rules)[folds == path]
    return result


def _gain(differences: Table) -> Gain:
    differences = differences.round(_DIGITS)
    return Gain(float(differences.mean()), *paired_interval(differences))


def _protocol_mean(measured: Bench, rules: Rules) -> float:
    return float(np.nanmean(mean_of_known(measured.values(rules), axis=0)).round(_DIGITS))


def _one_voxel(measured: Bench) -> float | None:
    volumes = np.array([np.prod(case.spacing_mm) for case in measured.packed])
    return float(np.median(volumes)) if np.ptp(volumes) <= 1e-3 * volumes.min() else None
