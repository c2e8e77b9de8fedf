"""The paper's table by hand: means and deviations over folds, best in bold, beside the paper's own figures."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from cv_setup import CORRDIFF, MEDNEXT, PLANS, SEGRESNET, Setup

from nnunetv2_comnet.cv_report.content import Content
from nnunetv2_comnet.cv_report.dataset import open_dataset
from nnunetv2_comnet.cv_report.held_out import read_cross_validation
from nnunetv2_comnet.cv_report.models import TrainedModel, parse_models
from nnunetv2_comnet.cv_report.report import Options, make_report, write_report
from nnunetv2_comnet.cv_report.tables import as_csv, as_latex, as_markdown
from nnunetv2_comnet.errors import ConfigurationError, DataError

# SegResNet's Dice (see cv_setup): A 1, 1, 1; B (0, 10, 20): ET 0, TC 20/30, WT 60/70; C and D (5, 5, 10): 2/3 each.
# By fold:  ET (1 + 0) / 2 = 0.5, 2/3;  TC (1 + 2/3) / 2 = 5/6, 2/3;  WT (1 + 6/7) / 2 = 13/14, 2/3.
# Of two numbers the standard deviation (n - 1) is their distance over the square root of 2.
FOLDS = {"ET": (0.5, 2 / 3), "TC": (5 / 6, 2 / 3), "WT": (13 / 14, 2 / 3)}
AVERAGE = ((0.5 + 5 / 6 + 13 / 14) / 3, 2 / 3)


def report(setup: Setup, *models: str, **options: object) -> Content:
    parsed = parse_models(models, PLANS, "3d_fullres")
    trained = [TrainedModel(model, setup.folder(model.trainer, model.plans)) for model in parsed]
    dataset = open_dataset(setup.preprocessed, setup.raw)
    return make_report(trained, dataset, read_cross_validation(setup.preprocessed), Options(**options))


@pytest.fixture
def three(setup: Setup) -> Setup:
    for trainer in (SEGRESNET, MEDNEXT, CORRDIFF):
        setup.add(trainer)
    return setup


def test_means_and_deviations_over_folds(three: Setup) -> None:
    table = report(three, SEGRESNET, MEDNEXT).tables[0]
    assert table.columns == ("ET", "TC", "WT", "average")
    segresnet, mednext = table.rows
    assert (segresnet.name, segresnet.folds, segresnet.cases) == ("SegResNet", (0, 1), 4)
    for column, (first, second) in enumerate([*FOLDS.values(), AVERAGE]):
        assert segresnet.by_fold[:, column] == pytest.approx([first, second])
        assert segresnet.mean[column] == pytest.approx((first + second) / 2)
        assert segresnet.sd[column] == pytest.approx(abs(first - second) / 2**0.5)
    assert mednext.mean.tolist() == [1, 1, 1, 1]
    assert mednext.sd.tolist() == [0, 0, 0, 0]
    assert table.best == [{1}, {1}, {1}, {1}]


def test_the_markdown_table(three: Setup) -> None:
    text = as_markdown(report(three, SEGRESNET, MEDNEXT))
    # (0.5 + 0.6667) / 2 = 0.5833, 0.1667 / 1.4142 = 0.1179; and so on with the fractions above.
    for line in (
        "| model | ET | TC | WT | average |",
        "| SegResNet | 0.5833 ± 0.1179 | 0.7500 ± 0.1179 | 0.7976 ± 0.1852 | 0.7103 ± 0.0617 |",
        "| MedNeXt | **1.0000 ± 0.0000** | **1.0000 ± 0.0000** | **1.0000 ± 0.0000** | **1.0000 ± 0.0000** |",
        "| SegResNet, the paper | 0.7459 ± 0.0263 | 0.6717 ± 0.0170 | 0.8489 ± 0.0131 | 0.7555 ± 0.0190 |",
        "| SegResNet minus the paper's | -0.1626 | +0.0783 | -0.0513 | -0.0452 |",
        "| MedNeXt minus the paper's | +0.2793 | +0.3153 | +0.0963 | +0.2303 |",
    ):
        assert line in text.splitlines(), line
    assert "standard deviation (n - 1) over 2 folds" in text
    assert "**ANOTHER DATA SET: ByHand, not the paper's UTSW-Glioma." in text


def test_equals_share_the_bold_and_a_lone_model_has_none(three: Setup) -> None:
    three.add("nnUNetTrainer")
    both = report(three, MEDNEXT, "nnUNetTrainer").tables[0]
    assert both.best == [{0, 1}] * 4
    lone = report(three, MEDNEXT)
    assert "**1.0000" not in as_markdown(lone)
    assert lone.comparison is None


def test_lower_is_better_where_it_is(three: Setup) -> None:
    content = report(three, SEGRESNET, MEDNEXT, metrics=("hd95_mm",))
    assert [table.metric for table in content.tables] == ["dice", "hd95_mm"]
    assert content.tables[1].best == [{1}] * 4
    assert "lower is better" in as_markdown(content)
    assert "the paper" not in as_markdown(content).split("## HD95, mm")[1].split("##")[0]  # it gives Dice only
    with pytest.raises(ConfigurationError, match="hausdorff"):
        report(three, MEDNEXT, metrics=("hausdorff",))


def test_paired_differences_are_the_later_model_minus_the_earlier(three: Setup) -> None:
    content = report(three, SEGRESNET, MEDNEXT)
    assert content.comparison is not None
    by_region = {each.region: each for each in content.comparison.differences}
    # ET: 1 - 1, 1 - 0, 1 - 2/3 twice.
    assert by_region["ET"].mean == pytest.approx((0 + 1 + 1 / 3 + 1 / 3) / 4)
    assert (by_region["ET"].first, by_region["ET"].pairs) == ("MedNeXt", 4)
    assert 0 <= by_region["ET"].low < by_region["ET"].mean < by_region["ET"].high <= 1
    assert "| MedNeXt - SegResNet | 4 | +0.4167 (" in as_markdown(content)


def test_the_latex_is_whole(three: Setup) -> None:
    three.add("nnUNetTrainer", plans="nnUNetResEncUNetMPlans")
    text = as_latex(report(three, "a_b & c=nnUNetTrainer:nnUNetResEncUNetMPlans", SEGRESNET))
    for what in ("table", "tabular"):
        assert text.count(rf"\begin{{{what}}}") == text.count(rf"\end{{{what}}}") == 2
    assert (
        r"SegResNet & 0.5833 $\pm$ 0.1179 & 0.7500 $\pm$ 0.1179 & 0.7976 $\pm$ 0.1852 & 0.7103 $\pm$ 0.0617 \\" in text
    )
    assert r"a\_b \& c & \textbf{1.0000 $\pm$ 0.0000}" in text
    assert "$-0.1626$ & $+0.0783$" in text
    bare = re.sub(r"\\[a-z]+\{(tab:[^}]*)\}|\\[&%$#_{}]|\$[^$]*\$|\\pm", "", text)
    assert not re.search(r"[%#_±]", bare)  # nothing left that LaTeX would stumble over
    for line in text.splitlines():
        if " & " in line:
            assert len(re.findall(r"(?<!\\)&", line)) == 4, line


def test_the_csv_has_a_line_per_number(three: Setup) -> None:
    rows = list(csv.DictReader(as_csv(report(three, SEGRESNET, MEDNEXT)).splitlines()))
    assert len(rows) == 2 * 4
    first = rows[0]
    assert (first["model"], first["region"], first["cases"], first["folds"]) == ("SegResNet", "ET", "4", "2")
    assert float(first["mean"]) == pytest.approx(7 / 12, abs=1e-6)
    assert float(first["sd"]) == pytest.approx(1 / 6 / 2**0.5, abs=1e-6)
    assert (first["best"], first["paper_mean"], first["data"]) == ("", "0.7459", "other")
    assert float(first["minus_paper"]) == pytest.approx(7 / 12 - 0.7459, abs=1e-6)
    assert [row["best"] for row in rows[4:]] == ["yes"] * 4


def test_a_single_fold_has_no_deviation(three: Setup) -> None:
    for trainer in (SEGRESNET, MEDNEXT):
        for path in (three.folder(trainer) / "fold_1" / "validation").iterdir():
            path.unlink()
    content = report(three, SEGRESNET, MEDNEXT, allow_missing=True)
    assert np.isnan(content.tables[0].rows[0].sd).all()
    assert "| SegResNet | 0.5000 | 0.8333 | 0.9286 | 0.7540 |" in as_markdown(content)
    assert any("fold 1 has no held-out predictions" in note for note in content.notes)


def test_a_mask_that_cannot_be_scored_stops_the_report(three: Setup) -> None:
    path = three.folder(MEDNEXT) / "fold_1" / "validation" / "C.nii.gz"
    path.write_bytes(b"not an image")
    with pytest.raises(DataError) as caught:
        report(three, SEGRESNET, MEDNEXT)
    assert "MedNeXt: C" in str(caught.value)
    assert "unreadable-prediction" in str(caught.value)
    assert "comnet-cv-" not in str(caught.value)  # no temporary folder's name
    (three.preprocessed / "gt_segmentations" / "C.nii.gz").unlink()
    with pytest.raises(DataError, match=r"C\.nii\.gz"):
        report(three, SEGRESNET)


@pytest.mark.chain
def test_the_report_folder_holds_this_report_and_nothing_older(three: Setup, tmp_path: Path) -> None:
    out, dataset = tmp_path / "out", open_dataset(three.preprocessed, three.raw)
    write_report(report(three, SEGRESNET, MEDNEXT, CORRDIFF), dataset, out)
    assert (out / "figures" / "slices_CoMNeT.pdf").is_file()
    (out / "mine.txt").write_text("not ours to remove")
    write_report(report(three, SEGRESNET, MEDNEXT), dataset, out)
    found = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    written = json.loads((out / "cv_report.json").read_text())
    assert found == {*written["files"], "cv_report.json", "mine.txt"}
    assert not [name for name in found if "CoMNeT" in name]
    assert written["models"]["SegResNet"]["cases_by_fold"] == {"0": ["A", "B"], "1": ["C", "D"]}
    enhancing = written["tables"]["dice"]["SegResNet"]["columns"]["ET"]
    assert enhancing["by_fold"] == {"0": pytest.approx(0.5), "1": pytest.approx(2 / 3)}
    assert enhancing["paper"] == {"mean": 0.7459, "sd": 0.0263, "difference": pytest.approx(7 / 12 - 0.7459)}


def test_each_models_scores_can_be_compared_further(three: Setup, tmp_path: Path) -> None:
    from nnunetv2_comnet.evaluation.results import read_evaluation

    write_report(report(three, SEGRESNET, MEDNEXT), open_dataset(three.preprocessed, None), tmp_path)
    evaluation = read_evaluation(tmp_path / "models" / "SegResNet")
    assert [case.case for case in evaluation.cases] == ["A", "B", "C", "D"]
    assert evaluation.information["fold_of_case"] == {"A": 0, "B": 0, "C": 1, "D": 1}
    assert evaluation.prediction == str(three.folder(SEGRESNET))
