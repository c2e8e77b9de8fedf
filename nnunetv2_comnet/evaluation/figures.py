"""A picture for the README and the reports: truth against prediction of some patients.

Axial slices as radiologists hang them, from arrays (z, y, x) = (to superior, to posterior, to the patient's left).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nnunetv2_comnet.errors import ConfigurationError
from nnunetv2_comnet.evaluation.dice import region_dice
from nnunetv2_comnet.files import written_whole
from nnunetv2_comnet.grid import box_around
from nnunetv2_comnet.label_schemes import BRATS_123, ED, ET, NCR
from nnunetv2_comnet.regions import short_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BACKGROUND, INK, FAINT = "#0b0e14", "#e8ebf0", "#8b94a5"
COLOURS: Mapping[int, tuple[str, str]] = {
    ED: ("#2fb8a6", "oedema"),
    ET: ("#ffb238", "enhancing tumour"),
    NCR: ("#e0457b", "necrotic and non-enhancing core"),
}
DPI = 100
MOST_COLUMNS = 4
_MARGIN_MM = 6.0
_TALL = 1.24  # of a cell: heads are longer than wide


@dataclass(frozen=True)
class FigureCase:
    """One patient: scans by channel name, truth and prediction (written labels), all (z, y, x) on one grid."""

    name: str
    images: Mapping[str, npt.NDArray[Any]]
    truth: npt.NDArray[np.integer]
    prediction: npt.NDArray[np.integer]
    spacing_mm_zyx: tuple[float, float, float] = (1.0, 1.0, 1.0)


def truth_against_prediction(
    cases: Sequence[FigureCase],
    out_png: str | Path,
    channel: str = "FLAIR",
    regions: Mapping[str, tuple[int, ...]] = BRATS_123.regions,
    width_px: int = 1200,
) -> None:
    """Writes a picture with a column per patient: scan, truth over it, prediction over it.

    The slice is the axial one with the most tumour; under each column stands the Dice of the whole volume.

    Args:
        cases: one to four patients.
        out_png: the file, PNG or PDF by its ending.
        channel: the scan that is shown.
        regions: name -> written labels, of the Dice.
        width_px: of the picture.

    Raises:
        ConfigurationError: no case or more than four, or one without the channel.
    """
    _check(cases, channel)
    rows = [("scan", None), ("truth", "truth"), ("prediction", "prediction")]
    figure, axes = _canvas(len(rows), len(cases), width_px)
    for column, case in enumerate(cases):
        z, rows_yx = _window(case)
        for row, (_, mask) in enumerate(rows):
            _show(axes[row][column], case, channel, z, rows_yx, getattr(case, mask) if mask else None)
        axes[0][column].set_title(case.name, color=INK, fontsize=12, pad=8)
        scores = region_dice(case.truth, case.prediction, regions)
        text = "   ".join(f"{short_name(name)} {scores[name]:.2f}" for name in reversed(list(regions)))
        axes[-1][column].text(
            0.5, -0.035, text, transform=axes[-1][column].transAxes, color=INK, fontsize=11, ha="center", va="top"
        )
    for row, (label, mask) in enumerate(rows):
        _name_row(axes[row][0], f"{label} ({channel})" if mask is None else label)
    _legend(figure)
    _save(figure, out_png)


def _check(cases: Sequence[FigureCase], channel: str) -> None:
    if not 1 <= len(cases) <= MOST_COLUMNS:
        raise ConfigurationError(f"{len(cases)} cases do not fit one picture; give 1 to {MOST_COLUMNS}")
    for case in cases:
        if channel not in case.images:
            raise ConfigurationError(f"case {case.name} has no channel '{channel}'; it has {', '.join(case.images)}")


def _window(case: FigureCase) -> tuple[int, tuple[slice, slice]]:
    """Chooses the axial slice with the most tumour (else the middle one), and cuts it to the brain."""
    areas = (case.truth > 0).sum(axis=(1, 2))
    z = int(areas.argmax()) if areas.any() else case.truth.shape[0] // 2
    brain = np.any([image.max(axis=0) > 0 for image in case.images.values()], axis=0)
    y, x = box_around(brain) or map(slice, brain.shape)
    margins = [int(np.ceil(_MARGIN_MM / spacing)) for spacing in case.spacing_mm_zyx[1:]]
    y, x = (slice(max(0, (s.start or 0) - margin), s.stop + margin) for s, margin in zip((y, x), margins, strict=True))
    return z, (y, x)


def _canvas(rows: int, columns: int, width_px: int) -> "tuple[Figure, list[list[Axes]]]":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    left_px, gap_px, head_px, foot_px = 44, 8, 40, 96
    wide = (width_px - left_px - gap_px * columns) / columns
    tall = wide * _TALL
    height_px = round(head_px + foot_px + rows * tall + (rows - 1) * gap_px)
    figure = Figure(figsize=(width_px / DPI, height_px / DPI), dpi=DPI, facecolor=BACKGROUND)
    FigureCanvasAgg(figure)

    def cell(row: int, column: int) -> "Axes":
        left = left_px + column * (wide + gap_px)
        bottom = height_px - head_px - (row + 1) * tall - row * gap_px
        box = (left / width_px, bottom / height_px, wide / width_px, tall / height_px)
        return figure.add_axes(box, facecolor="black")

    return figure, [[cell(row, column) for column in range(columns)] for row in range(rows)]


def _show(
    axes: "Axes",
    case: FigureCase,
    channel: str,
    z: int,
    rows_yx: tuple[slice, slice],
    mask: npt.NDArray[np.integer] | None,
) -> None:
    volume = case.images[channel]
    inside = volume[volume > 0]
    brightest = float(np.percentile(inside, 99.7)) if inside.size else 1.0
    if mask is not None:
        brightest *= 1.2  # so that the colours stand out
    y_mm, x_mm = case.spacing_mm_zyx[1:]
    picture = volume[z][rows_yx]
    height, width = picture.shape[0] * y_mm, picture.shape[1] * x_mm
    axes.imshow(
        picture, cmap="gray", vmin=0, vmax=brightest, interpolation="bicubic", extent=(0, width, height, 0), zorder=0
    )
    if mask is not None:
        _overlay(axes, mask[z][rows_yx], y_mm, x_mm)
    # The same cell for all: the picture is centred in it, black around.
    half = max(height / _TALL, width) / 2
    axes.set_xlim(width / 2 - half, width / 2 + half)
    axes.set_ylim(height / 2 + _TALL * half, height / 2 - _TALL * half)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def _overlay(axes: "Axes", labels: npt.NDArray[np.integer], y_mm: float, x_mm: float) -> None:
    y = (np.arange(labels.shape[0]) + 0.5) * y_mm
    x = (np.arange(labels.shape[1]) + 0.5) * x_mm
    for label, (colour, _) in COLOURS.items():
        part = (labels == label).astype(float)
        if part.any():
            axes.contourf(x, y, part, levels=[0.5, 1.5], colors=[colour], alpha=0.42, zorder=1)
            axes.contour(x, y, part, levels=[0.5], colors=[colour], linewidths=1.1, zorder=2)


def _name_row(axes: "Axes", text: str) -> None:
    axes.text(
        -0.045, 0.5, text, transform=axes.transAxes, color=FAINT, fontsize=12, rotation=90, ha="right", va="center"
    )


def _legend(figure: "Figure") -> None:
    from matplotlib.patches import Patch

    handles = [Patch(facecolor=colour, label=name) for colour, name in COLOURS.values()]
    height_px = figure.get_figheight() * DPI
    figure.legend(
        handles=handles,
        loc="lower center",
        bbox_to_anchor=(0.5, 8 / height_px),
        ncols=len(handles),
        frameon=False,
        labelcolor=INK,
        fontsize=11,
        handlelength=1.1,
        handleheight=1.1,
        columnspacing=2.5,
    )


def _save(figure: "Figure", out_png: str | Path) -> None:
    with written_whole(out_png) as temporary:
        undated: dict[str, Any] = {"CreationDate": None} if temporary.suffix == ".pdf" else {"Software": None}
        figure.savefig(temporary, dpi=DPI, facecolor=BACKGROUND, metadata=undated)
