"""What the figures share: colours, panels, means with their spread, legends, and writing them to files."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from itertools import cycle
from pathlib import Path
from typing import Any, Literal

import matplotlib
import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.textpath import TextPath

from elegans_pyg._files import write_atomic
from elegans_pyg.wirings import NEURON_TYPES

RED = "#D7191C"
INK, MUTED, RULE = "#1A1A1A", "#5F6368", "#D9DCE0"
_TITLE_SIZE = 11
HALO = [withStroke(linewidth=2.2, foreground="white")]

# Okabe and Ito's colours, which colour-blind readers tell apart; each family has a line style of its own too, and even dashes are kept for
# the reference.
FAMILY_STYLES: dict[str, tuple[str, Any]] = {
    "connectome": ("#3A3A3A", "-"),
    "ws": ("#0072B2", "-"),
    "er": ("#E69F00", (0, (1, 1.2))),
    "ba": ("#009E73", (0, (6, 1.5, 1, 1.5))),
    "rewired": ("#CC79A7", (0, (3, 1, 1, 1, 1, 1))),
    "type_rewired": ("#56B4E9", (0, (8, 2))),
    "strength_rewired": ("#D55E00", (0, (2, 1, 5, 1))),
    "random_rewired": ("#B15928", (0, (4, 1, 1, 1))),
    "weight_shuffled": ("#7A5195", (0, (1, 2.5))),
    "names_shuffled": ("#00798C", (0, (1, 1, 4, 1))),
    "random_dag": ("#8C6D31", (0, (5, 1, 1, 1, 1, 1, 1, 1))),
}
# For models and for neurons, which have no colours of their own.
LINE_STYLES: tuple[tuple[str, Any], ...] = (
    ("#0072B2", "-"),
    ("#D55E00", (0, (6, 1.5))),
    ("#009E73", (0, (1, 1.2))),
    ("#CC79A7", (0, (6, 1.5, 1, 1.5))),
    ("#E69F00", (0, (3, 1, 1, 1, 1, 1))),
    ("#56B4E9", (0, (8, 2))),
)
OPAQUE: dict[str, Any] = {"facecolor": "white", "edgecolor": "none", "framealpha": 0.9, "fontsize": 9, "handlelength": 3}
BARE: dict[str, Any] = {"frameon": False, "fontsize": 9, "handlelength": 3}
"""Legends inside the axes, over the curves, and beside them."""
OTHER_STYLES: tuple[tuple[str, Any], ...] = (("#4D4D4D", (0, (2, 1))), ("#A6761D", (0, (4, 1, 2, 1))), ("#1B7837", (0, (1, 4))))
TYPE_COLOURS = dict(zip(NEURON_TYPES, ("#E69F00", "#0072B2", "#D55E00", "#CC79A7", "#009E73", "#8A8F98"), strict=True))

Grid = Literal["x", "y", "both"]
Array = torch.Tensor | npt.NDArray[Any]


def save(figure: Figure, path: str | Path) -> tuple[Path, Path]:
    """Write a figure as ``<path>.png`` (180 dpi) and ``<path>.svg``, each complete or not at all; the same figure gives the same bytes.
    The folder is made when missing. Returns the two files; an ``OSError`` names one that cannot be written."""
    files, engine = [], figure.get_layout_engine()
    # For the thousands of lines of a DAG, the strongest compression takes as long as drawing them and saves a tenth of the file.
    options: dict[str, dict[str, Any]] = {
        "png": {"metadata": {"Software": None}, "pil_kwargs": {"compress_level": 1}},
        "svg": {"metadata": {"Date": None}},
    }
    try:
        for suffix, own in options.items():
            content = BytesIO()
            with matplotlib.rc_context({"svg.hashsalt": "elegans_pyg"}):
                figure.savefig(content, format=suffix, dpi=180, **own)
            files.append(write_atomic(Path(f"{path}.{suffix}"), content.getvalue()))
            # The layout of the first drawing is kept: computing it again would take a third of the second drawing's time.
            figure.set_layout_engine("none")
    finally:
        figure.set_layout_engine(engine)
    return files[0], files[1]


def canvas(width: float, height: float, rows: int = 1, columns: int = 1, **shared: Any) -> tuple[Figure, Any]:
    """Return a figure of ``width`` by ``height`` inches and its axes."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, **shared)


