"""The figures: the paper's dots per fold and bars per region, Dice against volume, and the reliability diagram."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nnunetv2_comnet.cv_report.calibration import ece_of
from nnunetv2_comnet.cv_report.paper import AVERAGE
from nnunetv2_comnet.cv_report.plots import (
    FAINT,
    INK,
    SIZE_PT,
    colour_of,
    head,
    legend_below,
    log_ticks,
    marker_of,
    new_figure,
    save,
)
from nnunetv2_comnet.cv_report.summary import CvTable
from nnunetv2_comnet.evaluation.calibration import TUMOUR
from nnunetv2_comnet.evaluation.results import METRICS, Evaluation
from nnunetv2_comnet.statistics import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FEWEST = 100  # voxels of a bin that is drawn: fewer say little
_SPREAD = 0.3  # width over which a model's folds are laid side by side
_NAME_WIDTH = 15  # letters of a model's name side by side with others
_MIN_FOR_TREND = 9  # cases: three medians of three


def fold_dots(table: CvTable, base: Path, title: str) -> list[Path]:
    """Draws a dot per fold of the average over regions, the mean over folds as a bar, its deviation as whiskers."""
    column = table.columns.index(AVERAGE)
    count = len(table.rows)
    figure, ((axes,),) = new_figure(max(3.6, 1.6 + 1.3 * count), 3.6)
    for index, row in enumerate(table.rows):
        values = row.by_fold[:, column]
        places = index + _offsets(len(values))
        mean, sd = float(row.mean[column]), float(row.sd[column])
        axes.errorbar(index, mean, yerr=None if np.isnan(sd) else sd, color=INK, capsize=5, linewidth=1.3, zorder=3)
        axes.hlines(mean, index - 0.24, index + 0.24, color=INK, linewidth=2.0, zorder=3)
        axes.scatter(
            places, values, s=34, color=colour_of(index), marker=marker_of(index), edgecolors="white",
            linewidths=0.6, zorder=4,
        )  # fmt: skip
        axes.annotate(
            f"{mean:.{METRICS[table.metric].digits}f}", (index + 0.27, mean), xytext=(3, 0),
            textcoords="offset points", fontsize=SIZE_PT, color=INK, va="center",
        )  # fmt: skip
    axes.set_xticks(range(count), [_in_lines(row.name) for row in table.rows])
    axes.set_xlim(-0.55, count - 1 + 0.8)
    axes.margins(y=0.15)
    axes.set_ylabel(f"{METRICS[table.metric].label}, average over regions")
    head(figure, title, "a dot per fold; mean and standard deviation over folds")
    return save(figure, base)


def region_bars(table: CvTable, base: Path, title: str) -> list[Path]:
    """Draws a group of bars per region, a bar per model with its deviation over folds, and the folds as small dots."""
    count = len(table.rows)
    width = 0.8 / count
    figure, ((axes,),) = new_figure(1.6 + max(1.2, 0.42 * count) * len(table.columns), 3.6)
    for index, row in enumerate(table.rows):
        places = np.arange(len(table.columns)) + (index - (count - 1) / 2) * width
        axes.bar(places, row.mean, width * 0.92, color=colour_of(index), label=row.name, zorder=2)
        if len(row.folds) > 1:
            axes.errorbar(places, row.mean, yerr=row.sd, fmt="none", ecolor=INK, capsize=3, linewidth=1.2, zorder=4)
        spread = _offsets(len(row.folds)) / _SPREAD * width * 0.5
        axes.scatter(
            (places[:, None] + spread).ravel(), row.by_fold.T.ravel(), s=7, color="white", edgecolors=INK,
            linewidths=0.5, zorder=3,
        )  # fmt: skip
    axes.set_xticks(range(len(table.columns)), table.columns)
    axes.tick_params(axis="x", length=0)
    if METRICS[table.metric].better == "higher":
        axes.set_ylim(0, 1.02)
    axes.set_ylabel(METRICS[table.metric].label)
    head(figure, title, "mean and standard deviation over folds; dots: folds")
    legend_below(figure, axes)
    return save(figure, base)


def dice_against_volume(evaluations: Mapping[str, Evaluation], base: Path, title: str) -> list[Path]:
    """Draws a panel per region: Dice over the true volume in mL, a dot per case; lines join the medians of thirds."""
    regions = next(iter(evaluations.values())).regions
    figure, (panels,) = new_figure(1.0 + 2.5 * len(regions), 3.3, len(regions))
    for place, (axes, region) in enumerate(zip(panels, regions, strict=True)):
        absent = 0
        for index, (name, evaluation) in enumerate(evaluations.items()):
            volumes_ml = evaluation.table("volume_truth_mm3")[:, place] / 1000
            dice = evaluation.table("dice")[:, place]
            there = (volumes_ml > 0) & np.isfinite(dice)
            absent = max(absent, int((volumes_ml == 0).sum()))
            axes.scatter(
                volumes_ml[there], dice[there], s=13, color=colour_of(index), marker=marker_of(index), alpha=0.6,
                linewidths=0, label=name, zorder=2,
            )  # fmt: skip
            _trend(axes, volumes_ml[there], dice[there], colour_of(index))
        axes.set_xscale("log")
        low, high = axes.get_xlim()
        log_ticks(axes.xaxis, steps=(1, 2, 5) if high < 50 * low else (1,))
        axes.set_ylim(-0.03, 1.03)
        axes.set_xlabel("true volume, mL")
        axes.set_title(region, color=INK, fontsize=SIZE_PT)
        if absent:
            axes.text(
                0.98, 0.02, f"without {region}: {absent} case(s)", transform=axes.transAxes, ha="right", va="bottom",
                fontsize=SIZE_PT - 2, color=FAINT,
            )  # fmt: skip
    panels[0].set_ylabel("Dice")
    head(figure, title, "Dice against volume, a dot per held-out case; lines join the medians of each third")
    legend_below(figure, panels[0])
    return save(figure, base)


def reliability_diagram(tables: Mapping[str, Mapping[str, Any]], base: Path, title: str) -> list[Path]:
    """Draws how often a voxel near the true tumour is in the region, over the probability that the model gives it.

    A column per region, the shares of the voxels below the diagram; a model on the line y = x is well calibrated.
    `tables`: model -> an evaluation's information["reliability"].
    """
    first = next(iter(tables.values()))
    regions, edges = list(reversed(first["regions"])), np.array(first["edges"])
    figure, (upper, lower) = new_figure(1.0 + 2.5 * len(regions), 4.2, len(regions), heights=(3.2, 1))
    for above, below, region in zip(upper, lower, regions, strict=True):
        above.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle="--", zorder=1)
        for index, (name, table) in enumerate(tables.items()):
            bins = table["regions"][region][TUMOUR]
            voxels = np.array(bins["voxels"], np.float64)
            drawn = voxels >= min(_FEWEST, voxels.max())
            x, y = (np.array(bins[what], np.float64) for what in ("probability", "observed"))
            above.plot(
                x[drawn], y[drawn], color=colour_of(index), marker=marker_of(index), markersize=4, linewidth=1.4,
                label=name, zorder=2,
            )  # fmt: skip
            above.text(
                0.97, 0.04 + 0.07 * (len(tables) - 1 - index), f"ECE {ece_of(bins):.3f}", color=colour_of(index),
                fontsize=SIZE_PT - 1, ha="right",
            )  # fmt: skip
            below.stairs(voxels / voxels.sum(), edges, color=colour_of(index), linewidth=1.4)
        above.set(xlim=(0, 1), ylim=(0, 1.02))
        above.set_title(region, color=INK, fontsize=SIZE_PT)
        above.tick_params(labelbottom=False)
        below.set(xlim=(0, 1), yscale="log", xlabel="predicted probability")
        low, _ = below.get_ylim()
        below.set_ylim(min(low, 0.005), 1)
        log_ticks(below.yaxis, percent=True)
    upper[0].set_ylabel("share truly in the region")
    lower[0].set_ylabel("voxels")
    margin = first["tumour_margin_mm"]
    head(figure, title, f"reliability of held-out probabilities, voxels within {margin:g} mm of the true tumour")
    legend_below(figure, upper[0])
    return save(figure, base)


def _trend(axes: "Axes", volumes_ml: Table, dice: Table, colour: str) -> None:
    """Joins the medians of the smallest, middle and largest third; draws nothing for a few cases."""
    if len(volumes_ml) < _MIN_FOR_TREND:
        return
    thirds = np.array_split(np.argsort(volumes_ml, kind="stable"), 3)
    medians = [(np.median(volumes_ml[third]), np.median(dice[third])) for third in thirds]
    axes.plot(*zip(*medians, strict=True), color=colour, linewidth=1.8, zorder=3)


def _in_lines(name: str) -> str:
    """Breaks a long name into lines, at its blanks and capitals."""
    lines = [""]
    for piece in re.split(r"(?<=[a-z])(?=[A-Z])|(?<= )", name):
        if lines[-1] and len(lines[-1] + piece.rstrip()) > _NAME_WIDTH:
            lines.append("")
        lines[-1] += piece
    return "\n".join(line.rstrip() for line in lines)


def _offsets(count: int) -> Table:
    """Places folds beside one another, centred on 0."""
    return np.linspace(-_SPREAD / 2, _SPREAD / 2, count) if count > 1 else np.zeros(1)
