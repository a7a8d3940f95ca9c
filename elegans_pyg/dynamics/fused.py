"""Backend ``fused``: all steps in one Numba kernel, and all the way back in another, with stimuli split among as many threads as PyTorch
uses."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from elegans_pyg._extras import require
from elegans_pyg._threads import share
from elegans_pyg.dynamics.integrate import FAST_MV_PER_MS, STEEPEST, Integrator, Staggered, circuit_of, expanded
from elegans_pyg.dynamics.membrane import Membrane
from elegans_pyg.dynamics.worm import State, Worm
from elegans_pyg.wirings import ELECTRICAL

Array = npt.NDArray[Any]

# Stimuli per kernel call: enough to fill vector registers, few enough for the state of 302 neurons to stay in a second-level cache.
_WIDEST = 32


class _Call(NamedTuple):
    """What the kernels need besides tensors that may have gradients; ``span_ms``: length of an internal step."""

    membrane: Membrane
    synapse_index: tuple[Array, ...]
    gap_index: tuple[Array, ...]
    inputs: Array
    record: Array
    span_ms: float
    repeats: int


def integrate_fused(worm: Worm, state: State, current: Tensor, inputs: Tensor, record: Tensor, dt_ms: float, repeats: int = 1) -> Tensor:
    """The same as :func:`elegans_pyg.dynamics.integrate.integrate`, on the CPU, once differentiable; ``ImportError`` without Numba."""
    require("numba", "fast", "the fused backend")
    data, membrane, number = worm.data, worm.membrane, len(worm.neuron_name)
    electrical = data.edge_type == ELECTRICAL
    synapse_at, synapse_index = _by_target(~electrical, data.edge_index, number)
    gap_at, gap_index = _by_target(electrical, data.edge_index, number)
    synapse, gap = data.conductance_nS[synapse_at], data.conductance_nS[gap_at]
    held = data.leak_nS.index_add(0, data.edge_index[1, gap_at], gap)
    neurons = torch.stack([1 / data.capacitance_pF, held, data.leak_nS * membrane.leak_reversal_mV, data.threshold_mV])
    channel = data.channel_nS.T if membrane.channels is not None else held.new_zeros(3, 0)
    tables = (synapse, synapse * data.reversal_mV[synapse_at], gap, neurons, channel)
    start = Integrator(membrane, dt_ms / repeats, circuit_of(worm, current.dtype, current.device)).start(expanded(state, current))
    call = _Call(membrane, synapse_index, gap_index, inputs.numpy(), record.numpy(), dt_ms / repeats, repeats)
    return _Integration.apply(call, current, _stacked(start), *(table.to(current.dtype) for table in tables))


def _by_target(kind: Tensor, edge_index: Tensor, number: int) -> tuple[Tensor, tuple[Array, ...]]:
    """Places of the edges of one kind, ordered by target, and for each target where its edges start, then their sources."""
    here = kind.nonzero().squeeze(1)
    source, target = edge_index[:, here].numpy()
    order = np.lexsort((source, target))
    rows = np.concatenate([[0], np.cumsum(np.bincount(target, minlength=number))])
    return here[torch.from_numpy(order)], (rows.astype(np.int64), source[order].astype(np.int64))


def _stacked(start: Staggered) -> Tensor:
    """The state as the kernels have it, ``(17, N, S)``; the rows of calcium and gates are 0 without channels."""
    voltage, activation, gates, calcium, activation_ahead, gates_ahead, calcium_ahead, received, gap = start
    none = torch.zeros_like(voltage)
    calcium, calcium_ahead = (part if part.numel() else none for part in (calcium, calcium_ahead))
    gates, gates_ahead = (part if part.numel() else none.expand(5, *none.shape) for part in (gates, gates_ahead))
    rows = [activation, calcium, *gates, activation_ahead, calcium_ahead, *gates_ahead, voltage, received, gap]
    return torch.stack(rows).transpose(1, 2)


class _Integration(torch.autograd.Function):
    """Voltages ``(S, T, R)`` from currents, the state and a worm's tables.

    For the way back, the states at every square root of the number of steps are kept; the steps between two of them are taken again.
    """

    @staticmethod
    def forward(ctx: Any, call: _Call, current: Tensor, state: Tensor, *tables: Tensor) -> Tensor:
        from elegans_pyg.dynamics.kernels import integrate_stimuli

        stimuli, steps = len(current), current.size(1) * call.repeats
        ctx.call, ctx.every = call, math.isqrt(steps)
        every = ctx.every if any(ctx.needs_input_grad) else 0
        kept = current.new_empty(-(-steps // every) if every else 0, *state.shape)
        result = current.new_empty(stimuli, current.size(1), call.record.size)
        state = state.clone(memory_format=torch.contiguous_format)
        arguments = _arguments(call, current, tables)
        share(integrate_stimuli, stimuli, *arguments, state, 0, steps, call.record, kept, every, result, largest=_WIDEST)
        ctx.save_for_backward(current, kept, *tables)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, given: Tensor) -> tuple[Tensor | None, ...]:
        from elegans_pyg.dynamics.gradient_kernels import differentiate_stimuli
        from elegans_pyg.dynamics.kernels import integrate_stimuli

        call, every, (current, kept, *tables) = ctx.call, ctx.every, ctx.saved_tensors
        stimuli, steps = len(current), current.size(1) * call.repeats
        arguments, drive, given = _arguments(call, current, tables), tables[1].contiguous(), given.contiguous()
        back, found = torch.zeros_like(kept[0]), [current.new_zeros(stimuli, *part.shape) for part in (current[0], *tables)]
        between, nothing = current.new_empty(every, *kept[0].shape), current.new_empty(stimuli, current.size(1), 0)
        for segment in range(len(kept) - 1, -1, -1):
            since = segment * every
            until = min(since + every, steps)
            own = between[: until - since]
            state = kept[segment].clone()
            share(integrate_stimuli, stimuli, *arguments, state, since, until, call.record[:0], own, 1, nothing, largest=_WIDEST)
            more = (own, since, call.record, drive, given, back, tuple(found))
            share(differentiate_stimuli, stimuli, *arguments, *more, largest=_WIDEST)
        every_found = (found[0], back, *(part.sum(0) for part in found[1:]))
        return None, *(part if wanted else None for part, wanted in zip(every_found, ctx.needs_input_grad[1:], strict=True))


def _arguments(call: _Call, current: Tensor, tables: Sequence[Tensor]) -> tuple[Any, ...]:
    """The first arguments of both kernels."""
    synapse, drive, gap, neurons, channel = (np.ascontiguousarray(table.numpy()) for table in tables)
    number, membrane, channels = synapse.dtype.type, call.membrane, call.membrane.channels
    rows, source = call.synapse_index
    # Most synapses have a reversal potential of 0, and so no drive.
    driven = np.flatnonzero(drive)
    drives = (np.searchsorted(driven, rows), source[driven], drive[driven])
    synapse_constants = np.array([*(*membrane.rates_per_ms, 0.0)[:2], 1 / membrane.delta_mV], number)
    if channels is None:
        constants: tuple[npt.ArrayLike, ...] = (np.zeros(3), np.ones((3, 5)), np.ones(6))
    else:
        calcium = [1 / channels.calcium_decay_ms, channels.calcium_resting_pM, channels.calcium_pM_per_pA_ms]
        calcium += [channels.block_alpha, channels.block_half_pM, 1 / channels.block_scale_pM]
        gates = np.stack([channels.midpoint_mV, 1 / np.array(channels.scale_mV), channels.tau_ms])
        constants = (channels.reversal_mV, gates, calcium)
    limit, graded = number(FAST_MV_PER_MS * call.span_ms), membrane.kinetics == "graded"
    return (
        (number(call.span_ms), call.repeats, limit, graded, number(STEEPEST)),
        ((rows, source, synapse), drives, (*call.gap_index, gap)),
        (neurons, synapse_constants),
        (channel, *(np.ascontiguousarray(table, dtype=number) for table in constants)),
        call.inputs,
        np.ascontiguousarray(current.numpy()),
    )