def titled(figure: Figure, title: str) -> Figure:
    """Set a title above everything else, wrapped to the width, in place of the one there is; the figure grows for it, and is returned."""
    width, height = figure.get_size_inches()
    # Drawn letters are wider than their outlines, digits by 3 %.
    lines = _lines(title, 0.94 * 72 * width)
    before = figure.get_suptitle()
    grown = 0.19 * (len(lines) - len(before.splitlines())) + (0 if before else 0.1)
    figure.suptitle("\n".join(lines), x=0.01, ha="left", fontsize=_TITLE_SIZE, color=INK)
    figure.set_size_inches(width, height + grown)
    return figure


def _lines(title: str, width: float) -> list[str]:
    """Break a title into lines of at most ``width`` points, between words."""
    lines: list[str] = []
    for word in title.split():
        longer = " ".join([*lines[-1:], word])
        if lines and TextPath((0, 0), longer, size=_TITLE_SIZE).get_extents().width <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def family_styles(families: Sequence[str], reference: str | None) -> dict[str, tuple[str, Any]]:
    """Colour and line style of each family; the reference is dashed red."""
    others = [name for name in families if name not in FAMILY_STYLES and name != reference]
    styles = FAMILY_STYLES | dict(zip(others, cycle(OTHER_STYLES)))
    return styles if reference is None else styles | {reference: (RED, "--")}


def dress(axes: Axes, title: str = "", grid: Grid | None = "y", colour: str = MUTED, size: float = 10, **labels: Any) -> None:
    """The look of most panels: two spines, a faint grid behind, the title to the left, and keyword arguments of ``Axes.set``."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
    axes.set_axisbelow(True)
    if grid:
        axes.grid(axis=grid, which="both", color=RULE, lw=0.6)
    if title:
        axes.set_title(title, loc="left", fontsize=size, color=colour)
    axes.set(**labels)


def mean_and_spread(axes: Axes, runs: pd.DataFrame, style: tuple[str, Any], top: bool, **line: Any) -> tuple[pd.Series, pd.Series]:
    """Draw the mean over the columns of ``runs`` and a band of one standard deviation, and return both."""
    mean, sd = runs.mean(axis=1), runs.std(axis=1, ddof=1).fillna(0)
    axes.fill_between(mean.index, mean - sd, mean + sd, color=style[0], alpha=0.12, lw=0, zorder=1)
    axes.plot(mean.index, mean, color=style[0], ls=style[1], lw=2.2 if top else 1.7, zorder=4 if top else 3, **line)
    return mean, sd


def mean_and_interval(axes: Axes, mean: float, interval: tuple[float, float], row: float, colour: str, across: bool) -> None:
    """Draw a diamond at the mean and a bar over its interval, and the mean as a line ``across`` all rows."""
    axes.plot(interval, [row] * 2, color=INK, lw=2.4, solid_capstyle="butt", zorder=4)
    axes.plot(mean, row, marker="D", ms=6, color=colour, mec="white", mew=0.8, zorder=5)
    if across:
        axes.axvline(mean, color=RED, ls="--", lw=1.2, zorder=1)


def reference_first(axes: Axes, reference: str | None) -> tuple[list[Any], list[str]]:
    """Handles and labels for a legend, the reference's before the others."""
    entries = sorted(zip(*axes.get_legend_handles_labels(), strict=True), key=lambda entry: not entry[1].startswith(f"{reference} "))
    return [handle for handle, _ in entries], [label for _, label in entries]


def colour_bar(figure: Figure, image: Any, axes: Any, label: str, ticks: Mapping[float, str], size: float = 8, **place: Any) -> None:
    """A colour bar beside the axes, with words at its ticks."""
    bar = figure.colorbar(image, ax=axes, ticks=list(ticks), **place)
    bar.ax.set_yticklabels(list(ticks.values()), fontsize=8)
    bar.set_label(label, fontsize=size)
    bar.outline.set_visible(False)


def dot(colour: str, label: str, size: float = 8, **look: Any) -> Line2D:
    """A dot for a legend."""
    return Line2D([], [], marker="o", ls="", ms=size, mfc=colour, **{"mec": colour, **look}, label=label)


def heat_axes(axes: Axes, rows: Sequence[str], columns: Sequence[str]) -> None:
    """Names beside the rows of an image, and slanting below its columns."""
    axes.set_xticks(range(len(columns)), columns, rotation=45, ha="right", fontsize=8)
    axes.set_yticks(range(len(rows)), rows, fontsize=8)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def checked(argument: str, values: Array, shape: tuple[int, ...], more: str = "") -> npt.NDArray[Any]:
    """The values as an array of that shape, none of whose sizes may be 0."""
    array = numbers(values)
    if array.shape != shape or not array.size:
        raise ValueError(f"{argument}: expected {shape} numbers{more}, at least one, got {array.shape}; give arrays of matching shapes")
    return array


def numbers(values: Array) -> npt.NDArray[Any]:
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
