"""Figures of wirings and results. Every function returns a :class:`matplotlib.figure.Figure`, which :func:`save` writes as PNG and SVG;
matplotlib's global state is left alone, and no display is needed. Data that cannot be drawn raise a ``ValueError`` that names
the remedy: no rows, a missing column, a duplicate row, an unknown family, task or neuron, arrays whose shapes do not match."""

from elegans_pyg.plots.body import body_animation
from elegans_pyg.plots.circuits import scenario_circuit
from elegans_pyg.plots.curves import accuracy_curves, family_accuracies
from elegans_pyg.plots.intervals import value_intervals
from elegans_pyg.plots.layered import layered_dag
from elegans_pyg.plots.own_images import classified
from elegans_pyg.plots.predictions import confusion_matrix, examples
from elegans_pyg.plots.reconstructions import reconstructions
from elegans_pyg.plots.reduced_order import loss_curves, output_errors, predicted_traces, size_curve
from elegans_pyg.plots.reservoirs import sequence_outputs, sweep_curves, task_scores
from elegans_pyg.plots.responses import effect_intervals, effect_panels
from elegans_pyg.plots.shapes import neuron_shape
from elegans_pyg.plots.structure import (
    fading_dyads,
    measures_by_family,
    measures_by_fraction,
    score_dots,
    score_map,
    type_pairs,
    value_against_measures,
)
from elegans_pyg.plots.style import save, titled
from elegans_pyg.plots.voltages import voltage_map, voltage_traces

__all__ = ["accuracy_curves", "classified", "confusion_matrix", "examples", "family_accuracies", "layered_dag", "reconstructions", "save"]
__all__ += ["fading_dyads", "measures_by_family", "measures_by_fraction", "score_dots", "score_map", "type_pairs", "value_against_measures"]
__all__ += ["loss_curves", "output_errors", "predicted_traces", "sequence_outputs", "size_curve", "sweep_curves", "task_scores"]
__all__ += [
    "body_animation",
    "effect_intervals",
    "effect_panels",
    "neuron_shape",
    "scenario_circuit",
    "titled",
    "value_intervals",
    "voltage_map",
    "voltage_traces",
]
