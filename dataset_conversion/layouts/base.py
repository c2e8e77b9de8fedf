"""What a layout declares, and the small language of its file patterns.

A pattern describes the end of a file's path: `{case}/{case}_t1.nii[.gz]` matches `.../BT0001/BT0001_t1.nii.gz`.
`{case}` stands for the case's identifier, `*` for anything but a slash, `[...]` for an optional part; all else is
literal, so that `_t1` never matches `_t1ce`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from nnunetv2_comnet.errors import ConfigurationError
from nnunetv2_comnet.label_schemes import LabelScheme

CHANNELS = ("T1n", "T1c", "T2w", "FLAIR")
_TOKEN = re.compile(r"(\{case\}|\*|\[[^\[\]]*\])")


@dataclass(frozen=True)
class MaskSource:
    """One kind of mask that a case may have, e.g. the manual one."""

    kind: str
    files: tuple[str, ...]
    only_where_grid_matches: bool = False  # else a mask on another grid is an error
    only_where_labels_known: bool = False  # else a label that the scheme does not explain is an error


@dataclass(frozen=True)
class Layout:
    """How one dataset is recognised on disk and how its masks are numbered.

    `channels` maps each of `CHANNELS` to patterns in order of preference. `stacked` names the channels of a 4-D image
    in the order of its last axis; all channels then have the same patterns. `label_policies` maps a policy's name to
    kinds of masks in order of preference; the first policy is the default. `patient` is a regular expression searched
    in the case's identifier: its first group (or its whole match) is the patient.
    """

    name: str
    title: str
    dataset_name: str
    case: str
    channels: Mapping[str, tuple[str, ...]]
    masks: tuple[MaskSource, ...]
    scheme: LabelScheme
    patient: str = ".+"
    stacked: tuple[str, ...] = ()
    label_policies: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    variants: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    metadata_key: str | None = None
    metadata_file: str | None = None  # a glob: found by itself beside the data
    licence: str = "see the dataset's own page"
    reference: str = ""

    @property
    def policies(self) -> Mapping[str, tuple[str, ...]]:
        """The label policies, or the only possible one where the layout declares none."""
        return self.label_policies or {"default": tuple(mask.kind for mask in self.masks)}

    def channel_patterns(self, variant: str | None) -> Mapping[str, tuple[str, ...]]:
        """Returns the patterns of a set of images. Raises `ConfigurationError` for an unknown variant."""
        if variant is None:
            return self.channels
        if variant not in self.variants:
            known = ", ".join(self.variants) or "none"
            raise ConfigurationError(f"layout {self.name} has no variant '{variant}'; its variants are: {known}")
        return self.variants[variant]

    def patient_of(self, case: str) -> str:
        """Returns the patient's identifier: cases of one patient never lie in two folds."""
        match = re.search(self.patient, case)
        return match[1 if match.re.groups else 0] if match else case


def per_case(**suffixes: str) -> dict[str, tuple[str, ...]]:
    """Returns the patterns of a folder per case whose files repeat the case's name, e.g. T1n="_t1"."""
    return {channel: (f"{{case}}/{{case}}{suffix}.nii[.gz]",) for channel, suffix in suffixes.items()}


def compile_pattern(pattern: str, case: str) -> re.Pattern[str]:
    """Compiles a file pattern, to be matched in full against as many parts of a path as the pattern has.

    Args:
        pattern: In the language that this module describes.
        case: The regular expression of a case's identifier.

    Returns:
        A regular expression whose group `case` holds the identifier.
    """
    seen = False
    parts = []
    for token in _TOKEN.split(pattern):
        if token == "{case}":
            parts.append("(?P=case)" if seen else f"(?P<case>{case})")
            seen = True
        elif token == "*":
            parts.append("[^/]*")
        elif token.startswith("[") and token.endswith("]"):
            parts.append(f"(?:{re.escape(token[1:-1])})?")
        else:
            parts.append(re.escape(token))
    return re.compile("".join(parts))
