"""Everything that a report of a cross-validation says; tables.py writes it, figures.py draws it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nnunetv2_comnet.comparison.outcome import Comparison
from nnunetv2_comnet.comparison.text import as_json, finite_or_none
from nnunetv2_comnet.cv_report.calibration import Calibration
from nnunetv2_comnet.cv_report.data import Data
from nnunetv2_comnet.cv_report.held_out import HeldOut
from nnunetv2_comnet.cv_report.summary import DDOF, CvTable
from nnunetv2_comnet.evaluation.results import Evaluation

FORMAT = 1
_OF_PAPER = ("mean", "sd", "difference")


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
    rows: dict[str, Any] = {}
    for row in table.rows:
        paper, columns = table.beside_paper(row), {}
        numbers = zip(table.columns, row.mean.tolist(), row.sd.tolist(), row.by_fold.T.tolist(), strict=True)
        for column, mean, sd, values in numbers:
            by_fold = {str(fold): value for fold, value in zip(row.folds, values, strict=True)}
            columns[column] = {"mean": mean, "sd": sd, "by_fold": by_fold}
            if column in paper:
                columns[column]["paper"] = dict(zip(_OF_PAPER, paper[column], strict=True))
        rows[row.name] = {"cases": row.cases, "columns": columns}
    return dict(finite_or_none(rows))
