"""What data a cross-validation was made on: the paper's, another data set, or generated patients."""

from dataclasses import dataclass

from nnunetv2_comnet.cv_report.paper import DATA, PATIENTS
from nnunetv2_comnet.dataset_json import DatasetJson
from nnunetv2_comnet.errors import ConfigurationError

UTSW, GENERATED, OTHER = "utsw", "generated", "other"
KINDS = ("auto", UTSW, GENERATED, OTHER)


@dataclass(frozen=True)
class Data:
    """kind: UTSW, GENERATED or OTHER. title: a few words for captions. remark: a sentence on the paper's figures."""

    kind: str
    title: str
    remark: str

    @property
    def is_the_papers(self) -> bool:
        return self.kind == UTSW


def describe_data(dataset: DatasetJson, kind: str = "auto") -> Data:
    """Reads the converter's notes in dataset.json (`converted_by`, `generated_by`), unless `kind` says what it is."""
    if kind not in KINDS:
        raise ConfigurationError(f"unknown kind of data '{kind}'; there are: {', '.join(KINDS)}")
    notes = dataset.model_extra or {}
    if kind == "auto":
        from_utsw = str(notes.get("converted_by", "")).endswith("layout utsw")
        kind = GENERATED if notes.get("generated_by") else UTSW if from_utsw else OTHER
    if kind == UTSW:
        return _utsw(dataset.numTraining or 0)
    what = "generated patients" if kind == GENERATED else str(notes.get("name", "a data set of its own"))
    return Data(
        kind,
        f"{what}, not {DATA}",
        f"ANOTHER DATA SET: {what}, not the paper's {DATA}. The differences compare two data sets and say nothing "
        "about how well the paper's figures are reproduced.",
    )


def _utsw(cases: int) -> Data:
    if cases >= PATIENTS:
        return Data(UTSW, DATA, f"{DATA}, the paper's data; its folds are not published, so these are others.")
    return Data(
        UTSW,
        f"{DATA}, {cases} of {PATIENTS} patients",
        f"{DATA}, the paper's data, {cases} of its {PATIENTS} patients; the paper's folds are not published, so these "
        "are others.",
    )
