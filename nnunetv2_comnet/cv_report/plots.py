"""What the cross-validation's plots share: their canvas, colours and files (PNG for screens, PDF for papers)."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunetv2_comnet.files import written_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which colour-blind readers can distinguish; the markers differ for print.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#7F7F7F", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
INK, FAINT, GRID = "#222222", "#767676", "#e4e4e4"
DPI = 200
SIZE_PT = 9
LETTERS_PER_INCH = 12.5  # of that size, on average


def colour_of(index: int) -> str:
    """Chooses the colour of the model at this place of the table."""
    return COLOURS[index % len(COLOURS)]


def marker_of(index: int) -> str:
    """Chooses the marker of the model at this place of the table."""
    return MARKERS[index % len(MARKERS)]


def new_figure(
    width_in: float, height_in: float, columns: int = 1, heights: Sequence[float] = (1.0,)
) -> "tuple[Figure, list[list[Axes]]]":
    """Makes a white figure, and its axes (rows, columns), without matplotlib's shared state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(heights), columns, squeeze=False, gridspec_kw={"height_ratios": heights})
    for axes in grid.ravel():
        _plain(axes)
    return figure, grid.tolist()


def save(figure: "Figure", base: Path) -> list[Path]:
    """Writes base.png and base.pdf, without a date: the same numbers give the same bytes. Returns their paths."""
    import matplotlib

    targets = [base.with_name(base.name + ending) for ending in (".png", ".pdf")]
    # Fonts as outlines that journals accept (type 42); the setting is put back at once.
    with matplotlib.rc_context({"pdf.fonttype": 42}):
        for target in targets:
            metadata: dict[str, Any] = {"Software": None} if target.suffix == ".png" else {"CreationDate": None}
            with written_whole(target) as temporary:
                figure.savefig(temporary, dpi=DPI, facecolor="white", metadata=metadata)
    return targets


def head(figure: "Figure", title: str, subtitle: str) -> None:
    """Writes above a figure what the data are and what it shows, in lines that fit."""
    width = int(figure.get_figwidth() * LETTERS_PER_INCH)
    text = "\n".join(textwrap.fill(part, width) for part in (title, subtitle))
    figure.suptitle(text, fontsize=SIZE_PT, color=INK)


def log_ticks(axis: "Axis", *, steps: tuple[int, ...] = (1,), percent: bool = False) -> None:
    """Puts plain numbers at `steps` times the powers of ten: matplotlib's own labels crowd a short axis."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=steps))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %" if percent else f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def legend_below(figure: "Figure", axes: "Axes") -> None:
    """Draws one legend for all axes, below them."""
    handles, labels = axes.get_legend_handles_labels()
    letters = figure.get_figwidth() * LETTERS_PER_INCH
    columns = int(letters // (max(len(label) for label in labels) + 8))  # 8: the handle and the gaps
    columns = max(1, min(columns, len(labels)))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=SIZE_PT)


def _plain(axes: "Axes") -> None:
    axes.tick_params(labelsize=SIZE_PT, colors=INK, length=3)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(size=SIZE_PT, color=INK)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(FAINT)
    axes.set_axisbelow(True)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
