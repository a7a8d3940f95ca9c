"""Charts for plotly.js as plain values, ``{"data": [...], "layout": {...}}``, with names escaped for plotly's markup."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from html import escape as html_escape
from typing import Any

import numpy as np
import pandas as pd

from elegans_pyg.plots.style import family_styles

Chart = dict[str, Any]
escape = partial(html_escape, quote=False)
"""As the page's script does, which compares the names of families."""
RUNS_SHOWN = 400
"""Largest number of units for which a chart includes each unit's curve."""


def by_family(families: Sequence[str], reference: str | None) -> dict[str, dict[str, Any]]:
    """The properties that all traces of a family share: name and legend group, colour, and dashes."""
    look = {}
    for name in families:
        colour, dashes = family_styles(list(families), reference)[name]
        style = dashes if isinstance(dashes, str) else ",".join(f"{2 * length:g}px" for length in dashes[1])
        line = {"color": colour, "dash": {"-": "solid", "--": "dash"}.get(style, style)}
        look[name] = {"name": escape(name), "legendgroup": escape(name), "line": line}
    return look


def curves(table: pd.DataFrame, step: str, value: str, title: str, reference: str | None, scale: float = 1) -> Chart | None:
    """Mean and standard deviation of every family during training, and each unit's curve, hidden at first.

    Args:
        table: one row per unit and evaluation: ``variant``, ``family``, and the columns ``step`` and ``value``.
        step, value: names of the two columns.
        title: the value's name on the axis.
        reference: family drawn dashed, in red.
        scale: factor of the values.

    Returns:
        the chart, or ``None`` if there are fewer than two evaluations.
    """
    if table[step].nunique() < 2 or table[value].notna().sum() == 0:
        return None
    families = [str(name) for name in table["family"].unique()]
    traces: list[Chart] = []
    for name, look in by_family(families, reference).items():
        runs = scale * table[table["family"] == name].pivot_table(index=step, columns="variant", values=value)
        if runs.empty:
            continue
        steps, mean, sd = runs.index.tolist(), runs.mean(axis=1), runs.std(axis=1, ddof=1).fillna(0)
        edge = {**look, "x": steps, "mode": "lines", "showlegend": False, "hoverinfo": "skip", "line": {"width": 0}}
        traces.append({**edge, "y": short(mean + sd)})
        traces.append({**edge, "y": short(mean - sd), "fill": "tonexty", "fillcolor": look["line"]["color"] + "22"})
        label = f"{look['name']} (n = {runs.shape[1]})"
        line = {**look["line"], "width": 2.4 if name == reference else 1.8}
        traces.append({**look, "name": label, "x": steps, "y": short(mean), "mode": "lines", "line": line, "hovertemplate": "%{y:.4g}"})
        if table["variant"].nunique() <= RUNS_SHOWN:
            # One trace for all units, with gaps between them.
            own = [(column, [*steps, None], [*short(runs[column]), None]) for column in runs]
            thin = {"mode": "lines", "line": {"color": look["line"]["color"], "width": 0.7}, "showlegend": False, "visible": False}
            text = [f"unit {number}" for number, x, _ in own for _ in x]
            joined = {"x": [x for _, xs, _ in own for x in xs], "y": [y for _, _, ys in own for y in ys], "text": text}
            traces.append({**look, **thin, **joined, "meta": "runs", "hovertemplate": "%{text}: %{y:.4g}"})
    layout = {"xaxis": {"title": {"text": step}}, "yaxis": {"title": {"text": escape(title)}}, "hovermode": "x unified"}
    return {"data": traces, "layout": layout}


def dots(
    table: pd.DataFrame, title: str, reference: str | None, summary: Iterable[Mapping[str, Any]] = (), scale: float = 1
) -> Chart | None:
    """Every unit's value as a dot, by family, with the family's mean and interval.

    Args:
        table: ``family``, ``variant``, ``value``, and where known ``wiring_seed`` and ``seed``.
        title: the value's name on the axis.
        reference: the family drawn in red.
        summary: ``family``, ``mean``, ``low`` and ``high`` of each family; by default the mean of the values, without interval.
        scale: factor of the values.

    Returns:
        the chart, or ``None`` if there are no values.
    """
    finished = table[table["value"].notna()]
    if finished.empty:
        return None
    families, traces = [str(name) for name in finished["family"].unique()], []
    known = {str(row["family"]): row for row in summary}
    told = [name for name in ("wiring_seed", "seed") if name in finished]
    for place, (name, look) in enumerate(by_family(families, reference).items()):
        own = finished[finished["family"] == name]
        # Spread evenly and reproducibly, by multiples of the golden ratio modulo 1.
        heights = place + 0.5 * ((np.arange(len(own)) * 0.6180339887) % 1 - 0.5) * (len(own) > 1)
        words = ["".join(f"<br>{key.replace('_', ' ')} {row[key]}" for key in told) for row in own[told].to_dict("records")]
        labels = [f"unit {number}{word}" for number, word in zip(own["variant"], words, strict=True)]
        marker = {"color": look["line"]["color"], "size": 7 if len(own) < 200 else 4, "opacity": 0.65}
        hover = f"{look['name']}<br>%{{text}}<br>%{{x:.5g}}<extra></extra>"
        points = {"x": short(scale * own["value"]), "y": short(heights), "text": labels, "marker": marker, "hovertemplate": hover}
        traces.append({"mode": "markers", "name": look["name"], "legendgroup": look["legendgroup"], **points})
        row = known.get(name, {"mean": float(own["value"].mean()), "low": None, "high": None})
        if row["mean"] is not None:
            diamond = {"symbol": "diamond", "size": 11, "color": look["line"]["color"], "line": {"color": "#ffffff", "width": 1.5}}
            trace = {"x": short([scale * row["mean"]]), "y": [place + 0.36], "mode": "markers", "marker": diamond, "showlegend": False}
            text = f"{look['name']}<br>mean %{{x:.5g}}"
            if row["low"] is not None:
                ends = [scale * (row["high"] - row["mean"]), scale * (row["mean"] - row["low"])]
                trace["error_x"] = {"array": short(ends[:1]), "arrayminus": short(ends[1:]), "thickness": 2.2, "color": "#808080"}
                text += f"<br>interval {scale * row['low']:.5g} to {scale * row['high']:.5g}"
            traces.append({**trace, "legendgroup": look["legendgroup"], "name": look["name"], "hovertemplate": f"{text}<extra></extra>"})
    ticks = {"tickvals": list(range(len(families))), "ticktext": [escape(name) for name in families]}
    axis = {**ticks, "range": [len(families) - 0.4, -0.6], "automargin": True, "zeroline": False}
    layout = {"xaxis": {"title": {"text": escape(title)}}, "yaxis": axis, "height": 150 + 62 * len(families)}
    return {"data": traces, "layout": layout}


def short(values: Iterable[float]) -> list[float | None]:
    """Round to six digits; what is not finite becomes ``None``."""
    return [None if not math.isfinite(value) else float(f"{value:.6g}") for value in map(float, values)]
