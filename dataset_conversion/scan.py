"""Finds the cases of a layout below a folder: which file is which channel, which masks there are."""

import logging
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nnunetv2_comnet.dataset_conversion.findings import Finding, error
from nnunetv2_comnet.dataset_conversion.layouts.base import CHANNELS, Layout, compile_pattern
from nnunetv2_comnet.errors import DataError
from nnunetv2_comnet.files import same_when_folded

logger = logging.getLogger(__name__)

# nnU-Net and the shell take these as they are; a leading hyphen would read as an option.
_FIT_NAME = re.compile(r"\w[\w.-]*")
LONGEST_NAME = 200  # bytes: endings and the names of maps must fit into the 255 of a file's name
BAD_NAME = "bad-case-name"


@dataclass(frozen=True)
class CaseFiles:
    """What was found of one case. `findings` holds what is missing or doubled."""

    case: str
    patient: str
    channels: Mapping[str, Path]
    masks: Mapping[str, Path]
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class _Rule:
    role: str
    rank: int
    depth: int
    expression: re.Pattern[str]
    in_case_folder: bool


@dataclass
class _Hits:
    """A case's files by role and rank, and its folders, by their real paths: a link is no second file."""

    files: dict[str, dict[int, dict[Path, Path]]] = field(default_factory=dict)
    case_folders: dict[Path, Path] = field(default_factory=dict)

    def add(self, rule: _Rule, path: Path) -> None:
        self.files.setdefault(rule.role, {}).setdefault(rule.rank, {}).setdefault(path.resolve(), path)
        if rule.in_case_folder:
            self.case_folders.setdefault(path.parent.resolve(), path.parent)


def scan(source: Path, layout: Layout, variant: str | None = None, skip: Path | None = None) -> list[CaseFiles]:
    """Finds all cases below `source`, sorted by identifier; the folder `skip` is not entered.

    Raises `DataError` where `source` is no folder or holds no case at all.
    """
    if not os.path.isdir(source):
        raise DataError(
            f"SOURCE {source} is {'a file' if os.path.exists(source) else 'not there'}; give the folder that holds the "
            "patients' folders (unpack archives first)"
        )
    patterns = layout.channel_patterns(variant)
    rules = list(_rules(layout, patterns))
    found: dict[str, _Hits] = defaultdict(_Hits)
    for folder, files, is_leaf in _walk(Path(os.path.abspath(source)), skip):
        parts = folder.parts
        for case in _cases_of_folder(folder, layout, patterns) if is_leaf else ():
            _ = found[case]  # a case, but no second place of it: some datasets have several trees of such folders
        for name in files:
            for rule in rules:
                tail = "/".join([*parts, name][-rule.depth :])
                if match := rule.expression.fullmatch(tail):
                    found[match["case"]].add(rule, folder / name)
    if not found:
        wanted = ", ".join(patterns[channel][0] for channel in dict.fromkeys(CHANNELS))
        raise DataError(
            f"no case of layout {layout.name} below {source}: looked for files whose path ends like {wanted}, where "
            f"{{case}} matches {layout.case}; is the layout right, and SOURCE the folder above the patients' folders?"
        )
    twins = same_when_folded(found)
    return [_case(case, found[case], layout, patterns, twins.get(case, ())) for case in sorted(found)]


def _rules(layout: Layout, patterns: Mapping[str, tuple[str, ...]]) -> Iterator[_Rule]:
    wanted = {**patterns, **{f"mask:{mask.kind}": mask.files for mask in layout.masks}}
    for role, files in wanted.items():
        for rank, pattern in enumerate(files):
            depth = pattern.count("/") + 1
            in_case_folder = "{case}" in pattern.rpartition("/")[0]
            yield _Rule(role, rank, depth, compile_pattern(pattern, layout.case), in_case_folder)


def _walk(
    folder: Path, skip: Path | None, above: frozenset[Path] = frozenset()
) -> Iterator[tuple[Path, list[str], bool]]:
    """Yields folders, their files' names, and whether they have no subfolders.

    Follows links, once where they form a circle; does not enter hidden folders.
    """
    real = folder.resolve()
    if real in above or (skip is not None and real == skip.resolve()):
        return
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as problem:
        logger.warning("folder %s cannot be read and is passed over: %s", folder, problem.strerror)
        return
    folders = [e.name for e in entries if _holds(e.is_dir) and not e.name.startswith(".") and e.name != "__MACOSX"]
    yield folder, [entry.name for entry in entries if _holds(entry.is_file)], not folders
    for name in folders:
        yield from _walk(folder / name, skip, above | {real})


def _holds(check: Callable[[], bool]) -> bool:
    """Returns what `is_dir` or `is_file` of an entry says; False for a link that leads back to itself."""
    try:
        return check()
    except OSError:
        return False


def _cases_of_folder(folder: Path, layout: Layout, patterns: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    """Yields the case of a folder that is named as a case's folder, even where none of its files is there."""
    for parent in {files[0].rpartition("/")[0] for files in patterns.values()}:
        if "{case}" in parent:
            tail = "/".join(folder.parts[-(parent.count("/") + 1) :])
            if match := compile_pattern(parent, layout.case).fullmatch(tail):
                yield match["case"]


def _case(
    case: str, hits: _Hits, layout: Layout, patterns: Mapping[str, tuple[str, ...]], twins: Sequence[str]
) -> CaseFiles:
    findings = []
    if not _FIT_NAME.fullmatch(case) or len(os.fsencode(case)) > LONGEST_NAME:
        text = (
            f"nnU-Net's file names take letters, digits, '_', '-' and '.', beginning with a letter or digit, at most "
            f"{LONGEST_NAME} bytes"
        )
        findings.append(error(BAD_NAME, f"the identifier {case!r} cannot be used: {text}; rename the case"))
    if twins:
        text = f"the identifiers {case!r} and {twins[0]!r} differ only in how they are written; rename one of them"
        findings.append(error("name-collision", text))
    if len(hits.case_folders) > 1:
        places = " and ".join(str(folder) for folder in sorted(hits.case_folders.values()))
        findings.append(error("duplicate-case", f"case {case} is in several places: {places}"))
    chosen = {role: sorted(ranks[min(ranks)].values()) for role, ranks in hits.files.items()}
    for paths in chosen.values():
        if len(paths) > 1 and len(hits.case_folders) <= 1:
            code = "ambiguous-file" if len({path.parent for path in paths}) == 1 else "duplicate-case"
            names = " and ".join(str(path) for path in paths)
            findings.append(error(code, f"case {case} has one file too many: {names}; keep one of them"))
    for channel in CHANNELS:
        if channel not in chosen:
            wanted = " or ".join(pattern.replace("{case}", case) for pattern in patterns[channel])
            findings.append(error("missing-modality", f"{channel} is missing: no file {wanted}"))
    first = {role: paths[0] for role, paths in chosen.items()}
    return CaseFiles(
        case,
        layout.patient_of(case),
        {channel: first[channel] for channel in CHANNELS if channel in first},
        {mask.kind: first[f"mask:{mask.kind}"] for mask in layout.masks if f"mask:{mask.kind}" in first},
        tuple(findings),
    )
