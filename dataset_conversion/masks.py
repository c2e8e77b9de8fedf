"""Chooses a case's mask by the label policy and reads it: labels rounded, checked, mapped to the written numbering."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nnunetv2_comnet.dataset_conversion import checks
from nnunetv2_comnet.dataset_conversion.findings import Finding, error, warning
from nnunetv2_comnet.dataset_conversion.layouts.base import Layout, MaskSource
from nnunetv2_comnet.dataset_conversion.volumes import Volume, read_volume
from nnunetv2_comnet.errors import ConfigurationError
from nnunetv2_comnet.label_schemes import LabelScheme


@dataclass(frozen=True)
class ChosenMask:
    """A mask in written labels, uint8, and how many `voxels` each label but 0 has. `applied_map` names the user's label
    mappings that changed a voxel of it."""

    kind: str
    path: Path
    labels: npt.NDArray[np.uint8]
    voxels: Mapping[int, int]
    applied_map: str
    usable_as_it_is: bool


def policy_masks(layout: Layout, policy: str | None) -> tuple[MaskSource, ...]:
    """Returns the policy's masks in order of preference. Raises `ConfigurationError` for an unknown policy."""
    policies = layout.policies
    if policy is None:
        policy = next(iter(policies))
    elif not layout.label_policies:
        raise ConfigurationError(f"--label-policy does not apply to layout {layout.name}, which has one mask per case")
    if policy not in policies:
        raise ConfigurationError(
            f"layout {layout.name} has no label policy '{policy}'; its policies are: {', '.join(policies)}"
        )
    by_kind = {mask.kind: mask for mask in layout.masks}
    return tuple(by_kind[kind] for kind in policies[policy])


def parse_label_map(text: str) -> dict[int, int]:
    """Parses `3:1,5:0` to {3: 1, 5: 0}: labels of the source, and the written labels that they become."""
    pairs: dict[int, int] = {}
    for part in text.split(","):
        source, _, target = part.partition(":")
        try:
            key, value = int(source), int(target)
        except ValueError:
            raise ConfigurationError(
                f"--label-map '{text}' is not of the form 3:1,5:0 (source label:written label)"
            ) from None
        if key in pairs:
            raise ConfigurationError(f"--label-map '{text}' maps label {key} twice")
        pairs[key] = value
    return pairs


def choose_mask(
    found: Mapping[str, Path],
    candidates: Sequence[MaskSource],
    scheme: LabelScheme,
    label_map: Mapping[int, int],
    reference: Volume,
    tolerance: float,
) -> tuple[ChosenMask | None, list[Finding]]:
    """Reads the first candidate that may be used.

    Args:
        found: The files of the case's masks, by kind.
        candidates: The masks of the label policy, in order of preference.
        scheme: How the source numbers tissues, `label_map` included.
        label_map: The user's additions to the scheme.
        reference: The first channel, on whose grid the mask must lie.
        tolerance: In mm for spacing and origin, without unit for direction.

    Returns:
        The mask with a warning for each one passed over, or None with the errors.
    """
    notes: list[Finding] = []
    refusals: list[Finding] = []
    for candidate in candidates:
        path = found.get(candidate.kind)
        if path is None:
            continue
        volume, problems = read_volume(path, tolerance)
        if volume is None:
            return None, problems
        if problems := checks.same_grid(reference.grid, reference.path.name, volume.grid, path, tolerance):
            if not candidate.only_where_grid_matches:
                return None, problems
            notes.append(warning("mask-other-grid", f"{problems[0].text}; this mask was passed over"))
        elif problems := checks.non_finite(volume.data, path.name) or checks.fractional_labels(volume.data, path.name):
            return None, problems
        else:
            where, labels = _nonzero(volume.data)
            if not (problems := checks.unknown_labels(labels, scheme.known_labels, path.name)):
                return _mapped(candidate.kind, volume, where, labels, scheme, label_map), notes
            if not candidate.only_where_labels_known:
                return None, problems
            notes.append(warning("undocumented-labels", f"{problems[0].text}; this mask was passed over"))
        refusals += problems
    return None, refusals or missing_mask(found, candidates)


def missing_mask(found: Mapping[str, Path], candidates: Sequence[MaskSource]) -> list[Finding]:
    """Finds that the case has no mask of the policy."""
    if any(candidate.kind in found for candidate in candidates):
        return []
    wanted = " or ".join(pattern for candidate in candidates for pattern in candidate.files)
    return [error("missing-mask", f"no mask: no file {wanted}")]


def _mapped(
    kind: str,
    volume: Volume,
    where: npt.NDArray[np.intp],
    labels: npt.NDArray[Any],
    scheme: LabelScheme,
    label_map: Mapping[int, int],
) -> ChosenMask:
    labels = labels.astype(np.int64)
    values = scheme.canonical(labels)
    written = np.zeros(volume.data.shape, np.uint8, order="F")
    written.ravel(order="F")[where] = values
    voxels = {label: int(count) for label, count in enumerate(np.bincount(values)) if label and count}
    present = set(np.unique(labels).tolist())
    applied = ",".join(f"{key}:{value}" for key, value in sorted(label_map.items()) if key in present)
    unchanged = volume.clean and volume.data.dtype == np.uint8 and bool(np.array_equal(values, labels))
    return ChosenMask(kind, volume.path, written, voxels, applied, unchanged)


def _nonzero(data: npt.NDArray[Any]) -> tuple[npt.NDArray[np.intp], npt.NDArray[Any]]:
    """Returns the positions, x fastest, where a mask is not 0, and the rounded labels there."""
    flat = data.ravel(order="F")
    where = np.flatnonzero(flat != 0)  # of truth values numpy finds them much faster than of numbers
    return where, np.rint(flat[where])  # still floats: no integer type holds a label of 1e30
