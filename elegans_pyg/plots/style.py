"""What the figures share: ink, families' and neuron types' colours, and writing them to files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from elegans_pyg.neuron_types import NEURON_TYPES

RED = "#D7191C"
INK, MUTED, RULE = "#1A1A1A", "#5F6368", "#D9DCE0"
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
    "random_rewired": ("#B15928", (0, (4, 1, 1, 1))),
    "weight_shuffled": ("#7A5195", (0, (1, 2.5))),
    "random_dag": ("#8C6D31", (0, (5, 1, 1, 1, 1, 1, 1, 1))),
}
OTHER_STYLES: tuple[tuple[str, Any], ...] = (("#4D4D4D", (0, (2, 1))), ("#A6761D", (0, (4, 1, 2, 1))), ("#1B7837", (0, (1, 4))))
TYPE_COLOURS = dict(zip(NEURON_TYPES, ("#E69F00", "#0072B2", "#D55E00", "#CC79A7", "#009E73", "#8A8F98"), strict=True))

Array = torch.Tensor | npt.NDArray[Any]


def save(figure: Figure, path: str | Path) -> tuple[Path, Path]:
    """Write a figure as ``<path>.png`` (180 dpi) and ``<path>.svg``, each complete or not at all; the same figure gives the same bytes.

    Args:
        figure: from any function here.
        path: file name without suffix; its folder is made when missing.

    Returns:
        The two files written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    png, svg = path.with_name(path.name + ".png"), path.with_name(path.name + ".svg")
    for file, metadata in ((png, {"Software": None}), (svg, {"Date": None})):
        partial = file.with_name(f".{file.name}.{os.getpid()}.part")
        try:
            with matplotlib.rc_context({"svg.hashsalt": "elegans_pyg"}):
                figure.savefig(partial, format=file.suffix[1:], dpi=180, metadata=metadata)
            os.replace(partial, file)
        finally:
            partial.unlink(missing_ok=True)
    return png, svg


def family_styles(families: Sequence[str], reference: str | None) -> dict[str, tuple[str, Any]]:
    strangers = [name for name in families if name not in FAMILY_STYLES and name != reference]
    styles = {name: FAMILY_STYLES[name] for name in families if name in FAMILY_STYLES}
    styles |= {name: OTHER_STYLES[index % len(OTHER_STYLES)] for index, name in enumerate(strangers)}
    return styles if reference is None else styles | {reference: (RED, "--")}


def clean(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
    axes.set_axisbelow(True)


def numbers(values: Array) -> npt.NDArray[Any]:
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
