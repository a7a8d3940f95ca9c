"""Executor ``fused``: all steps in one Numba kernel, stimuli shared among as many threads as PyTorch uses."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor, empty

from elegans_pyg._extras import require
from elegans_pyg._threads import share
from elegans_pyg.dynamics.integrate import STEEPEST, expanded
from elegans_pyg.dynamics.worm import State, Worm
from elegans_pyg.wirings import ELECTRICAL

Array = npt.NDArray[Any]

# Stimuli of one kernel call: enough to fill vector registers, few enough for the state of 302 neurons to stay in a second-level cache.
_WIDEST = 32


def integrate_fused(worm: Worm, state: State, current: Tensor, inputs: Tensor, record: Tensor, dt_ms: float) -> Tensor:
    """What :func:`elegans_pyg.dynamics.integrate.integrate` returns, on the CPU and without gradients.

    Raises:
        ImportError: if Numba is missing.
    """
    require("numba", "fast", "the fused executor")
    from elegans_pyg.dynamics import kernels

    stimuli, steps, _ = current.shape
    result = empty(stimuli, steps, record.numel(), dtype=current.dtype)
    number = result.numpy().dtype.type
    starts = (np.ascontiguousarray(part.detach().numpy()) for part in expanded(state, stimuli, current))
    voltage, activation, gates, calcium = starts
    arguments = (
        number(dt_ms),
        worm.membrane.channels is not None,
        worm.membrane.kinetics == "graded",
        number(STEEPEST),
        *_tables(worm, number),
        voltage,
        activation,
        gates.reshape(-1, 5, voltage.shape[1]) if gates.size else gates.reshape(0, 5, 0),
        calcium.reshape(-1, voltage.shape[1]) if calcium.size else calcium.reshape(0, 0),
        inputs.numpy(),
        record.numpy(),
        np.ascontiguousarray(current.detach().numpy()),
        result.numpy(),
    )
    share(kernels.integrate_stimuli, stimuli, *arguments, largest=_WIDEST)
    return result


def _tables(worm: Worm, number: type[np.floating[Any]]) -> tuple[Array, ...]:
    """A worm's constants as the kernel takes them; see :func:`elegans_pyg.dynamics.kernels.integrate_stimuli`."""
    data, membrane = worm.data, worm.membrane
    conductance, reversal = data.conductance_nS.detach().numpy(), data.reversal_mV.detach().numpy()
    source, target = data.edge_index.numpy()
    electrical = data.edge_type.numpy() == ELECTRICAL
    count = len(worm.neuron_name)
    synapses = _rows(count, source, target, np.where(electrical, 0, conductance), number)
    drives = _rows(count, source, target, np.where(electrical, 0, conductance * reversal), number)
    gaps = _rows(count, source, target, np.where(electrical, conductance, 0), number)
    leak = data.leak_nS.detach().numpy()
    gap_sum = np.bincount(target[electrical], conductance[electrical], minlength=count)
    constants = np.stack(
        [
            1 / data.capacitance_pF.detach().numpy(),
            leak + gap_sum,
            leak * membrane.leak_reversal_mV,
            data.threshold_mV.detach().numpy(),
        ]
    )
    rates = (*membrane.rates_per_ms, 0.0)[:2]
    synapse_constants = np.array([*rates, 1 / membrane.delta_mV])
    channels = membrane.channels
    if channels is None:
        channel, reversals, gates, calcium = np.zeros((3, count)), np.zeros(3), np.ones((5, 3)), np.ones(6)
    else:
        channel = data.channel_nS.detach().numpy()
        reversals = np.array(channels.reversal_mV)
        gates = np.stack([channels.midpoint_mV, 1 / np.array(channels.scale_mV), channels.tau_ms], axis=1)
        calcium = np.array(
            [
                channels.calcium_decay_ms,
                channels.calcium_resting_pM,
                channels.calcium_decay_ms * channels.calcium_pM_per_pA_ms,
                channels.block_alpha,
                channels.block_half_pM,
                1 / channels.block_scale_pM,
            ]
        )
    floats = (constants, channel, reversals, gates, calcium, synapse_constants)
    return (*synapses, *drives, *gaps, *(np.ascontiguousarray(values, dtype=number) for values in floats))


def _rows(count: int, source: Array, target: Array, weight: Array, number: type[np.floating[Any]]) -> tuple[Array, Array, Array]:
    """Edges of non-zero weight by target: where each row starts, sources, weights."""
    here = np.flatnonzero(weight)
    order = here[np.lexsort((source[here], target[here]))]
    ptr = np.concatenate([[0], np.cumsum(np.bincount(target[order], minlength=count))])
    return ptr.astype(np.int64), source[order].astype(np.int64), weight[order].astype(number)
