"""What data a cross-validation was made on: the paper's, another data set, or generated patients."""

from dataclasses import dataclass

from nnunetv2_comnet.cv_report.paper import DATA, PATIENTS
from nnunetv2_comnet.dataset_json import DatasetJson
from nnunetv2_comnet.errors import ConfigurationError

UTSW, GENERATED, OTHER = "utsw", "generated", "other"
KINDS = ("auto", UTSW, GENERATED, OTHER)


@dataclass(frozen=True)
class Data:
    """kind: UTSW, GENERATED or OTHER; title: a few words for captions; remark: a sentence on the paper's figures."""

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
        cases = dataset.numTraining or 0
        part = "" if cases >= PATIENTS else f", {cases} of {PATIENTS} patients"
        folds = "its folds are not published, so these are others"
        return Data(kind, DATA + part, f"{DATA}{part}, the paper's data; {folds}.")
    what = "generated patients" if kind == GENERATED else str(notes.get("name", "an unnamed data set"))
    return Data(
        kind,
        f"{what}, not {DATA}",
        f"ANOTHER DATA SET: {what}, not the paper's {DATA}. The differences compare two data sets and say nothing "
        "about how well the paper's figures are reproduced.",
    )
