"""Figures of wirings and results. Every function returns a :class:`matplotlib.figure.Figure`, which :func:`save` writes as PNG and
SVG; matplotlib's global state is left alone, and no display is needed."""

from elegans_pyg.plots.curves import accuracy_curves, family_accuracies
from elegans_pyg.plots.layered import layered_dag
from elegans_pyg.plots.predictions import confusion_matrix, examples
from elegans_pyg.plots.structure import (
    fading_dyads,
    measures_by_family,
    measures_by_fraction,
    score_dots,
    score_map,
    type_pairs,
    value_against_measures,
)
from elegans_pyg.plots.style import save

__all__ = [
    "accuracy_curves",
    "confusion_matrix",
    "examples",
    "fading_dyads",
    "family_accuracies",
    "layered_dag",
    "measures_by_family",
    "measures_by_fraction",
    "save",
    "score_dots",
    "score_map",
    "type_pairs",
    "value_against_measures",
]
