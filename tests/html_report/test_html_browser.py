"""The report as a reader has it: opened from disk in Chromium, sorted, moved through, looked at pixel by pixel."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.image
import nibabel
import numpy as np
import pytest
from html_browser import Page, browser, missing

from nnunetv2_comnet.evaluation.figures import COLOURS
from nnunetv2_comnet.evaluation.results import MISSING, SCORED, CaseScores, Evaluation
from nnunetv2_comnet.html_report.report import ReportInput, write_report
from nnunetv2_comnet.html_report.sources import Sources
from nnunetv2_comnet.label_schemes import ED, ET, NCR

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "none")

SHAPE = (20, 24, 16)
STRANGE = 'O\'Brien <b>"x" & é'
# Dice by case and region (ET, TC, WT): by mean B 0.4, A 0.6, STRANGE 0.8; the 10 and 9 of HD95 tell numbers from text.
DICE = {"A": (0.9, 0.5, 0.4), "B": (0.3, 0.4, 0.5), STRANGE: (0.8, 0.8, 0.8)}
HD95 = {"A": 10.0, "B": 9.0, STRANGE: float("inf")}
MISSED = [0x3D, 0x8B, 0xFF]
FALSE = [0xFF, 0x4A, 0x2A]
RELABELLED = [0xB4, 0x8C, 0xFF]


def masks(case: str) -> tuple[np.ndarray, np.ndarray]:
    """Truth: a box of oedema with core and rim in it; prediction: the same moved by one voxel along y."""
    truth = np.zeros(SHAPE, np.uint8)
    z = 6 if case == "B" else 9
    truth[z : z + 6, 6:16, 4:12] = ED
    truth[z + 1 : z + 4, 8:13, 6:10] = ET
    truth[z + 2, 9:12, 7:9] = NCR
    return truth, np.roll(truth, 1, axis=1)


def save(array: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array.transpose(2, 1, 0), np.diag([-2.0, -2.0, 2.0, 1.0])), path)


def rgb(colour: str) -> list[int]:
    return [int(colour[at : at + 2], 16) for at in (1, 3, 5)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("report")
    for case in DICE:
        truth, prediction = masks(case)
        save(truth, root / "labelsTs" / f"{case}.nii.gz")
        save(prediction, root / "pred" / f"{case}.nii.gz")
        entropy = np.where(prediction == ED, np.float32(1), np.float32(0))
        save(entropy, root / "pred" / "entropy" / f"{case}_WT.nii.gz")
        for channel in (0, 1):  # bright to the patient's right, or to the left; nowhere 0, so that nothing is cut away
            image = np.full(SHAPE, 50, np.int16)
            image[..., 8 * channel : 8 * channel + 8] = 200
            save(image, root / "imagesTs" / f"{case}_{channel:04d}.nii.gz")
    (root / "dataset.json").write_text(json.dumps({
        "channel_names": {"0": "T1c", "1": "FLAIR"}, "file_ending": ".nii.gz",
        "labels": {"background": 0, "whole tumor": [1, 2, 3], "tumor core": [1, 3], "enhancing tumor": [3]},
    }))  # fmt: skip
    run = {"versions": {"torch": "2.0"}, "checkpoints": {"fold_0": "ab" * 32}, "options": {"thresholds": {"ET": 0.4}},
           "cases": {"A": {"state": "done", "seconds": 2.5}}}  # fmt: skip
    (root / "pred" / "comnet_run.json").write_text(json.dumps(run))
    matplotlib.image.imsave(root / "a_figure.png", np.zeros((30, 40, 3)))
    (root / "folds.csv").write_text(
        "model,ET,TC\nours </script><script>alert(1)</script>,0.70 ± 0.1,0.9\nbase,0.8,0.6\n"
    )
    return root


def evaluation() -> Evaluation:
    cases = [
        CaseScores(name, SCORED, "", {
            region: {"dice": value, "hd95_mm": HD95[name]}
            for region, value in zip(("ET", "TC", "WT"), values, strict=True)
        }) for name, values in DICE.items()
    ]  # fmt: skip
    cases.append(CaseScores("lost", MISSING, "there is no prediction", {r: {"dice": 0.0} for r in ("ET", "TC", "WT")}))
    return Evaluation("brats2023", "", "", ("ET", "TC", "WT"), tuple(cases))


@pytest.fixture(scope="module")
def path(folder: Path) -> Path:
    report = ReportInput(
        sources=Sources(folder / "imagesTs", folder / "labelsTs", (folder / "pred",)),
        title="Five </script> & <i>folds</i>",
        evaluations={"ours": evaluation()},
        figures=[folder / "a_figure.png"],
        tables=[folder / "folds.csv"],
    )
    written = write_report(folder / "report.html", report)
    assert (written.cases, written.shown) == (4, 3)
    return folder / "report.html"


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    with browser() as started:
        yield started


@pytest.fixture
def page(driver: Any, path: Path) -> Iterator[Page]:
    opened = Page(driver, path)
    yield opened
    opened.collect()
    assert opened.said == [], "the console is silent"
    assert {address.split(":")[0] for address in opened.requested} <= {"file", "data"}, "no network"


def bare(page: Page, *shown: str) -> None:
    """Nothing but these overlays, at full opacity."""
    page.script("""for (const box of document.querySelectorAll('#overlays input')) {
        if (box.checked !== arguments[0].includes(box.id.replace('show-', ''))) box.click();
      }
      const opacity = document.getElementById('opacity');
      opacity.value = 100;
      opacity.dispatchEvent(new Event('input'));""", list(shown))  # fmt: skip
    page.until("document.querySelectorAll('#stage[aria-busy]').length === 0")


def is_colour(picture: np.ndarray, colour: list[int]) -> np.ndarray:
    return (picture == colour).all(axis=-1)


def test_the_page_tells_everything_and_asks_for_nothing(page: Page) -> None:
    assert page.texts("h1") == ["Five </script> & <i>folds</i>"]
    assert "worst first: mean Dice" in page.texts("#lead")[0]
    assert page.texts("figcaption") == ["a figure"]
    assert page.script("return document.querySelector('#figures img').naturalWidth") == 40
    run = " ".join(page.texts("#run td"))
    assert all(value in run for value in ("ab" * 32, "0.4", "2.0", "1 of 1", "median 2.5"))
    page.collect()
    assert [address for address in page.requested if not address.startswith("data:")] == [page.driver.current_url]


def test_no_script_from_a_name_is_run_and_none_may_ask_the_network(page: Page) -> None:
    assert page.texts("b, i:not(#legend i)") == []
    assert STRANGE in page.texts("#case-table tbody th")
    # A request that the page itself would make is refused by its policy, and said on the console.
    refused = "fetch('data:text/plain,x').then(() => 'answered', () => 'refused').then(arguments[0])"
    assert page.driver.execute_async_script(refused) == "refused"
    page.collect()
    assert any("Content Security Policy" in line for line in page.said)
    page.said.clear()


def names(page: Page) -> list[str]:
    return page.texts("#case-table tbody th")


def test_cases_come_worst_first_and_columns_sort_as_numbers(page: Page) -> None:
    assert names(page) == ["lost", "B", "A", STRANGE]
    headers = page.driver.find_elements("css selector", "#case-table thead button")
    by_title = {header.text: header for header in headers}
    by_title["HD95, mm ET"].click()
    assert names(page) == ["B", "A", STRANGE, "lost"]  # 9, 10, infinite, none: as text, 10 would come before 9
    by_title["HD95, mm ET"].click()
    assert names(page) == [STRANGE, "A", "B", "lost"]  # what is missing stays last
    by_title["Dice ET"].send_keys("\ue007")  # the Enter key: headers are buttons
    assert names(page) == ["lost", "B", STRANGE, "A"]
    order = "return document.querySelector('#case-table th[aria-sort]').ariaSort"
    assert page.script(order) == "ascending"
    by_title["Case"].click()
    assert names(page) == ["A", "B", "lost", STRANGE]


def test_a_table_from_outside_sorts_by_the_number_that_begins_a_cell(page: Page) -> None:
    rows = "table[aria-label='folds'] tbody th"
    assert page.texts(rows) == ["ours </script><script>alert(1)</script>", "base"]
    page.driver.find_elements("css selector", "table[aria-label='folds'] thead button")[2].click()
    assert page.texts(rows)[0] == "base"  # 0.6 before 0.9


def test_the_summary_is_the_mean_over_cases(page: Page) -> None:
    cells = page.texts("#scores table[aria-label='Summary of the scores'] tbody tr:first-child > *")
    # ET: (0.9 + 0.3 + 0.8 + 0) / 4 = 0.5; deviations .4 .2 .3 .5: sqrt(0.54 / 3) = 0.4243; median (0.3 + 0.8) / 2.
    assert cells[:3] == ["Dice", "4", "0.5000 ± 0.4243 (0.5500)"]


@pytest.mark.parametrize(("kind", "at"), [("truth", 0), ("prediction", 1)])
def test_a_mask_has_its_colours_exactly_where_it_is(page: Page, kind: str, at: int) -> None:
    bare(page, kind)
    labels = masks("B")[at]
    z = int(page.drawn.split()[-1])
    assert (labels[z] > 0).sum() == 80  # the slices of the box: 10 x 8
    picture = page.colours(SHAPE[1], SHAPE[2])
    for label, (colour, _) in COLOURS.items():
        assert np.array_equal(is_colour(picture, rgb(colour)), labels[z] == label)
    grey = picture[labels[z] == 0]
    assert (grey.max(axis=-1) - grey.min(axis=-1)).max() <= 2


def test_coronal_and_sagittal_planes_are_the_same_volume_cut_otherwise(page: Page) -> None:
    bare(page, "truth")
    truth, _ = masks("B")
    page.press("main", "c")
    y = int(page.drawn.split()[-1])
    seen = is_colour(page.colours(SHAPE[0], SHAPE[2]), rgb(COLOURS[ED][0]))
    assert np.array_equal(seen[::-1], truth[:, y] == ED)  # superior is up
    page.press("main", "s")
    x = int(page.drawn.split()[-1])
    seen = is_colour(page.colours(SHAPE[0], SHAPE[1]), rgb(COLOURS[ED][0]))
    assert np.array_equal(seen[::-1], truth[:, :, x] == ED)


def test_the_difference_tells_missed_false_and_relabelled_voxels_apart(page: Page) -> None:
    bare(page, "difference")
    z = int(page.drawn.split()[-1])
    truth, prediction = (volume[z] for volume in masks("B"))
    picture = page.colours(SHAPE[1], SHAPE[2])
    assert np.array_equal(is_colour(picture, MISSED), (truth > 0) & (prediction == 0))
    assert np.array_equal(is_colour(picture, FALSE), (truth == 0) & (prediction > 0))
    assert np.array_equal(is_colour(picture, RELABELLED), (truth != prediction) & (truth > 0) & (prediction > 0))


def test_an_uncertain_place_is_bright_where_its_map_is_high(page: Page) -> None:
    bare(page)
    before = page.colours(SHAPE[1], SHAPE[2]).astype(int)
    bare(page, "entropy")
    page.until("document.getElementById('legend').textContent.includes('entropy')")
    after = page.colours(SHAPE[1], SHAPE[2]).astype(int)
    high = masks("B")[1][int(page.drawn.split()[-1])] == ED
    # One bit is the most there is: the brightest colour of the ramp. Compression blurs the border a little.
    assert np.median(np.abs(after[high] - [253, 250, 170])) <= 4
    assert np.median(np.abs(after[~high] - before[~high])) == 0


def test_outlines_show_the_prediction_over_the_truth(page: Page) -> None:
    bare(page, "truth", "prediction")
    assert "truth is filled, prediction is outlined" in page.texts("#legend")[0]
    z = int(page.drawn.split()[-1])
    # Outlines run along the voxels' edges: the middles still show the truth.
    seen = is_colour(page.colours(SHAPE[1], SHAPE[2]), rgb(COLOURS[ED][0]))
    assert np.array_equal(seen, masks("B")[0][z] == ED)


def test_slices_by_slider_key_and_wheel(page: Page) -> None:
    z = int(page.drawn.split()[-1])
    page.press("slice", "\ue014")  # right arrow on the slider itself
    page.until_drawn(f"B axial {z + 1}")
    page.press("main", "\ue015", "\ue015")  # down, down
    page.until_drawn(f"B axial {z - 1}")
    page.script("""const slider = document.getElementById('slice');
        slider.value = 15; slider.dispatchEvent(new Event('input'));""")
    page.until_drawn("B axial 15")
    assert page.texts("#where") == [f"axial slice 16 of {SHAPE[0]}"]
    page.script(
        "document.getElementById('main').dispatchEvent(new WheelEvent('wheel', {deltaY: 120, cancelable: true}))"
    )
    page.until_drawn("B axial 12")  # 120 pixels are three slices
    bare(page, "truth")
    assert not is_colour(page.colours(SHAPE[1], SHAPE[2]), rgb(COLOURS[ED][0])).any()  # the tumour ends at slice 11
    page.press("main", "\ue011")  # Home
    page.until_drawn("B axial 0")
    page.press("main", "\ue015")
    page.until_drawn("B axial 0")


def test_cases_by_key_list_and_table(page: Page) -> None:
    assert page.drawn.startswith("B ")
    page.press("main", "\ue014")  # right arrow
    page.until("document.getElementById('viewer').dataset.drawn.startsWith('A ')")
    assert page.texts("#case-scores tbody tr:first-child td") == ["0.9000", "0.5000", "0.4000"]
    page.press("main", "\ue012")  # left, and left again: round to the last
    page.until("document.getElementById('viewer').dataset.drawn.startsWith('B ')")
    page.press("main", "\ue012")
    page.until(f"document.getElementById('viewer').dataset.drawn.startsWith({json.dumps(STRANGE)})")
    next(b for b in page.driver.find_elements("css selector", "#case-table .link") if b.text == "A").click()
    page.until("document.getElementById('viewer').dataset.drawn.startsWith('A ')")
    assert page.script("return document.activeElement.id") == "main"
    bare(page, "truth")
    z = int(page.drawn.split()[-1])
    seen = is_colour(page.colours(SHAPE[1], SHAPE[2]), rgb(COLOURS[ED][0]))
    assert np.array_equal(seen, masks("A")[0][z] == ED)


def test_another_channel_is_another_picture(page: Page) -> None:
    bare(page)
    before = page.colours(SHAPE[1], SHAPE[2]).astype(int)
    assert page.texts("#channel option") == ["T1c", "FLAIR"]
    page.script("""const channel = document.getElementById('channel');
        channel.value = 'FLAIR'; channel.dispatchEvent(new Event('change'));""")
    page.press("main", "\ue014")  # the choice stays with the next case
    page.until("document.getElementById('viewer').dataset.drawn.startsWith('A ')")
    assert page.script("return document.getElementById('channel').value") == "FLAIR"
    after = page.colours(SHAPE[1], SHAPE[2]).astype(int)
    # 50 and 200 are 64 and 255 of grey; at the border of both the picture is smooth.
    for picture, dark, bright in ((before, slice(10, 16), slice(0, 6)), (after, slice(0, 6), slice(10, 16))):
        assert np.abs(picture[3:-3, dark][:, 1:-1] - 64).max() < 16
        assert np.abs(picture[3:-3, bright][:, 1:-1] - 255).max() < 16


def test_new_patients_have_predictions_and_maps_only(driver: Any, folder: Path) -> None:
    (folder / "pred" / "volumes.csv").write_text("case,WT_ml\nA,12.5\n")
    report = ReportInput(sources=Sources(folder / "imagesTs", None, (folder / "pred",)))
    write_report(folder / "new.html", report)
    (folder / "pred" / "volumes.csv").unlink()
    page = Page(driver, folder / "new.html")
    assert page.texts("#overlays label") == ["prediction", "entropy"]
    assert "most uncertain first" in page.texts("#lead")[0]
    assert page.texts("table[aria-label='volumes'] td") == ["12.5"]
    bare(page, "prediction")
    case, _, z = page.drawn.rsplit(" ", 2)
    seen = is_colour(page.colours(SHAPE[1], SHAPE[2]), rgb(COLOURS[ED][0]))
    assert np.array_equal(seen, masks(case)[1][int(z)] == ED)
    page.collect()
    assert page.said == []


def test_a_page_of_figures_alone(driver: Any, folder: Path) -> None:
    write_report(folder / "figures.html", ReportInput(Sources(), figures=[folder / "a_figure.png"]))
    page = Page(driver, folder / "figures.html")
    page.collect()
    assert page.said == []
    assert page.texts("section:not([hidden]) > h2") == ["Figures", "Run"]
