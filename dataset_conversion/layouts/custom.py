"""A layout from the user's YAML file, so that any other BraTS-style dataset needs no code.

Keys (see `EXAMPLE`, which is tested): `name`; `case`, a regular expression of a case's identifier; `channels`, one
pattern or a list in order of preference for each of T1n, T1c, T2w, FLAIR; `masks`, a list in order of preference;
`labels`, a scheme's name or a mapping of the source's labels to NCR, ED, ET, RC (resection cavity), CC (cystic
component) or background. Optional: `dataset_name`, `patient`, `stacked`, `label_policies`, `metadata_key`,
`licence`, `reference`. Patterns are explained in `layouts/base.py`.
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from nnunetv2_comnet.dataset_conversion.layouts.base import CHANNELS, Layout, MaskSource, compile_pattern
from nnunetv2_comnet.errors import ConfigurationError, one_line
from nnunetv2_comnet.files import faults
from nnunetv2_comnet.label_schemes import BRATS_123, BRATS_CAVITY, BRATS_PED, ED, ET, EXTRA, NCR, SCHEMES, LabelScheme

EXAMPLE = """\
# A layout of your own: comnet convert custom SOURCE --layout-file this.yaml -d 501
name: my-hospital
dataset_name: MyHospital          # the folder becomes Dataset501_MyHospital
case: 'P\\d{3}_\\d{8}'              # a regular expression: P001_20240131
patient: '^P\\d{3}'                # searched in the identifier; cases of one patient share a fold
channels:                         # the end of the path; [..] is optional, * anything, a list is tried in order
  T1n: '{case}/{case}_t1.nii[.gz]'
  T1c: ['{case}/{case}_t1ce.nii[.gz]', '{case}/{case}_t1gd.nii[.gz]']
  T2w: '{case}/{case}_t2.nii[.gz]'
  FLAIR: '{case}/{case}_flair.nii[.gz]'
masks:                            # in order of preference
  - {kind: manual, files: '{case}/{case}_seg_manual.nii[.gz]', only_where_grid_matches: true}
  - {kind: automatic, files: '{case}/{case}_seg.nii[.gz]'}
labels: {1: NCR, 2: ED, 4: ET}    # or a scheme's name, e.g. brats-1-2-3
metadata_key: Patient             # the column of --metadata that holds the case or the patient
"""

_TARGETS = {"background": 0, "NCR": NCR, "ED": ED, "ET": ET, "RC": EXTRA, "CC": EXTRA}
# One pattern, or a list in order of preference.
_Patterns = Annotated[tuple[str, ...], BeforeValidator(lambda given: (given,) if isinstance(given, str) else given)]
_Channel = Literal["T1n", "T1c", "T2w", "FLAIR"]


class _Mask(BaseModel):
    model_config = ConfigDict(extra="forbid")
    kind: str = Field(pattern=r"^[\w-]+$")
    files: _Patterns
    only_where_grid_matches: bool = False
    only_where_labels_known: bool = False


class _CustomLayout(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str = Field(pattern=r"^[\w-]+$")
    dataset_name: str = Field(default="Custom", pattern=r"^[A-Za-z0-9-]+$")
    case: str
    patient: str = ".+"
    channels: dict[_Channel, _Patterns]
    stacked: tuple[_Channel, ...] = ()
    masks: list[_Mask] = Field(min_length=1)
    labels: str | dict[int, Literal["background", "NCR", "ED", "ET", "RC", "CC"]]
    label_policies: dict[str, tuple[str, ...]] = {}
    metadata_key: str | None = None
    licence: str = "see the dataset's own page"
    reference: str = ""

    @field_validator("case", "patient")
    @classmethod
    def _is_expression(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"'{value}' is not a regular expression: {error}") from error
        return value

    @model_validator(mode="after")
    def _is_consistent(self) -> "_CustomLayout":
        if missing := [channel for channel in CHANNELS if channel not in self.channels]:
            raise ValueError(f"channels has no {', '.join(missing)}; all of {', '.join(CHANNELS)} are needed")
        if self.stacked and sorted(self.stacked) != sorted(CHANNELS):
            raise ValueError(f"stacked must name each of {', '.join(CHANNELS)} once")
        kinds = [mask.kind for mask in self.masks]
        if len(set(kinds)) < len(kinds):
            raise ValueError("two masks have the same kind")
        for policy, chosen in self.label_policies.items():
            if not chosen or not set(chosen) <= set(kinds):
                raise ValueError(f"label policy '{policy}' must list some of the masks' kinds: {', '.join(kinds)}")
        for patterns in [*self.channels.values(), *(mask.files for mask in self.masks)]:
            for pattern in patterns:
                if "{case}" not in pattern:
                    raise ValueError(f"pattern '{pattern}' has no {{case}}; it would match the files of every case")
                compile_pattern(pattern, self.case)
        return self


def load_custom_layout(path: Path) -> Layout:
    """Reads a layout from YAML. Raises `ConfigurationError` that names the file and each wrong key."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"the layout file {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"the layout file {path} is not text in UTF-8") from error
    except yaml.YAMLError as error:
        raise ConfigurationError(f"the layout file {path} is not valid YAML: {one_line(error)}") from error
    if not isinstance(content, dict):
        raise ConfigurationError(f"the layout file {path} must hold keys such as name, case, channels, masks, labels")
    try:
        return _to_layout(_CustomLayout.model_validate(content))
    except ValidationError as error:
        raise ConfigurationError(f"the layout file {path} cannot be used: {'; '.join(faults(error))}") from error


def _to_layout(content: _CustomLayout) -> Layout:
    own: dict[str, Any] = dict(content)
    del own["labels"]
    masks = tuple(MaskSource(**dict(mask)) for mask in content.masks)
    return Layout(**{**own, "masks": masks}, title=content.name, scheme=_scheme(content))


def _scheme(content: _CustomLayout) -> LabelScheme:
    if isinstance(content.labels, str):
        if content.labels not in SCHEMES:
            raise ConfigurationError(
                f"labels '{content.labels}' is no scheme; the schemes are {', '.join(SCHEMES)}, or give a mapping "
                "such as {1: NCR, 2: ED, 4: ET}"
            )
        return SCHEMES[content.labels]
    names = set(content.labels.values())
    if {"RC", "CC"} <= names:
        raise ConfigurationError("labels holds both RC and CC; a scheme has one extra region")
    if bad := [label for label in content.labels if label < 1]:
        raise ConfigurationError(f"labels lists {bad[0]}; the source's labels are 1 or more, 0 is always background")
    regions = (BRATS_CAVITY if "RC" in names else BRATS_PED if "CC" in names else BRATS_123).regions
    return LabelScheme(content.name, {label: _TARGETS[name] for label, name in content.labels.items()}, regions)
