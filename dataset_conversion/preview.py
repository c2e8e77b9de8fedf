"""Draws a case for the eye: four channels in three planes, the regions' outlines on top."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nnunetv2_comnet.files import written_whole
from nnunetv2_comnet.grid import box_around
from nnunetv2_comnet.label_schemes import ED, ET, EXTRA, NCR

# Colours that stay apart for colour-blind eyes (Okabe and Ito); the same in every picture.
OUTLINES = (
    ("oedema", ED, "#56B4E9"),
    ("enhancing", ET, "#D55E00"),
    ("necrosis / non-enhancing", NCR, "#F0E442"),  # after the ring around it, whose inner edge is its own edge
    ("cavity / cyst", EXTRA, "#CC79A7"),
)
MARGIN_VOXELS = 3  # around the head
PLANES = (("axial", 2), ("coronal", 1), ("sagittal", 0))


def draw_preview(
    target: Path,
    case: str,
    channels: Mapping[str, npt.NDArray[Any]],
    mask: npt.NDArray[np.uint8],
    affine: npt.NDArray[np.float64],
) -> None:
    """Writes a PNG. Arrays are of shape (x, y, z) on the grid of `affine`; `mask` holds written labels.

    Each row shows the slice of one plane that holds most tumour, the patient's left on the right (as radiologists
    look at it), head up, front up in the axial row.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from nibabel.orientations import apply_orientation, io_orientation

    orientation = io_orientation(affine)  # by axis of the array: the axis of (right, anterior, superior), and its sign
    filled = np.logical_or.reduce([data != 0 for data in channels.values()]) | (mask != 0)
    head = box_around(filled, MARGIN_VOXELS) or (slice(None),) * 3
    images = {name: apply_orientation(data[head], orientation) for name, data in channels.items()}
    labels = apply_orientation(mask[head], orientation)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)[np.argsort(orientation[:, 0])]
    figure = Figure(figsize=(2.6 * len(images), 2.6 * len(PLANES) + 0.55), facecolor="black", layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(PLANES), len(images), squeeze=False)
    for row, (plane, axis) in zip(grid, PLANES, strict=True):
        areas = np.count_nonzero(labels, axis=tuple({0, 1, 2} - {axis}))
        index = int(np.argmax(areas)) if areas.any() else labels.shape[axis] // 2
        for axes, (name, data) in zip(row, images.items(), strict=True):
            _draw_slice(axes, data, labels, axis, index, spacing)
            if axis == PLANES[0][1]:
                axes.set_title(name, color="white", fontsize=11)
        row[0].text(0.02, 0.02, plane, color="white", fontsize=7, transform=row[0].transAxes, va="bottom")
    handles = [
        Line2D([], [], color=colour, linewidth=2, label=text)
        for text, label, colour in OUTLINES
        if (labels == label).any()
    ]
    if handles:
        figure.legend(
            handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, labelcolor="white"
        )
    figure.suptitle(f"{case}   (radiological view: the patient's left is on the right)", color="white", fontsize=10)
    with written_whole(target) as temporary:
        figure.savefig(temporary, dpi=110, facecolor="black")


def _draw_slice(axes: Any, data: Any, labels: Any, axis: int, index: int, spacing: Any) -> None:
    image = np.take(data, index, axis).T
    brain = data[data != 0]
    low, high = np.percentile(brain[:: max(1, brain.size // 200_000)], (1, 99.5)) if brain.size else (0, 1)
    across, up = (spacing[other] for other in range(3) if other != axis)
    # RAS columns run to the patient's right; seen from the front, that is the left of the picture.
    axes.imshow(
        image, cmap="gray", vmin=min(low, 0), vmax=high, origin="lower", aspect=up / across, interpolation="none"
    )
    shown = np.take(labels, index, axis).T
    for _, label, colour in OUTLINES:
        if (shown == label).any():
            axes.contour(shown == label, levels=[0.5], colors=[colour], linewidths=0.9)
    if axis != 0:
        axes.invert_xaxis()
    axes.set_axis_off()
