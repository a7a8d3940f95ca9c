"""All neurons at their places in the body, coloured by voltage, as an animation."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from elegans_pyg._files import data_folder, parse_csv
from elegans_pyg.plots.style import HALO, INK, MUTED, RULE, Array, checked, numbers
from elegans_pyg.plots.voltages import voltage_norm, voltage_ticks

FRAMES, FRAME_MS = 72, 80
# In the dense ganglia of head and tail neurons would hide each other.
_HEAD_UM, _TAIL_UM = 130.0, 95.0
_MARKS = {"driven": "s", "recorded": "D"}


def somata(names: Sequence[str]) -> pd.DataFrame:
    """Positions of the cell bodies of the neurons that have one in ``data/connectomes/somata.csv``, in um: ``name``, ``row`` in ``names``,
    ``along_um`` from the nose to the tail, ``up_um`` to the back, ``left_um``."""
    table = parse_csv((data_folder("connectomes") / "somata.csv").read_bytes())
    rows = {str(name): row for row, name in enumerate(names)}
    table = table[table["name"].isin(rows)].reset_index(drop=True)
    return table.assign(row=[rows[name] for name in table["name"]])


def body_animation(
    time_ms: Array, voltage_mV: Array, neuron_name: Sequence[str], named: Mapping[str, Sequence[str]] | None = None
) -> bytes:
    """One stimulus as an animated GIF: every cell body at its place, seen from the left, once in the whole body and once in head and tail
    enlarged; nothing if no neuron's place is known.

    Args:
        time_ms: ``(T,)``.
        voltage_mV: ``(T, N)``.
        neuron_name: of the ``N`` neurons; those without a known place are left out.
        named: neurons whose names are shown, by their role: ``"driven"`` ones are squares, ``"recorded"`` ones diamonds.
    """
    time = numbers(time_ms)
    voltage = checked("voltage_mV", voltage_mV, (len(time), len(neuron_name)))
    places = somata(neuron_name)
    if places.empty:
        return b""
    norm, voltage = voltage_norm(voltage), voltage[:, places["row"].to_numpy()]
    figure, dots, clock, bar = _stage(places, voltage[0], norm, dict(named or {}), (float(time[0]), float(time[-1])))
    canvas, frames = FigureCanvasAgg(figure), []
    for step in np.unique(np.linspace(0, len(time) - 1, FRAMES).round().astype(int)):
        for scatter, kept in dots:
            scatter.set_array(voltage[step, kept])
        clock.set_text(f"{time[step]:.0f} ms")
        bar.set_width(time[step] - time[0])
        canvas.draw()
        frames.append(Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3]))
    # One palette for all frames, so that a colour means the same voltage throughout and does not flicker.
    palette = frames[int(np.argmax(np.ptp(voltage, axis=1)) * (len(frames) - 1) // max(len(time) - 1, 1))].quantize(128)
    first, *rest = (frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames)
    content = BytesIO()
    first.save(content, "GIF", save_all=True, append_images=rest, duration=FRAME_MS, loop=0)
    return content.getvalue()


def _stage(
    places: pd.DataFrame, voltage: npt.NDArray[np.floating], norm: Any, named: dict[str, Sequence[str]], span: tuple[float, float]
) -> tuple[Figure, list[tuple[Any, npt.NDArray[np.bool_]]], Any, Any]:
    """The figure, each scatter with the neurons in it, the clock and the bar of time that has passed."""
    figure = Figure(figsize=(10, 5), dpi=100)
    length = float(places["along_um"].max())
    whole = figure.add_axes((0.03, 0.63, 0.86, 0.27))
    head = figure.add_axes((0.03, 0.12, 0.50, 0.40))
    tail = figure.add_axes((0.56, 0.12, 0.33, 0.40))
    views = ((whole, -15.0, length + 15, 16), (head, -8.0, _HEAD_UM, 42), (tail, length - _TAIL_UM, length + 8, 42))
    kinds = {name: kind for kind, names in named.items() for name in names}
    dots = []
    for axes, begin, end, size in views:
        _outline(axes, places, begin, end)
        inside = places["along_um"].between(begin, end)
        for kind, marker in {"": "o", **_MARKS}.items():
            kept = (inside & (places["name"].map(kinds).fillna("") == kind)).to_numpy()
            x, y = places.loc[kept, "along_um"], places.loc[kept, "up_um"]
            look = {"cmap": "cividis", "norm": norm, "linewidths": 0.5, "edgecolors": INK if kind else "white"}
            scatter = axes.scatter(x, y, c=voltage[kept], s=size * (1.7 if kind else 1), marker=marker, zorder=3 if kind else 2, **look)
            dots.append((scatter, kept))
        if axes is not whole:
            _name(axes, places[inside & places["name"].isin(kinds)])
            axes.set_ylim(places.loc[inside, "up_um"].min() - 6, places.loc[inside, "up_um"].max() + 14)
    for axes, title in ((head, "head"), (tail, "tail")):
        axes.set_title(f"{title}, enlarged", loc="left", fontsize=9, color=MUTED)
    words = "".join(f", {'squares' if kind == 'driven' else 'diamonds'}: {kind}" for kind in _MARKS if named.get(kind))
    whole.set_title(f"cell bodies seen from the left, nose to the left{words}", loc="left", fontsize=9, color=MUTED)
    clock = figure.text(0.885, 0.93, "", ha="right", fontsize=12, color=INK, family="monospace")
    scale = figure.colorbar(dots[0][0], cax=figure.add_axes((0.915, 0.12, 0.013, 0.78)), label="membrane potential (mV)")
    scale.set_ticks(voltage_ticks(norm))
    scale.outline.set_visible(False)
    progress = figure.add_axes((0.03, 0.04, 0.86, 0.018), xlim=span, ylim=(0, 1), yticks=[])
    progress.tick_params(length=2, labelsize=8, colors=MUTED)
    progress.spines[:].set_color(RULE)
    (bar,) = progress.barh(0.5, 0, left=span[0], height=1, color=MUTED)
    return figure, dots, clock, bar


def _name(axes: Axes, places: pd.DataFrame) -> None:
    """Names above cell bodies; those of neighbours, such as left and right cells, stand above each other."""
    taken: list[tuple[float, float]] = []
    for place in places.sort_values("along_um").itertuples():
        level = max([height + 1 for along, height in taken if abs(along - place.along_um) < 0.09 * np.ptp(axes.get_xlim())], default=0)
        taken.append((place.along_um, level))
        look: dict[str, Any] = {"ha": "center", "fontsize": 7, "path_effects": HALO, "textcoords": "offset points"}
        axes.annotate(place.name, (place.along_um, place.up_um), (0, 7 + 9 * level), **look)


def _outline(axes: Axes, places: pd.DataFrame, begin: float, end: float) -> None:
    """A faint outline about the cell bodies between two places along the body."""
    along, up = places["along_um"].to_numpy(), places["up_um"].to_numpy()
    grid = np.linspace(along.min() - 12, along.max() + 12, 60)
    near = np.abs(along[None] - grid[:, None]) < 40
    top = np.array([up[own].max() if own.any() else np.nan for own in near])
    bottom = np.array([up[own].min() if own.any() else np.nan for own in near])
    smooth = np.hanning(13) / np.hanning(13).sum()
    taper = np.sqrt(np.clip(1 - np.abs(2 * (grid - grid.mean()) / np.ptp(grid)) ** 8, 0, 1))
    middle = np.convolve(np.pad((top + bottom) / 2, 6, "edge"), smooth, "valid")
    half = np.convolve(np.pad((top - bottom) / 2 + 4, 6, "edge"), smooth, "valid") * taper
    axes.fill_between(grid, middle - half, middle + half, color=RULE, alpha=0.5, lw=0, zorder=0)
    axes.set(xlim=(begin, end))
    axes.axis("off")
