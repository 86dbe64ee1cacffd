"""One look for all figures of the book: readable in print, in grey, and without colour vision.

Colours are Okabe and Ito's eight (Color Universal Design, 2008); where colour would have to tell
things apart, line styles, markers and hatching say the same.
"""

import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from occfer.engine.team import is_first_process
from occfer.files import write_atomically
from occfer.recipes import TIER
from occfer.regions import REGIONS

BLUE, ORANGE, GREEN, PINK, SKY, RED, YELLOW, BLACK = PALETTE = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#F0E442",
    "#000000",
)
GREY = "#8a8a8a"
REGION_STYLES = dict(
    zip(
        REGIONS,
        ((BLUE, "-"), (RED, "--"), (GREEN, "-."), (PINK, ":"), (BLACK, (0, (5, 1)))),
        strict=True,
    )
)
"""Colour and line style of each of the five regions, the same in every figure."""
ROW_LOOKS: dict[str, dict[str, Any]] = {
    row: dict(color=color, linestyle=line, marker=marker)
    for row, (color, line, marker) in {
        "SIFT": (GREY, ":", "v"),
        "LBP": (GREY, ":", "P"),
        "HOG": (GREY, ":", "d"),
        "Res18": (ORANGE, "-", "v"),
        "OCL+Res18": (SKY, "-", "s"),
        "OCL+Res18+FGW": (PINK, "-", "D"),
        "OCL+Res18+FGW+LGDS": (BLUE, "-", "^"),
        "Res18-scratch": (BLACK, "-", "o"),
        "Res18-scratch-unleaked": (BLACK, ":", "X"),
        "Res18-scratch-long": (BLACK, "-.", ">"),
        "OCL+Res18-long": (SKY, "-.", "D"),
        "Res18-scratch-occluded": (RED, "--", "o"),
        "OCL+Res18-occluded": (GREEN, "--", "s"),
        "Res18-scratch-tenth": (ORANGE, ":", "o"),
        "OCL+Res18-tenth": (SKY, ":", "h"),
        "FGW+LGDS-scratch": (ORANGE, "-.", "^"),
        "OCL+Res18+FGW+LGDS-occluded": (BLUE, "--", "v"),
        "OCL+Res18+FGW+LGDS-unattended": (BLUE, "-.", "X"),
        "SimCLR+Res18": (GREEN, "-.", "<"),
        "DenseNet121-scratch": (RED, "-", "p"),
    }.items()
}
"""Of each row and descriptor the one look it has in every figure, as arguments of ``axis.plot``.

No two share line and marker, so that they can be told apart in grey, and no two colour and marker,
so that points without a line can be, too. Dashed rows saw blocks in fine-tuning. A row of
MobileNetV2 looks like its ResNet18, in long dashes and with hollow markers.
"""
ROW_LOOKS |= {
    row.replace("Res18", "MobileNetV2"): {
        **ROW_LOOKS[row], "linestyle": (0, (9, 2)), "fillstyle": "none"
    }
    for row in ("Res18", "OCL+Res18", "OCL+Res18+FGW", "OCL+Res18+FGW+LGDS", "Res18-scratch")
}  # fmt: skip
FULL_WIDTH = 8.0
"""Width of a figure that fills the page, in inches."""


def style() -> None:
    """Set the book's look for every figure drawn afterwards."""
    sns.set_theme(
        context="notebook",
        style="ticks",
        palette=PALETTE,
        font="DejaVu Sans",
        rc={
            "figure.dpi": 130,
            "figure.figsize": (FULL_WIDTH, 3.2),
            "figure.constrained_layout.use": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlesize": 10,
            "axes.labelsize": 10,
            "xtick.labelsize": 9,
            "ytick.labelsize": 9,
            "legend.fontsize": 9,
            "legend.frameon": False,
            "lines.linewidth": 2,
            "image.interpolation": "nearest",
        },
    )


def as_picture(image: Tensor | np.ndarray) -> np.ndarray:
    """[C, H, W] or [H, W] (uint8, or float in [0, 1]) → what ``imshow`` takes."""
    picture = torch.as_tensor(image).detach().cpu()
    if picture.is_floating_point():
        picture = picture.clamp(0, 1)
    if picture.ndim == 3:
        picture = picture.permute(1, 2, 0)
        picture = picture[:, :, 0] if picture.shape[2] == 1 else picture
    return picture.numpy()


def show_face(axis: Axes, image: Tensor | np.ndarray, title: str = "") -> None:
    """One picture on an axis of its own, without ticks."""
    picture = as_picture(image)
    axis.imshow(picture, cmap="gray", vmin=0, vmax=255 if picture.dtype == np.uint8 else 1)
    axis.set_title(title, fontsize=9)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set_visible(False)


