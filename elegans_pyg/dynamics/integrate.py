"""The reference integrator: PyTorch operations on all stimuli at once, differentiable, in any floating-point type, on any device.

A step of a neuron is symmetric (Strang 1968, doi:10.1137/0705041): gates, calcium and synaptic activation advance by half a step while the
voltage is held, then the voltage by a whole one while these are held, then these by the other half. Its input from other neurons is that
of the middle of the step, so that the whole is of second order. Each of these updates is linear in its variable, ``dy/dt = (target - y)
rate``, and multiplies the distance by the L-stable ``1 / (1 + z + z^2 / 2)``, ``z = rate dt``: it never overshoots the target, however
short the time constant. Time constants of gates are fixed, and their exponentials exact; calcium, which closes its own channel within a few
steps, is linearised about its start.

Nearly all of the error arises where voltages rise or fall within a few steps. So a neuron that moves faster than ``FAST_MV_PER_MS`` also
takes the step in two halves, and ``(4 halves - whole) / 3`` is free of the error of second order (Richardson's extrapolation). About one
neuron in twenty is as fast at a time while the network fires. The others get its synapses as they are after half a step at the voltage that
it moves to. Eight short steps instead of the extrapolation gave the same accuracy for four times the work; interpolating the input of a
neuron within the step gained nothing; half the step length for all neurons halves the speed for a quarter of the error.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from copy import copy
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from elegans_pyg._threads import one_thread
from elegans_pyg.dynamics.membrane import Membrane
from elegans_pyg.dynamics.worm import State, Worm
from elegans_pyg.wirings import ELECTRICAL

# Beyond this a logistic function is 0 or 1 to within 1e-17.
STEEPEST = 40.0
# Multiplications in a step's product of voltages and gap junctions below which a second thread does not pay.
SMALL = 2**22


FAST_MV_PER_MS = 1.0
"""Steps of neurons whose voltages move faster are extrapolated."""

Circuit = namedtuple("Circuit", "capacitance leak threshold channel synapses gaps gap_sum")
"""A worm's constants as tensors of one type on one device; synapses and gap junctions as dense matrices."""

Parts = namedtuple("Parts", "activation gates calcium")
"""State of a neuron besides its voltage: ``(S, N)``, ``(5, S, N)``, ``(S, N)``; of chosen neurons ``(A,)``, ``(5, A)``, ``(A,)``."""

Staggered = namedtuple("Staggered", "voltage activation gates calcium activation_ahead gates_ahead calcium_ahead received gap_before")
"""The state between steps: everything at the start of the step, all but the voltages also half a step later, the activation that other
neurons receive then, and the flow through gap junctions at the start of the step before."""


def circuit_of(worm: Worm, dtype: torch.dtype, device: torch.device) -> Circuit:
    """The constants of a worm; gradients reach every conductance through ``synapses (N, 2 N)`` and ``gaps (N, N)``, from row to column."""
    data = worm.data
    names = ("conductance_nS", "reversal_mV", "capacitance_pF", "leak_nS", "threshold_mV")
    conductance, reversal, capacitance, leak, threshold = (data[name].to(device, dtype) for name in names)
    source, target = data.edge_index.to(device)
    electrical = data.edge_type.to(device) == ELECTRICAL
    chemical, gap = torch.where(electrical, 0.0, conductance), torch.where(electrical, conductance, 0.0)
    empty = conductance.new_zeros(len(leak), len(leak))
    synapses, drives, gaps = (empty.index_put((source, target), w, accumulate=True) for w in (chemical, chemical * reversal, gap))
    channel = data.channel_nS.to(device, dtype).T if "channel_nS" in data else conductance.new_zeros(3, 0)
    return Circuit(capacitance, leak, threshold, channel, torch.cat([synapses, drives], dim=1), gaps, gaps.sum(0))


