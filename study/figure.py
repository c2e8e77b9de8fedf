"""The study's figure: paired differences of Dice to the row's reference, a panel per region and of the average."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunetv2_comnet.comparison.pairing import AVERAGE
from nnunetv2_comnet.files import written_whole
from study.differences import COLUMNS
from study.settings import AUTOENCODER, GATE, MAIN

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH_PX, ROW_PX, DPI = 1600, 42, 100
HEAD_PX, FOOT_PX, LEFT_PX, RIGHT_PX, GAP_PX = 92, 84, 372, 24, 26
INK, FAINT, RULE, BAND = "#1c2230", "#6b7483", "#c9ced8", "#f4f6f9"
ORDINARY, DEFAULT, ORACLE = "#2f6db5", "#c2410c", "#7a8290"


def draw(report: dict[str, Any], target: Path) -> None:
    """Writes the forest plot. The oracles' gains set no scale: those that leave the panel are written as numbers."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = {key: row for key, row in report["rows"].items() if row["reference"]}
    height_px = HEAD_PX + FOOT_PX + ROW_PX * len(rows)
    figure = Figure(figsize=(WIDTH_PX / DPI, height_px / DPI), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    wide = (WIDTH_PX - LEFT_PX - RIGHT_PX - GAP_PX * (len(COLUMNS) - 1)) / len(COLUMNS)
    for index, column in enumerate(COLUMNS):
        left = LEFT_PX + index * (wide + GAP_PX)
        box = (left / WIDTH_PX, FOOT_PX / height_px, wide / WIDTH_PX, ROW_PX * len(rows) / height_px)
        axes = figure.add_axes(box)
        _panel(axes, rows, column, named=index == 0)
    count = len(report["patients"])
    figure.text(
        16 / WIDTH_PX,
        1 - 26 / height_px,
        f"Dice against stage 1: mean paired difference and 95 % interval, {count} generated patients",
        color=INK,
        fontsize=14,
        va="center",
    )
    figure.text(
        (LEFT_PX + WIDTH_PX - RIGHT_PX) / 2 / WIDTH_PX,
        20 / height_px,
        "difference of Dice, to the right: better than stage 1; every panel has its own scale",
        color=FAINT,
        fontsize=12,
        ha="center",
        va="center",
    )
    with written_whole(target) as temporary:
        figure.savefig(temporary, dpi=DPI, facecolor="white", metadata={"Software": None})


def _panel(axes: "Axes", rows: dict[str, Any], column: str, *, named: bool) -> None:
    """One panel: a row per line of the table, a dot and its interval, a line at 0."""
    found = {key: row["difference"]["dice"][column] for key, row in rows.items()}
    ordinary = [value for key, value in found.items() if key not in (AUTOENCODER, GATE)]
    reach = max(max(abs(value["low"]), abs(value["high"])) for value in ordinary)
    reach = 1.12 * max(reach, 1e-3)
    for number, (key, value) in enumerate(found.items()):
        if number % 2 == 0:
            axes.axhspan(number - 0.5, number + 0.5, color=BAND, zorder=0, linewidth=0)
        colour = DEFAULT if key == MAIN else ORACLE if key in (AUTOENCODER, GATE) else ORDINARY
        if value["high"] > reach and key in (AUTOENCODER, GATE):
            axes.annotate(
                f"{value['mean']:+.3f} \N{RIGHTWARDS ARROW}",
                (reach, number),
                xytext=(-6, 0),
                textcoords="offset points",
                color=colour,
                fontsize=11,
                ha="right",
                va="center",
            )
            continue
        axes.plot([value["low"], value["high"]], [number, number], color=colour, linewidth=2.2, zorder=2)
        axes.plot([value["mean"]], [number], "o", color=colour, markersize=6.5, zorder=3)
    axes.axvline(0, color=INK, linewidth=1, zorder=1)
    axes.set_xlim(-reach, reach)
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.set_title(column if column != AVERAGE else "average of the three", color=INK, fontsize=13, pad=8)
    axes.set_yticks(range(len(found)), [row["name"] for row in rows.values()] if named else [""] * len(found))
    axes.tick_params(axis="y", length=0, labelsize=11.5, labelcolor=INK, pad=8)
    axes.tick_params(axis="x", labelsize=10, labelcolor=FAINT, color=RULE)
    axes.locator_params(axis="x", nbins=4)
    for label in axes.get_yticklabels():
        if label.get_text() == rows[MAIN]["name"]:
            label.set_color(DEFAULT)
    for side in ("top", "left", "right"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(RULE)
