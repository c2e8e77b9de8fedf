"""comnet_run.json, as it is read again: the cases that were tried, beside what says how (kept as it is)."""

from pathlib import Path
from typing import Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from nnunetv2_comnet.files import read_checked


class CaseEntry(BaseModel):
    """state: done or failed. seconds: None where an earlier run did the case. missing_channels: by name."""

    state: str
    seconds: float | None = None
    missing_channels: list[str] = Field([], validation_alias=AliasChoices("missing_channels", "missing"))


class RunRecord(BaseModel):
    """What a run of `comnet predict` left; `model_extra` has what is not a case."""

    model_config = ConfigDict(extra="allow")

    cases: dict[str, CaseEntry] = {}

    def entries(self) -> dict[str, dict[str, Any]]:
        """case -> its entry, as it is written."""
        return {name: entry.model_dump(exclude_unset=True) for name, entry in self.cases.items()}


def read_run_record(path: Path) -> RunRecord:
    """Raises `DataError` that names the file and the field at fault."""
    return read_checked(path, RunRecord, "delete the file, or predict into another folder")
