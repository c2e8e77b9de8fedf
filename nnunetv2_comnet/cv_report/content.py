"""Everything that a report of a cross-validation says; tables.py writes it, figures.py draws it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nnunetv2_comnet.comparison.outcome import Comparison
from nnunetv2_comnet.comparison.text import as_json, finite_or_none
from nnunetv2_comnet.cv_report.calibration import Calibration
from nnunetv2_comnet.cv_report.data import Data
from nnunetv2_comnet.cv_report.held_out import HeldOut
from nnunetv2_comnet.cv_report.summary import DDOF, CvTable, against_paper
from nnunetv2_comnet.evaluation.results import Evaluation

FORMAT = 1


@dataclass(frozen=True)
class Content:
    """All that the report says.

    Attributes:
        evaluations: by the model's name, in the order given; `held_out` and `calibration` likewise.
        tables: one per metric, Dice first.
        comparison: of all pairs; None of a single model.
        notes: what else a reader must know, a sentence each.
    """

    dataset: str
    data: Data
    protocol: str
    evaluations: Mapping[str, Evaluation]
    held_out: Mapping[str, HeldOut]
    calibration: Mapping[str, Calibration]
    tables: tuple[CvTable, ...]
    comparison: Comparison | None
    notes: tuple[str, ...]

    @property
    def models(self) -> list[str]:
        return list(self.evaluations)

    def as_json(self) -> dict[str, Any]:
        """Turns the content into plain values; None where a number is not defined."""
        return {
            "format": FORMAT,
            "dataset": self.dataset,
            "data": {"kind": self.data.kind, "remark": self.data.remark},
            "protocol": self.protocol,
            "deviation": {"over": "folds", "ddof": DDOF},
            "models": {name: self._model(name) for name in self.models},
            "tables": {table.metric: _table(table) for table in self.tables},
            "differences": [] if self.comparison is None else as_json(self.comparison)["differences"],
            "notes": list(self.notes),
        }

    def _model(self, name: str) -> dict[str, Any]:
        held_out = self.held_out[name]
        model = held_out.trained.model
        return {
            "trainer": model.trainer,
            "plans": model.plans,
            "configuration": model.configuration,
            "folder": str(held_out.trained.folder),
            "cases_by_fold": {
                str(fold): [case for case, of in held_out.fold_of.items() if of == fold] for fold in held_out.folds
            },
            "missing_folds": list(held_out.missing_folds),
            "missing_cases": {str(fold): list(cases) for fold, cases in (held_out.missing_cases or {}).items()},
            "reliability": self.calibration[name].table,
        }


def _table(table: CvTable) -> dict[str, Any]:
    beside = {entry.name: entry for entry in against_paper(table)}
    rows = {}
    for row in table.rows:
        columns = {
            column: {
                "mean": finite_or_none(mean),
                "sd": finite_or_none(sd),
                "by_fold": {str(fold): finite_or_none(value) for fold, value in zip(row.folds, values, strict=True)},
                **_paper_part(beside, row.name, column),
            }
            for column, mean, sd, values in zip(
                table.columns, row.mean.tolist(), row.sd.tolist(), row.by_fold.T.tolist(), strict=True
            )
        }
        rows[row.name] = {"cases": row.cases, "columns": columns}
    return rows


def _paper_part(beside: Mapping[str, Any], name: str, column: str) -> dict[str, Any]:
    if name not in beside or column not in beside[name].difference:
        return {}
    mean, sd = beside[name].paper[column]
    return {"paper": {"mean": mean, "sd": sd, "difference": finite_or_none(beside[name].difference[column])}}
