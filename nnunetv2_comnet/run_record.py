"""comnet_run.json: which cases `comnet predict` tried, and how it was called."""

from pathlib import Path
from typing import Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from nnunetv2_comnet.files import read_checked


class CaseEntry(BaseModel):
    """A case that is done or failed; `seconds` is None where an earlier run did it, channels are listed by name."""

    state: str
    seconds: float | None = None
    missing_channels: list[str] = Field([], validation_alias=AliasChoices("missing_channels", "missing"))


class RunRecord(BaseModel):
    """The record of a run; `model_extra` has what is not about a case."""

    model_config = ConfigDict(extra="allow")

    cases: dict[str, CaseEntry] = {}

    def entries(self) -> dict[str, dict[str, Any]]:
        """Returns the entry of each case, as it is written."""
        return {name: entry.model_dump(exclude_unset=True) for name, entry in self.cases.items()}


def read_run_record(path: Path) -> RunRecord:
    """Reads a record. Raises `DataError` that names the file and the field at fault."""
    return read_checked(path, RunRecord, "delete the file, or predict into another folder")
