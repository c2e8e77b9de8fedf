"""The report without a browser: order, sizes, records, the command line, and one line for every mistake."""

import base64
import hashlib
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from nnunetv2_comnet.errors import ComnetError, ConfigurationError, DataError
from nnunetv2_comnet.evaluation.results import MISSING, SCORED, CaseScores, Evaluation
from nnunetv2_comnet.html_report.page import as_script_text
from nnunetv2_comnet.html_report.report import MEGABYTE, ReportInput, Written, write_report
from nnunetv2_comnet.html_report.run_sections import run_sections
from nnunetv2_comnet.html_report.scores import as_page_data, by_score
from nnunetv2_comnet.html_report.sources import Sources
from nnunetv2_comnet.html_report.tables import read_table, with_ending
from nnunetv2_comnet.phantom.patient import PhantomPatient, generate

Run = Callable[..., "subprocess.CompletedProcess[str]"]
AFFINE = np.diag([-4.0, -4.0, 4.0, 1.0])
CASES = ("C1", "C2", "C3", "C4", "C5")


def save(array: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array.transpose(2, 1, 0), AFFINE), path)


@pytest.fixture(scope="module")
def patient() -> PhantomPatient:
    return generate((0, 3), 4.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, patient: PhantomPatient) -> Path:
    """Five cases whose prediction is the truth moved by 4, 0, 3, 1, 2 voxels: the more, the worse."""
    root = tmp_path_factory.mktemp("cases")
    for case, moved in zip(CASES, (4, 0, 3, 1, 2), strict=True):
        for number, image in enumerate(patient.images.values()):
            save(image, root / "imagesTs" / f"{case}_{number:04d}.nii.gz")
        save(patient.mask, root / "labelsTs" / f"{case}.nii.gz")
        save(np.roll(patient.mask, moved, axis=2), root / "pred" / f"{case}.nii.gz")
    (root / "dataset.json").write_text(json.dumps({
        "channel_names": {"0": "T1n", "1": "T1c", "2": "T2w", "3": "FLAIR"}, "file_ending": ".nii.gz",
        "labels": {"background": 0, "whole tumor": [1, 2, 3], "tumor core": [1, 3], "enhancing tumor": [3]},
    }))  # fmt: skip
    return root


def sources(folder: Path) -> Sources:
    return Sources(folder / "imagesTs", folder / "labelsTs", (folder / "pred",))


def write(target: Path, report: ReportInput) -> tuple[Written, dict[str, Any], list[dict[str, Any]]]:
    """What was written: in numbers, the page's own data, and its cases."""
    written = write_report(target, report)
    text = target.read_text(encoding="ascii")
    blocks = dict(re.findall(r'<script type="application/json" id="([\w-]+)">(.*?)</script>', text))
    index = json.loads(blocks.pop("index"))
    return written, index, [json.loads(blocks[f"case-{number}"]) for number in range(len(blocks))]


def test_without_an_evaluation_dice_orders_the_cases(folder: Path, tmp_path: Path) -> None:
    written, index, cases = write(tmp_path / "a.html", ReportInput(sources(folder)))
    assert [one["name"] for one in index["cases"]] == ["C1", "C3", "C5", "C4", "C2"]
    assert [one["case"] for one in cases] == ["C1", "C3", "C5", "C4", "C2"]
    assert index["evaluations"][0]["cases"]["C2"]["values"] == [[1.0, 1.0, 1.0]]  # the truth itself
    assert written == Written(5, 5, (tmp_path / "a.html").stat().st_size)
    assert [path.name for path in tmp_path.iterdir()] == ["a.html"]


def test_only_the_worst_can_be_looked_through_where_so_wished(folder: Path, tmp_path: Path) -> None:
    written, index, cases = write(tmp_path / "a.html", ReportInput(sources(folder), most_cases=2))
    assert (written.cases, written.shown) == (5, 2)
    assert [one["number"] for one in index["cases"]] == [0, 1, None, None, None]
    assert [one["case"] for one in cases] == ["C1", "C3"]


def test_the_page_keeps_the_size_that_it_is_given(folder: Path, tmp_path: Path) -> None:
    whole, _, _ = write(tmp_path / "whole.html", ReportInput(sources(folder)))
    # Five cases in 0.3 MB: 58,200 characters a case after 3 % for the rest; at their finest they have about 90,000.
    small, _, cases = write(tmp_path / "small.html", ReportInput(sources(folder), most_megabytes=0.3))
    assert whole.size_bytes > 0.3 * MEGABYTE > small.size_bytes - 60_000  # the page itself has its own size
    for case in cases:
        assert sum(len(layer["data"]) for layer in case["layers"]) <= 0.97 * 0.3 * MEGABYTE / 5
    with pytest.raises(ConfigurationError, match="--max-mb"):
        write(tmp_path / "none.html", ReportInput(sources(folder), most_megabytes=0.1))


