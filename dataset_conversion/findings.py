"""A finding: one defect of one case, under a stable code that reports and scripts can count."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from nnunetv2_comnet.errors import printable

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """`code` is stable, `severity` says whether the case is excluded, `text` is a sentence that names the file."""

    code: str
    severity: Severity
    text: str


def error(code: str, text: str) -> Finding:
    """Makes the finding of a defect that excludes the case."""
    return Finding(code, "error", printable(text))


def warning(code: str, text: str) -> Finding:
    """Makes the finding of something that a human should look at; the case is converted."""
    return Finding(code, "warning", printable(text))


def has_error(findings: Iterable[Finding]) -> bool:
    return any(finding.severity == "error" for finding in findings)
