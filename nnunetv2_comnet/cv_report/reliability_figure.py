"""The reliability diagram: how often a voxel is in the region, where the model gives it a probability of so much."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

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
from nnunetv2_comnet.cv_report.probabilities import ece_of
from nnunetv2_comnet.evaluation.calibration import TUMOUR

_FEWEST = 100  # voxels of a bin that is drawn: fewer tell little


def reliability_diagram(tables: Mapping[str, Mapping[str, Any]], base: Path, title: str) -> list[Path]:
    """tables: model -> an evaluation's information["reliability"]. A column per region: the diagram over the shares.

    Voxels near the true tumour, all held-out cases together; the line of y = x is a model that can be believed.
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