class Integrator:
    """Takes steps of one length for one circuit."""

    def __init__(self, membrane: Membrane, dt_ms: float, circuit: Circuit) -> None:
        self.dt, self.circuit, self.every = dt_ms, circuit, Neurons(membrane, dt_ms, circuit)
        self.total, self.source = circuit.leak + circuit.gap_sum, circuit.leak * membrane.leak_reversal_mV

    def start(self, state: State) -> Staggered:
        """Advance everything but the voltages by half a step."""
        voltage, activation, gates, calcium = state
        parts = Parts(activation, gates.transpose(0, 1) if gates.numel() else gates, calcium)
        ahead = self.every.leave(parts, voltage, self.every.targets(voltage), self.dt / 2)
        return Staggered(voltage, *parts, *ahead, ahead.activation, voltage @ self.circuit.gaps)

    def step(self, before: Staggered, current: Tensor) -> Staggered:
        """One step under the constant current ``(S, N)``."""
        circuit, every, half = self.circuit, self.every, self.dt / 2
        parts, ahead = Parts(*before[1:4]), Parts(*before[4:7])
        synaptic, drive = (before.received @ circuit.synapses).chunk(2, dim=1)
        gap = before.voltage @ circuit.gaps
        total = self.total + synaptic
        source = (self.source + drive).add(gap, alpha=1.5).add(before.gap_before, alpha=-0.5) + current
        voltage = every.voltage(before.voltage, ahead, total, source, self.dt)
        targets = every.targets(voltage)
        arrived = every.arrive(ahead, voltage, targets, half)
        fast = ((voltage - before.voltage).abs() > FAST_MV_PER_MS * self.dt).flatten().nonzero().squeeze(1)
        if not fast.numel():
            ahead = every.leave(arrived, voltage, targets, half)
            return Staggered(voltage, *arrived, *ahead, ahead.activation, gap)
        chosen = every.at(fast % voltage.size(1))
        old, *begun, own_total, own_source = (_pick(part, fast) for part in (before.voltage, *parts, total, source))
        halved = chosen.halves(old, Parts(*begun), own_total, own_source, self.dt)
        whole = (_pick(part, fast) for part in (voltage, *arrived))
        # From the coarse to the fine and a third of the way beyond: (4 fine - coarse) / 3.
        new, activation, gates, calcium = (torch.lerp(coarse, fine, 4 / 3) for coarse, fine in zip(whole, halved, strict=True))
        put = zip((voltage, *arrived), (new, activation, gates, calcium.clamp(min=0)), strict=True)
        voltage, *moved = (_put(part, fast, own) for part, own in put)
        parts = Parts(*moved)
        ahead = every.leave(parts, voltage, every.targets(voltage), half)
        received = chosen.activation(activation, chosen.targets(torch.lerp(old, new, 1.25)), half)
        return Staggered(voltage, *parts, *ahead, _put(ahead.activation, fast, received), gap)


