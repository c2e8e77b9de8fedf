"""Converts one case, in a worker process: read, check, choose the mask, write whole files, keep a record.

The record (`.comnet/cases/<case>.json` in the dataset's folder) is written last and removed first, so that an
interrupted case is converted again and an unchanged one is not. It also says which copies a link could replace, so
that `--link` after a conversion reads no voxels again.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from pydantic import BaseModel

from nnunetv2_comnet.allocator import keep_freed_memory
from nnunetv2_comnet.dataset_conversion import checks
from nnunetv2_comnet.dataset_conversion.findings import Finding, error, has_error
from nnunetv2_comnet.dataset_conversion.layouts.base import CHANNELS, MaskSource
from nnunetv2_comnet.dataset_conversion.masks import ChosenMask, choose_mask, missing_mask
from nnunetv2_comnet.dataset_conversion.scan import CaseFiles
from nnunetv2_comnet.dataset_conversion.volumes import Volume, read_volume, write_volume
from nnunetv2_comnet.errors import DataError
from nnunetv2_comnet.files import link_whole, read_checked, write_json
from nnunetv2_comnet.label_schemes import LabelScheme

RULES_VERSION = 3  # raise it when a check or the written files change: every case is then converted again
ENDING = ".nii.gz"


@dataclass(frozen=True)
class CaseSettings:
    """What is the same for all cases of a run."""

    dataset_folder: Path
    scheme: LabelScheme
    label_map: Mapping[int, int]
    masks: tuple[MaskSource, ...]
    stacked: tuple[str, ...]
    tolerance: float
    keep_empty: bool
    link: bool
    preview: bool


@dataclass(frozen=True)
class CaseResult:
    """What became of a case. `voxels` counts the mask's written labels; `links` the files that were not copied;
    `linkable` names, by output, the source files that need no change."""

    case: str
    patient: str
    findings: tuple[Finding, ...] = ()
    mask_kind: str = ""
    mask_file: str = ""
    label_map: str = ""
    links: int = 0
    shape: tuple[int, ...] = ()
    spacing_mm: tuple[float, ...] = ()
    voxels: Mapping[str, int] = field(default_factory=dict)
    linkable: Mapping[str, str] = field(default_factory=dict)

    @property
    def converted(self) -> bool:
        return not has_error(self.findings)

    def codes(self, severity: str) -> list[str]:
        """Returns the codes of the findings of that severity, each once, in the order found."""
        return list(dict.fromkeys(finding.code for finding in self.findings if finding.severity == severity))


class _Record(BaseModel):
    """What the record holds; `outputs` are names below the dataset's folder with sizes in bytes."""

    fingerprint: str
    linked: bool
    outputs: list[tuple[str, int]]
    result: CaseResult


def image_path(folder: Path, case: str, channel: int) -> Path:
    return folder / "imagesTr" / f"{case}_{channel:04d}{ENDING}"


def label_path(folder: Path, case: str) -> Path:
    return folder / "labelsTr" / f"{case}{ENDING}"


def preview_path(folder: Path, case: str) -> Path:
    return folder / "previews" / f"{case}.png"


def record_path(folder: Path, case: str) -> Path:
    return folder / ".comnet" / "cases" / f"{case}.json"


def output_paths(folder: Path, case: str) -> list[Path]:
    return [*(image_path(folder, case, index) for index in range(len(CHANNELS))), label_path(folder, case)]


def remove_case(folder: Path, case: str) -> None:
    """Deletes whatever an earlier run wrote for a case; the record goes first."""
    for path in (record_path(folder, case), *output_paths(folder, case), preview_path(folder, case)):
        path.unlink(missing_ok=True)


def fingerprint(files: CaseFiles, settings: CaseSettings) -> str:
    """Computes a digest of the source files (path, size, time of change) and of every option that affects a check."""
    sources = [(path, path.stat()) for path in [*files.channels.values(), *files.masks.values()]]
    content = {
        "rules": RULES_VERSION,
        "patient": files.patient,
        "sources": [[str(path), status.st_size, status.st_mtime_ns] for path, status in sources],
        "found": [vars(finding) for finding in files.findings],
        "scheme": [settings.scheme.name, sorted(settings.scheme.to_canonical.items())],
        "regions": list(settings.scheme.regions.items()),
        "label_map": sorted(settings.label_map.items()),
        "masks": [[mask.kind, *mask.files, mask.only_where_grid_matches] for mask in settings.masks],
        "options": [settings.stacked, settings.tolerance, settings.keep_empty],
    }
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def earlier_result(files: CaseFiles, settings: CaseSettings) -> CaseResult | None:
    """Returns the result of an earlier run; None where source, options or outputs have changed since."""
    path = record_path(settings.dataset_folder, files.case)
    if not path.is_file():
        return None
    try:
        record = read_checked(path, _Record, "it is written again")
        kept = (
            record.fingerprint == fingerprint(files, settings)
            and (record.linked == settings.link or not record.outputs)
            and all((settings.dataset_folder / name).stat().st_size == size for name, size in record.outputs)
        )
        result = record.result if kept else None
    except (DataError, OSError):  # a damaged record is no record
        return None
    if result and result.converted and settings.preview:
        return result if preview_path(settings.dataset_folder, files.case).is_file() else None
    return result