def show_faces(
    images: Sequence[Tensor] | Tensor,
    titles: Sequence[str] = (),
    columns: int = 8,
    row_titles: Sequence[str] = (),
    height: float | None = None,
) -> tuple[Figure, np.ndarray]:
    """A grid of pictures, row by row.

    Args:
        images: N pictures [C, H, W], uint8 or float in [0, 1].
        titles: one per picture, or none.
        columns: pictures in a row.
        row_titles: one per row, written to its left, or none.
        height: of a row in inches; by default a full row fills the page.

    Returns:
        The figure and its axes, [rows, columns].
    """
    rows = -(-len(images) // columns)
    height = height or FULL_WIDTH / columns
    title_room = 0.22 if len(titles) else 0.04
    row_room = 0.09 * max(map(len, row_titles), default=0)
    size = (row_room + height * columns, rows * (height + title_room))
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False)
    for number, axis in enumerate(axes.flat):
        if number >= len(images):
            axis.set_axis_off()
            continue
        show_face(axis, images[number], titles[number] if len(titles) else "")
    for row, title in zip(axes, row_titles, strict=False):
        row[0].set_ylabel(title, rotation=0, ha="right", va="center", fontsize=9)
    return figure, axes


def draw_boxes(axis: Axes, boxes: Tensor, side: tuple[int, int]) -> None:
    """Outline boxes given as shares of a picture of ``side`` (height, width) that ``axis`` shows.

    ``boxes``: top, left, height and width, as :func:`occfer.regions.region_boxes` gives them. Each
    outline is drawn a hundredth of the picture further inside than the one before, so that none
    hides another.
    """
    rows, columns = side
    for number, (name, box) in enumerate(zip(REGIONS, boxes.tolist(), strict=True)):
        colour, line = REGION_STYLES[name]
        inset = 0.01 * (number + 0.5)
        top, left = (start + inset for start in box[:2])
        height, width = (length - 2 * inset for length in box[2:])
        corner = (left * columns - 0.5, top * rows - 0.5)
        look = dict(fill=False, linewidth=2.2, edgecolor=colour, linestyle=line)
        axis.add_patch(Rectangle(corner, width * columns, height * rows, label=name, **look))


CURVES = {
    "loss": ("loss",),
    "share": (
        "accuracy", "validation_accuracy", "knn_accuracy", "linear_accuracy",
        "restrained", "restrained_faces", "fused_probability", "region_probability",
    ),
    "on the unit sphere": ("alignment", "uniformity"),
}  # fmt: skip
"""What the rows of a run may hold, by the panel of :func:`show_history` in which it is drawn."""


def show_history(history: Sequence[Mapping[str, Any]]) -> Figure:
    """The curves of a pre-training or fine-tuning, a panel for each kind of number that it has.

    Args:
        history: a row for every epoch, as :func:`occfer.pretrain` and :func:`occfer.finetune`
            return them.
    """
    held = {name for row in history for name in row}
    panels = {
        title: kept
        for title, names in CURVES.items()
        if (kept := [name for name in names if name in held])
    }
    if not panels:
        raise ValueError(
            f"a history has rows with {', '.join(sum(CURVES.values(), ()))}, got "
            f"{len(history)} rows with none of these."
        )
    figure, axes = plt.subplots(1, len(panels), squeeze=False)
    lines = ("-", "--", "-.", ":")
    for axis, (title, names) in zip(axes[0], panels.items(), strict=True):
        for number, name in enumerate(names):
            points = [(row["epoch"], row[name]) for row in history if name in row]
            label = name.replace("_", " ")
            axis.plot(*zip(*points, strict=True), lines[number % len(lines)], label=label)
        axis.set(xlabel="epoch", title=title)
        if names != [title]:
            axis.legend(fontsize=8)
    stamp(figure)
    return figure


def save_curves(history: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Draw :func:`show_history` into ``curves.png`` of a finished run's folder.

    A picture that cannot be written is said, and is no reason to lose the run. Of several processes
    only the first one draws.
    """
    if not is_first_process():
        return
    picture, path = io.BytesIO(), folder / "curves.png"
    with plt.rc_context():
        style()
        figure = show_history(history)
        figure.savefig(picture, format="png")
        plt.close(figure)
    try:
        write_atomically(path, picture.getvalue())
    except OSError as failure:
        warnings.warn(
            f"{path} could not be written ({failure}), but the network is saved all the same; "
            "make room for it, and the same command draws it.",
            stacklevel=2,
        )


def stamp(figure: Figure, about: str = "") -> None:
    """Write the tier, and what else decides a measured figure, below its right corner."""
    text = " · ".join(part for part in (f"{TIER} tier", about) if part)
    figure.text(1.0, -0.01, text, ha="right", va="top", fontsize=7.5, color=GREY)