def test_a_real_size_case_takes_no_more_than_its_share_of_200() -> None:
    """200 cases in 150 MB: 750,000 bytes each, at 1 mm, with two scans, two masks and two maps."""
    from nnunetv2_comnet.html_report.encode import encode_case
    from nnunetv2_comnet.html_report.volumes import CaseVolumes

    rng = np.random.default_rng(0)
    shape = (138, 181, 138)  # a brain at 1 mm, cut as BraTS's cases are; noise is the worst case for compression
    centre = np.stack(np.meshgrid(*(np.linspace(-1, 1, size) for size in shape), indexing="ij"))
    inside = (centre**2).sum(axis=0) < 1
    scans = {name: (inside * (1000 + 80 * rng.standard_normal(shape))).astype(np.float32) for name in ("T1c", "FLAIR")}
    mask = (((centre - 0.2) ** 2).sum(axis=0) < 0.1).astype(np.uint8)
    maps = {name: mask * rng.random(shape, np.float32) for name in ("entropy", "disagreement")}
    volumes = CaseVolumes("A", (1.0, 1.0, 1.0), shape, images=scans, truth=mask, prediction=mask, maps=maps)
    content = encode_case(volumes, 0.97 * 150 * MEGABYTE / 200)
    assert len(as_script_text(content)) < 150 * MEGABYTE / 200


def test_jobs_do_not_change_a_byte(folder: Path, tmp_path: Path) -> None:
    for name, jobs in (("one.html", 1), ("two.html", 2)):
        write(tmp_path / name, ReportInput(sources(folder), most_cases=3, jobs=jobs))
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()