def convert_case(files: CaseFiles, settings: CaseSettings) -> CaseResult:
    """Converts or refuses one case. Raises `OutputError` where a file cannot be written, e.g. on a full disk."""
    keep_freed_memory()
    folder = settings.dataset_folder
    mark = fingerprint(files, settings)
    copied = earlier_result(files, replace(settings, link=False)) if settings.link else None
    record_path(folder, files.case).unlink(missing_ok=True)
    try:
        result = _convert(files, settings) if copied is None else _linked(copied, folder)
    except MemoryError:
        result = CaseResult(files.case, files.patient, (error("out-of-memory", "not enough memory; use --jobs 1"),))
    outputs = output_paths(folder, files.case) if result.converted else []
    if not result.converted:
        remove_case(folder, files.case)
    record = _Record(
        fingerprint=mark,
        linked=settings.link and result.converted,
        outputs=[(str(path.relative_to(folder)), path.stat().st_size) for path in outputs],
        result=result,
    )
    write_json(record_path(folder, files.case), record.model_dump(mode="json"))
    return result


def _linked(copied: CaseResult, folder: Path) -> CaseResult:
    """Puts links in place of the copies that equal their source file, in a case that an earlier run converted."""
    for name, source in copied.linkable.items():
        link_whole(folder / name, Path(source))
    return replace(copied, links=len(copied.linkable))


def _convert(files: CaseFiles, settings: CaseSettings) -> CaseResult:
    findings = [*files.findings, *missing_mask(files.masks, settings.masks)]
    volumes, mask = dict[str, Volume](), None
    if not has_error(findings):
        volumes, problems = _read_channels(files, settings)
        findings += problems
    if not has_error(findings):
        mask, problems = choose_mask(
            files.masks,
            settings.masks,
            settings.scheme,
            settings.label_map,
            volumes[CHANNELS[0]],
            settings.tolerance,
        )
        findings += problems
    if mask is not None:
        findings += _check_mask(volumes, mask, settings)
    if mask is None or has_error(findings):
        return CaseResult(files.case, files.patient, tuple(findings))
    return _write(files, settings, volumes, mask, findings)


def _read_channels(files: CaseFiles, settings: CaseSettings) -> tuple[dict[str, Volume], list[Finding]]:
    """Reads the four channels and finds every defect that can be seen without the mask."""
    volumes: dict[str, Volume] = {}
    findings: list[Finding] = []
    if settings.stacked:
        path = files.channels[CHANNELS[0]]
        stack, findings = read_volume(path, settings.tolerance, len(settings.stacked))
        if stack is not None:
            for channel in CHANNELS:
                data = np.asfortranarray(stack.data[..., settings.stacked.index(channel)])
                volumes[channel] = Volume(path, data, stack.affine, clean=False)
    else:
        for channel in CHANNELS:
            volume, problems = read_volume(files.channels[channel], settings.tolerance)
            findings += problems
            if volume is not None:
                volumes[channel] = volume
    if len(volumes) < len(CHANNELS):
        return volumes, findings
    first = volumes[CHANNELS[0]]
    for channel, volume in volumes.items():
        name = f"{channel} ({volume.path.name})"
        findings += checks.same_grid(first.grid, first.path.name, volume.grid, volume.path, settings.tolerance)
        findings += checks.non_finite(volume.data, name) or checks.constant_channel(volume.data, name)
    if not has_error(findings):
        findings += checks.duplicate_channels({channel: volume.data for channel, volume in volumes.items()})
    return volumes, findings


def _check_mask(volumes: Mapping[str, Volume], mask: ChosenMask, settings: CaseSettings) -> list[Finding]:
    name = mask.path.name
    findings = checks.empty_mask(mask.labels, name, settings.keep_empty)
    if not mask.labels.any():
        return findings
    channels = {channel: volume.data for channel, volume in volumes.items()}
    first, *others = channels.values()
    brain = first != 0
    scratch = np.empty_like(brain)
    for data in others:
        brain |= np.not_equal(data, 0, out=scratch)
    findings += checks.tumour_outside_brain(mask.labels, brain, name)
    return findings + checks.weak_contrast(channels, mask.labels, brain)


def _write(
    files: CaseFiles, settings: CaseSettings, volumes: Mapping[str, Volume], mask: ChosenMask, findings: list[Finding]
) -> CaseResult:
    folder, case = settings.dataset_folder, files.case
    first = volumes[CHANNELS[0]]
    images = [(image_path(folder, case, index), volumes[channel]) for index, channel in enumerate(CHANNELS)]
    label = label_path(folder, case)
    unchanged = {target: volume.path for target, volume in images if volume.clean}
    unchanged |= {label: mask.path} if mask.usable_as_it_is else {}
    for target, volume in [*images, (label, Volume(mask.path, mask.labels, first.affine, clean=False))]:
        if settings.link and target in unchanged:
            link_whole(target, unchanged[target])
        else:
            write_volume(target, volume.data, volume.affine)
    if settings.preview:
        from nnunetv2_comnet.dataset_conversion.preview import draw_preview

        shown = {channel: volume.data for channel, volume in volumes.items()}
        draw_preview(preview_path(folder, case), case, shown, mask.labels, first.affine)
    else:
        preview_path(folder, case).unlink(missing_ok=True)  # an older picture would show what is no longer there
    written = sorted({label for members in settings.scheme.regions.values() for label in members})
    return CaseResult(
        case,
        files.patient,
        tuple(findings),
        mask_kind=mask.kind,
        mask_file=mask.path.name,
        label_map=mask.applied_map,
        links=len(unchanged) if settings.link else 0,
        shape=first.grid.shape,
        spacing_mm=tuple(round(value, 6) for value in first.grid.spacing_mm),
        voxels={str(label): mask.voxels.get(label, 0) for label in written},
        linkable={str(target.relative_to(folder)): str(source) for target, source in unchanged.items()},
    )