class Neurons:
    """The equations of all neurons, or of chosen ones, without the coupling between neurons.

    A step costs as much as it has operations, since their tensors are small. So constants are combined beforehand, and operations that
    do several things at once (``addcmul``, ``addcdiv``, ``lerp``) are preferred.
    """

    def __init__(self, membrane: Membrane, dt_ms: float, circuit: Circuit) -> None:
        self.membrane, self.channels = membrane, membrane.channels
        self.one = circuit.leak.new_ones(())
        self.per_capacitance, self.offset = 1 / circuit.capacitance, -circuit.threshold / membrane.delta_mV
        if (channels := self.channels) is not None:
            tables = (channels.tau_ms, channels.midpoint_mV, channels.scale_mV, channels.reversal_mV)
            tau, midpoint, scale, self.reversal = (circuit.leak.new_tensor(table).view(-1, 1, 1) for table in tables)
            self.per_scale, self.gate_offset, self.channel = 1 / scale, -midpoint / scale, circuit.channel.unsqueeze(1)
            # The share of its distance from its target that a gate keeps over a half or a quarter of a step.
            self.kept = {span: torch.exp(-span / tau) for span in (dt_ms / 2, dt_ms / 4)}
            self.block_offset = self.one * (channels.block_half_pM / channels.block_scale_pM)

    def at(self, places: Tensor) -> Neurons:
        """The neurons at these places, whose tensors have one row: ``(1, A)``, ``(5, 1, A)``."""
        chosen = copy(self)
        chosen.per_capacitance, chosen.offset = (part.index_select(-1, places) for part in (self.per_capacitance, self.offset))
        if self.channels is not None:
            chosen.channel = self.channel.index_select(-1, places)
        return chosen

    def halves(self, voltage: Tensor, parts: Parts, total: Tensor, source: Tensor, dt: float) -> tuple[Tensor, ...]:
        """Voltages and parts after two steps of half of ``dt``, with constant input from other neurons."""
        targets = self.targets(voltage)
        for _ in range(2):
            ahead = self.leave(parts, voltage, targets, dt / 4)
            voltage = self.voltage(voltage, ahead, total, source, dt / 2)
            targets = self.targets(voltage)
            parts = self.arrive(ahead, voltage, targets, dt / 4)
        return voltage, *parts

    def voltage(self, voltage: Tensor, parts: Parts, total: Tensor, source: Tensor, span: float) -> Tensor:
        """Potentials after ``span``, with the gates, the calcium and the synapses of ``parts`` held."""
        if self.channels is not None:
            n, p, q, e, f = parts.gates
            squared = p * p
            conductances = self.channel * torch.stack([n, squared * squared * q, e * e * f * self._block(parts.calcium)[0]])
            total = total + conductances.sum(0)
            source = source + (conductances * self.reversal).sum(0)
        half = self.per_capacitance * (span / 2)
        return self._moved(voltage, torch.addcmul(source, total, voltage, value=-1) * half, total * half)

    def _moved(self, value: Tensor, change: Tensor, z: Tensor) -> Tensor:
        """The value after a step under ``dy/dt = r - k (y - value)``; ``change`` and ``z`` are ``r`` and ``k`` times half of the step."""
        ahead = z + 1
        return torch.addcdiv(value, change * ahead, torch.addcmul(self.one, z, ahead, value=2), value=2)

    def targets(self, voltage: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Steady synaptic activations and gates at these potentials, and the rates of the former."""
        steepness = torch.add(self.offset, voltage, alpha=1 / self.membrane.delta_mV)
        growth = torch.exp(steepness.clamp(-STEEPEST, STEEPEST))
        more = growth + 1
        phi = growth / more
        if self.membrane.kinetics == "graded":
            rate, target = more * self.membrane.rates_per_ms[0], phi
        else:
            rise, decay = self.membrane.rates_per_ms
            rate = rise * phi + decay
            target = rise * phi / rate
        return target, torch.sigmoid(torch.addcmul(self.gate_offset, voltage, self.per_scale)) if self.channels else phi, rate

    def leave(self, parts: Parts, voltage: Tensor, targets: tuple[Tensor, ...], span: float) -> Parts:
        """Advance all but the voltages over the first half of a step, from its start to its middle."""
        calcium = self._calcium(parts.calcium, parts.gates, voltage, span)
        return Parts(self.activation(parts.activation, targets, span), self._gates(parts.gates, targets, span), calcium)

    def arrive(self, parts: Parts, voltage: Tensor, targets: tuple[Tensor, ...], span: float) -> Parts:
        """Advance all but the voltages over the second half: :meth:`leave` in the opposite order."""
        gates = self._gates(parts.gates, targets, span)
        return Parts(self.activation(parts.activation, targets, span), gates, self._calcium(parts.calcium, gates, voltage, span))

    def _gates(self, gates: Tensor, targets: tuple[Tensor, ...], span: float) -> Tensor:
        return torch.lerp(targets[1], gates, self.kept[span]) if self.channels is not None else gates

    def activation(self, activation: Tensor, targets: tuple[Tensor, ...], span: float) -> Tensor:
        target, _, rate = targets
        z = rate * (span / 2)
        return torch.addcdiv(target, activation - target, torch.addcmul(self.one, z, z + 1, value=2))

    def _block(self, calcium: Tensor) -> tuple[Tensor, Tensor]:
        """Share of its own channel that calcium leaves open, and the logistic function with which it closes it."""
        channels = self.channels
        assert channels is not None
        closed = torch.sigmoid(torch.add(self.block_offset, calcium, alpha=-1 / channels.block_scale_pM))
        return torch.rsub(closed, 1, alpha=channels.block_alpha), closed

    def _calcium(self, calcium: Tensor, gates: Tensor, voltage: Tensor, span: float) -> Tensor:
        """Linear in the calcium about its start, since calcium closes the channel that it comes through within a few steps."""
        if (channels := self.channels) is None:
            return calcium
        block, closed = self._block(calcium)
        e, f = gates[3], gates[4]
        half, decay = span / 2, span / 2 / channels.calcium_decay_ms
        inflow = self.channel[2] * (e * e * f) * (channels.reversal_mV[2] - voltage) * (channels.calcium_pM_per_pA_ms * half)
        change = torch.addcmul(torch.rsub(calcium * decay, channels.calcium_resting_pM * decay), inflow, block)
        slope = inflow * torch.addcmul(closed, closed, closed, value=-1)
        z = torch.rsub(slope, decay, alpha=channels.block_alpha / channels.block_scale_pM)
        return self._moved(calcium, change, z).clamp(min=0)


def _pick(part: Tensor, places: Tensor) -> Tensor:
    """The entries of ``(S, N)`` or ``(5, S, N)`` at flat places, as one row; an empty tensor is returned unchanged."""
    return part.flatten(-2).index_select(-1, places).unsqueeze(-2) if part.numel() else part


def _put(part: Tensor, places: Tensor, values: Tensor) -> Tensor:
    return part.flatten(-2).index_copy(-1, places, values.squeeze(-2)).view(part.shape) if part.numel() else part


def integrate(
    worm: Worm,
    state: State,
    current: Tensor,
    inputs: Tensor,
    record: Tensor,
    dt_ms: float,
    repeats: int = 1,
    segment: int | None = None,
) -> Tensor:
    """Voltages in mV at the end of every step, ``(S, T, R)``.

    Args:
        state: tensors ``(N,)`` or ``(S, N)``, gates ``(5, N)`` or ``(S, 5, N)``; ``current``: ``(S, T, I)`` pA.
        inputs: ``(I,)`` and ``record``: ``(R,)``, positions of neurons.
        repeats: internal steps in each of ``dt_ms``.
        segment: steps between the states that are kept for the backward pass; the steps between are computed again. By default the square
            root of ``T / repeats``, which needs the least memory.
    """
    stimuli, steps, _ = current.shape
    circuit = circuit_of(worm, current.dtype, current.device)
    small = stimuli * len(circuit.leak) ** 2 < SMALL
    staggered = Integrator(worm.membrane, dt_ms / repeats, circuit).start(expanded(state, current))

    def run(current: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Voltages of a segment, and the state after it."""
        integrator = Integrator(worm.membrane, dt_ms / repeats, Circuit(*tensors[: len(circuit)]))
        staggered = Staggered(*tensors[len(circuit) :])
        voltages = []
        for flowing in current.unbind(1):
            everywhere = current.new_zeros(staggered.voltage.shape).index_copy(1, inputs, flowing)
            for _ in range(repeats):
                staggered = integrator.step(staggered, everywhere)
            voltages.append(staggered.voltage[:, record])
        return torch.stack(voltages, dim=1), *staggered

    return in_segments(run, small, current, circuit, staggered, segment or max(1, round((steps / repeats) ** 0.5)))


def in_segments(
    run: Callable[..., tuple[Tensor, ...]],
    small: bool,
    current: Tensor,
    circuit: tuple[Tensor, ...],
    staggered: tuple[Tensor, ...],
    segment: int,
) -> Tensor:
    """Voltages of all steps ``(S, T, R)`` under ``current (S, T, I)``, computed ``segment`` steps at a time.

    ``run`` returns the voltages of these steps and the state after them; only such states are kept for the backward pass. ``small``: use
    one thread, because a second does not pay.
    """
    parts = []
    for part in current.split(segment, dim=1):
        voltages, *staggered = _Segment.apply(run, small, part, *circuit, *staggered)
        parts.append(voltages)
    return torch.cat(parts, dim=1)


class _Segment(torch.autograd.Function):
    """A function of tensors that keeps only them for the backward pass, in which it is evaluated again.

    PyTorch's own checkpoint either keeps the nodes of the graph, some 100 kB per step whatever the size of their tensors, or does not
    support ``autograd.grad``.
    """

    @staticmethod
    def forward(ctx: Any, run: Callable[..., tuple[Tensor, ...]], small: bool, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.run, ctx.small = run, small
        ctx.save_for_backward(*tensors)
        with one_thread(small):
            return run(*tensors)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        wanted = ctx.needs_input_grad[2:]
        tensors = [tensor.detach().requires_grad_(want) for tensor, want in zip(ctx.saved_tensors, wanted, strict=True)]
        with one_thread(ctx.small), torch.enable_grad():
            results = ctx.run(*tensors)
            reached = [pair for pair in zip(results, gradients, strict=True) if pair[0].requires_grad]
            leaves = [tensor for tensor in tensors if tensor.requires_grad]
            outputs, given = zip(*reached, strict=True)
            found = iter(torch.autograd.grad(outputs, leaves, given, allow_unused=True))
        return None, None, *(next(found) if want else None for want in wanted)


def expanded(state: State, current: Tensor) -> State:
    """The state with one row per stimulus, in the type and on the device of the currents ``(S, T, I)``."""
    stimuli, parts = len(current), []
    for part, dims in zip(state, (1, 1, 2, 1), strict=True):
        part = part.to(current)
        parts.append(part.expand(stimuli, *part.shape[-dims:]) if part.numel() else part)
    return State(*parts)
