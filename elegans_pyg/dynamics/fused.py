"""Executor ``fused``: all steps in one Numba kernel, with stimuli split among as many threads as PyTorch uses."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor, empty

from elegans_pyg._extras import require
from elegans_pyg._threads import share
from elegans_pyg.dynamics.integrate import FAST_MV_PER_MS, STEEPEST, expanded
from elegans_pyg.dynamics.worm import State, Worm
from elegans_pyg.wirings import ELECTRICAL

Array = npt.NDArray[Any]

# Stimuli per kernel call: enough to fill vector registers, few enough for the state of 302 neurons to stay in a second-level cache.
_WIDEST = 32


def integrate_fused(worm: Worm, state: State, current: Tensor, inputs: Tensor, record: Tensor, dt_ms: float, repeats: int = 1) -> Tensor:
    """The same as :func:`elegans_pyg.dynamics.integrate.integrate`, on the CPU and without gradients; ``ImportError`` without Numba."""
    require("numba", "fast", "the fused executor")
    from elegans_pyg.dynamics import kernels

    stimuli, steps, _ = current.shape
    result = empty(stimuli, steps, record.numel(), dtype=current.dtype)
    number = result.numpy().dtype.type
    voltage, activation, gates, calcium = (np.ascontiguousarray(part.detach().numpy()) for part in expanded(state, current))
    neurons = voltage.shape[1]
    arguments = (
        number(dt_ms / repeats),
        repeats,
        number(FAST_MV_PER_MS * dt_ms / repeats),
        worm.membrane.kinetics == "graded",
        number(STEEPEST),
        *_tables(worm, number),
        (voltage, activation, gates.reshape(-1, 5, neurons), calcium.reshape(-1, neurons)),
        inputs.numpy(),
        record.numpy(),
        np.ascontiguousarray(current.detach().numpy()),
        result.numpy(),
    )
    share(kernels.integrate_stimuli, stimuli, *arguments, largest=_WIDEST)
    return result


def _tables(worm: Worm, number: type[np.floating[Any]]) -> Iterator[tuple[Array, ...]]:
    """``synapses``, ``drives``, ``gaps``, ``neurons`` and ``channels`` of :func:`elegans_pyg.dynamics.kernels.integrate_stimuli`."""
    data, membrane, channels = worm.data, worm.membrane, worm.membrane.channels
    names = ("conductance_nS", "reversal_mV", "capacitance_pF", "leak_nS", "threshold_mV")
    conductance, reversal, capacitance, leak, threshold = (data[name].detach().numpy() for name in names)
    source, target = data.edge_index.numpy()
    electrical = data.edge_type.numpy() == ELECTRICAL
    count = len(leak)
    chemical, gaps = conductance * ~electrical, conductance * electrical
    for weight in (chemical, chemical * reversal, gaps):
        # Edges of non-zero weight by target: where each row starts, sources, weights.
        here = np.flatnonzero(weight)
        order = here[np.lexsort((source[here], target[here]))]
        ptr = np.concatenate([[0], np.cumsum(np.bincount(target[order], minlength=count))])
        yield ptr.astype(np.int64), source[order].astype(np.int64), weight[order].astype(number)
    gap_sum = np.bincount(target[electrical], conductance[electrical], minlength=count)
    constants = np.stack([1 / capacitance, leak + gap_sum, leak * membrane.leak_reversal_mV, threshold])
    yield _as(number, constants, [*(*membrane.rates_per_ms, 0.0)[:2], 1 / membrane.delta_mV])
    if channels is None:
        yield _as(number, np.zeros((3, 0)), np.zeros(3), np.ones((3, 5)), np.ones(6))
        return
    gates = np.stack([channels.midpoint_mV, 1 / np.array(channels.scale_mV), channels.tau_ms])
    calcium = [1 / channels.calcium_decay_ms, channels.calcium_resting_pM, channels.calcium_pM_per_pA_ms]
    calcium += [channels.block_alpha, channels.block_half_pM, 1 / channels.block_scale_pM]
    yield _as(number, data.channel_nS.detach().numpy().T, channels.reversal_mV, gates, calcium)


def _as(number: type[np.floating[Any]], *tables: npt.ArrayLike) -> tuple[Array, ...]:
    return tuple(np.ascontiguousarray(table, dtype=number) for table in tables)