def test_the_policy_allows_this_script_and_style_and_nothing_from_outside(folder: Path, tmp_path: Path) -> None:
    write(tmp_path / "a.html", ReportInput(sources(folder), most_cases=0))
    text = (tmp_path / "a.html").read_text(encoding="ascii")
    found = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert found
    policy = dict(part.split(maxsplit=1) for part in found[1].split("; "))
    for kind, tag in (("script-src", "script"), ("style-src", "style")):
        inner = re.search(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        assert inner
        digest = base64.b64encode(hashlib.sha256(inner[1].encode()).digest()).decode()
        assert policy[kind] == f"'sha256-{digest}'"
    assert policy["default-src"] == "'none'"
    assert "http:" not in text
    assert "https:" not in text


@pytest.mark.parametrize("name", ["</script><script>", "<!-- a", "]]>", "\u2028", "é\U0001f9e0", "\"'&"])
def test_any_name_may_stand_in_a_script_element(name: str) -> None:
    text = as_script_text({"case": name})
    assert json.loads(text) == {"case": name}
    assert text.isascii()
    assert not set("<>&") & set(text)


def scored(**cases: tuple[float, float]) -> Evaluation:
    rows = [CaseScores(n, SCORED, "", {"ET": {"dice": a}, "WT": {"dice": b}}) for n, (a, b) in cases.items()]
    return Evaluation("legacy", "", "", ("ET", "WT"), tuple(rows), ("extra",))


def test_order_and_summary_of_an_evaluation() -> None:
    nan = float("nan")
    evaluation = scored(A=(0.9, 0.7), B=(nan, 0.6), C=(0.2, 0.8), D=(nan, nan))
    # Means of what is there: A 0.8, B 0.6, C 0.5; D has none and comes first, what has no reference last.
    assert by_score(evaluation) == ["D", "C", "B", "A", "extra"]
    data = as_page_data("ours", evaluation)
    assert data["cases"]["B"]["values"] == [[None, 0.6]]
    # ET: 0.9 and 0.2: mean 0.55, sd 0.7 / sqrt(2); the last column: 0.8, 0.6, 0.5.
    assert data["summary"][0][0] == {"n": 2, "mean": 0.55, "sd": 0.494975, "median": 0.55}
    assert data["summary"][0][2]["n"] == 3
    assert data["summary"][0][2]["median"] == 0.6
    lower = Evaluation("legacy", "", "", ("ET",), (
        CaseScores("A", SCORED, "", {"ET": {"hd95_mm": 3.0}}), CaseScores("B", SCORED, "", {"ET": {"hd95_mm": 30.0}}),
        CaseScores("C", MISSING, "none", {"ET": {"hd95_mm": 374.0}}),
        CaseScores("D", SCORED, "", {"ET": {"hd95_mm": float("inf")}}),
    ))  # fmt: skip
    assert by_score(lower) == ["C", "D", "B", "A"]
    assert as_page_data("ours", lower)["cases"]["D"]["values"] == [["inf"]]
    json.dumps(as_page_data("ours", lower), allow_nan=False)


def test_channels_are_those_that_show_most(folder: Path) -> None:
    found = sources(folder)
    assert found.choose_channels([], 5) == ["T1c", "FLAIR", "T1n", "T2w"]
    assert found.choose_channels([], 200) == ["T1c", "FLAIR"]
    assert found.choose_channels(["flair", "T2w"], 5) == ["FLAIR", "T2w"]
    with pytest.raises(ConfigurationError, match=r"T9.*T1n, T1c, T2w, FLAIR"):
        found.choose_channels(["T9"], 5)


def test_maps_of_a_case_are_not_taken_for_those_of_a_longer_name(tmp_path: Path, patient: PhantomPatient) -> None:
    for case in ("A", "A_1"):
        save(patient.mask, tmp_path / f"{case}.nii.gz")
    save(patient.mask.astype(np.float32), tmp_path / "entropy" / "A_1_WT.nii.gz")
    found = Sources(None, None, (tmp_path,))
    assert found.cases == ["A", "A_1"]
    assert found.files("A", []).maps == {}
    assert [path.name for path in found.files("A_1", []).maps["entropy"]] == ["A_1_WT.nii.gz"]


def test_the_record_of_a_run(tmp_path: Path) -> None:
    pred = tmp_path / "pred"
    pred.mkdir()
    (pred / "comnet_run.json").write_text(json.dumps({
        "checkpoints": {"fold_0/checkpoint_final.pth": "f" * 64},
        "options": {"thresholds": {"ET": 0.4}, "nested": True}, "postprocessing": None,
        "cases": {"A": {"state": "done", "seconds": 1.0}, "B": {"state": "done", "seconds": 4.0},
                  "C": {"state": "failed", "seconds": 0.5, "missing_channels": ["T2w"]},
                  "D": {"state": "done", "seconds": None, "missing": ["T1c", "T2w"]}},
    }))  # fmt: skip
    (tmp_path / "labelsTs").mkdir()
    splits = tmp_path / "splits_final.json"
    splits.write_text(json.dumps([{"train": ["A", "B"], "val": ["C"]}]))
    sections = run_sections([pred], tmp_path / "labelsTs", {}, [])
    told = {section.title: dict(section.rows) for section in sections}
    run = told["pred/comnet_run.json"]
    assert run["checkpoints: fold_0/checkpoint_final.pth"] == "f" * 64
    assert run["options: thresholds: ET"] == "0.4"
    assert run["options: nested"] == "yes"
    assert run["postprocessing"] == "none"
    assert run["cases predicted"] == "3 of 4"
    assert run["cases with missing channels"] == "C (T2w); D (T1c, T2w)"  # D by the key of before
    assert run["seconds per case"] == "median 1.0, longest 4.0"  # of 0.5, 1, 4
    assert run["seconds, all cases"] == "5.5"
    split = next(rows for title, rows in told.items() if title.endswith("splits_final.json"))
    assert split["fold 0"] == "2 cases to train, 1 to validate"
    assert split["sha256 of this file"] == hashlib.sha256(splits.read_bytes()).hexdigest()


def test_cases_that_could_not_be_predicted_are_told(folder: Path, tmp_path: Path) -> None:
    failures = folder / "pred" / "failures.json"
    failures.write_text(json.dumps({"C9": "missing: _0002 (T2w)"}))
    _, index, _ = write(tmp_path / "a.html", ReportInput(sources(folder), most_cases=0))
    failures.unlink()
    assert index["cases"][-1] == {"name": "C9", "number": None, "notes": ["not predicted: missing: _0002 (T2w)"]}


def test_the_command(run: Run, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    words = ["-i", str(folder / "imagesTs"), "-ref", str(folder / "labelsTs"), "-pred", str(folder / "pred")]
    done = run("comnet", "report", str(out), *words, "--cases", "1", "--channels", "T1c", "FLAIR", "--title", "Fünf")
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(rf"wrote {out}: 5 cases, 1 to look through, \d\.\d MB\n", done.stdout)
    assert "<title>F&#252;nf</title>" in out.read_text(encoding="ascii")
    # An evaluation beside the predictions is used, and knows where the truth lies.
    truth = str(folder / "labelsTs")
    rows = tuple(
        CaseScores(c, SCORED, "", {"ET": {"dice": d}}) for c, d in zip(CASES, (0.5, 0.1, 0.4, 0.2, 0.3), strict=True)
    )
    Evaluation("brats2023", truth, str(folder / "pred"), ("ET",), rows).write(tmp_path / "scores")
    done = run(
        "comnet", "report", str(out), "--evaluation", f"ours={tmp_path / 'scores'}", "-i", str(folder / "imagesTs")
    )
    assert done.returncode == 0, done.stderr
    index = json.loads(re.findall(r'id="index">(.*?)</script>', out.read_text())[0])
    assert [one["name"] for one in index["cases"]] == ["C2", "C4", "C5", "C3", "C1"]
    assert index["evaluations"][0]["name"] == "ours"
    assert all(one["number"] is not None for one in index["cases"])


def test_tables_and_folders_of_pictures(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text("﻿model,ET\nours,0.7\n", encoding="utf-8")
    assert read_table(tmp_path / "b.csv") == {"title": "b", "header": ["model", "ET"], "rows": [["ours", "0.7"]]}
    (tmp_path / "ragged.csv").write_text("a,b\n1\n")
    with pytest.raises(DataError):
        read_table(tmp_path / "ragged.csv")
    assert with_ending([tmp_path], ".csv") == [tmp_path / "b.csv", tmp_path / "ragged.csv"]
    with pytest.raises(ComnetError):
        with_ending([tmp_path / "c.csv"], ".csv")
